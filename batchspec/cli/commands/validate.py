"""``batchspec validate``: all errors of a spec and its files, without requests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.console import ConsoleNotices, out, show_diagnostics
from batchspec.cli.options import (
    Format,
    TextOrJson,
    ValueReader,
    VariableFiles,
    Variables,
    run_options,
)
from batchspec.diagnostics import BatchspecError, Diagnostic


def validate(
    specs: Annotated[
        list[Path], typer.Argument(metavar="SPEC...", help="One or more specs, YAML files.")
    ],
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Check specs offline: every error, with its position and fix. Secrets need no values."""
    from batchspec.api import check_spec

    code = 0
    reader = ValueReader()
    diagnostics: list[Diagnostic] = []
    for path in specs:
        try:
            options = run_options(path, variables, variable_files, reader=reader)
            notices = ConsoleNotices(options)
            diagnostics += check_spec(options, on_loaded=notices.loaded, working=notices.working)[1]
        except BatchspecError as error:
            diagnostics += error.problems
            code = max(code, error.exit)
        else:
            if output_format is Format.TEXT:
                out(f"{path}: ok")
    if diagnostics or output_format is Format.JSON:
        show_diagnostics(diagnostics, output_format)
    return code
