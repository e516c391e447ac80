"""``batchspec schema``: the JSON Schema of the spec language."""

from __future__ import annotations

from batchspec.cli.console import out
from batchspec.exit_codes import Exit


def schema() -> int:
    """Print the JSON Schema of the spec language, for editors."""
    from batchspec.spec import schema_text

    out(schema_text().rstrip("\n"))
    return Exit.DONE
