"""``batchspec config``: the complete spec."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from batchspec.cli.console import out_document
from batchspec.cli.options import SpecFile, VariableFiles, Variables, run_options
from batchspec.exit_codes import Exit


class DocumentFormat(StrEnum):
    """Formats of a spec."""

    YAML = "yaml"
    JSON = "json"


def config(
    spec: SpecFile,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    document_format: Annotated[
        DocumentFormat, typer.Option("--format", help="Output format.")
    ] = DocumentFormat.YAML,
) -> int:
    """Print the spec with parameters set and short forms expanded. Secrets stay templates."""
    from batchspec.api import value_sources
    from batchspec.spec import dump_document, expanded_document

    options = run_options(spec, variables, variable_files)
    document = expanded_document(spec, value_sources(options))
    out_document(dump_document(document, document_format.value).removesuffix("\n"))
    return Exit.DONE
