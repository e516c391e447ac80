"""``batchspec validate``: every error of a spec and its files, without a request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.console import out, show_diagnostics
from batchspec.cli.options import Format, RunOptions, TextOrJson, VariableFiles, Variables
from batchspec.diagnostics import BatchspecError, Diagnostic

if TYPE_CHECKING:
    from batchspec.spec import Spec


def validate(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs, YAML files.")],
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Check specs offline: every error, with its place and its fix."""
    from batchspec.cli.load import load_spec_and_files

    code = 0
    diagnostics: list[Diagnostic] = []
    for path in specs:
        try:
            with load_spec_and_files(RunOptions.of(path, variables, variable_files)) as (spec, _):
                diagnostics += spec.warnings
                _check_rows(spec)
        except BatchspecError as error:
            diagnostics += error.problems
            code = max(code, error.exit)
        else:
            if output_format is Format.TEXT:
                out(f"{path}: ok")
    if diagnostics or output_format is Format.JSON:
        show_diagnostics(diagnostics, output_format)
    return code


def _check_rows(spec: Spec) -> None:
    """Read every file of rows to its end; no row is kept.

    Raises:
        SpecError: there is no such file, or one of its rows is wrong.
    """
    from collections import deque

    from batchspec.spec import Rows, read_rows

    for stage in spec.stages:
        if isinstance(stage.for_each, Rows):
            deque(read_rows(stage.for_each.path, stage.for_each.where), maxlen=0)
