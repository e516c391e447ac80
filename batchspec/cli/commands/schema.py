"""``batchspec schema``: the JSON Schema of the spec language, for editors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.console import out_document
from batchspec.diagnostics import UsageError
from batchspec.exit_codes import Exit

SCHEMA_FILE = "batchspec.schema.json"
"""The name of the schema file in the first line of a spec, which is next to the spec."""
MODELINE = f"# yaml-language-server: $schema={SCHEMA_FILE}\n"
"""The first line of a spec, from which editors read the path of the schema."""


def schema(
    to: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Write the schema to this file instead of standard output.",
        ),
    ] = None,
) -> int:
    """Print the JSON Schema of the spec language, for editors."""
    from batchspec.spec import schema_text

    if to is None:
        out_document(schema_text().rstrip("\n"))
        return Exit.DONE
    try:
        to.write_text(schema_text(), encoding="utf-8")
    except OSError as error:
        from batchspec.render import folder_unwritable

        raise UsageError(folder_unwritable(to.parent, error.strerror or str(error))) from None
    return Exit.DONE
