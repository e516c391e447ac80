"""``batchspec validate``: every error of a spec and its files, without a request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.console import out, show_diagnostics
from batchspec.cli.options import Format, RunOptions, TextOrJson, VariableFiles, Variables
from batchspec.diagnostics import BatchspecError, Diagnostic, Severity, SpecError

if TYPE_CHECKING:
    from batchspec.spec import Spec


def validate(
    specs: Annotated[list[Path], typer.Argument(metavar="SPEC...", help="Specs, YAML files.")],
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Check specs offline: every error, with its position and fix. Needs no value of a secret."""
    code = 0
    diagnostics: list[Diagnostic] = []
    for path in specs:
        try:
            diagnostics += _check(RunOptions.of(path, variables, variable_files))
        except BatchspecError as error:
            diagnostics += error.problems
            code = max(code, error.exit)
        else:
            if output_format is Format.TEXT:
                out(f"{path}: ok")
    if diagnostics or output_format is Format.JSON:
        show_diagnostics(diagnostics, output_format)
    return code


def _check(options: RunOptions) -> tuple[Diagnostic, ...]:
    """The warnings of a spec, its files and its tasks.

    Raises:
        SpecError: every error, and the warnings.
    """
    from datetime import UTC, datetime

    from batchspec.cli.load import load_spec_and_files
    from batchspec.plan import check_offline
    from batchspec.spec import FlawedSpecError

    try:
        with load_spec_and_files(options) as (spec, spool):
            files = {key: spool.files(key) for key in spec.containers}
            found = (*spec.warnings, *check_offline(spec, files, datetime.now(UTC)))
    except SpecError as error:
        flawed = error.spec if isinstance(error, FlawedSpecError) else None
        more = _more(flawed) if flawed is not None else ()
        found = tuple(dict.fromkeys((*error.problems, *more)))
        raise SpecError(*sorted(found, key=_position)) from None
    if any(each.severity is Severity.ERROR for each in found):
        raise SpecError(*found)
    return tuple(each for each in found if each.severity is Severity.WARNING)


def _position(problem: Diagnostic) -> tuple[bool, str, int, int]:
    """What problems are sorted by: their position, and last those without one."""
    where = problem.where
    return (True, "", 0, 0) if where is None else (False, where.file, where.line, where.column)


def _more(spec: Spec) -> tuple[Diagnostic, ...]:
    """What else is wrong with a spec that has errors only in values of its properties."""
    from datetime import UTC, datetime

    from batchspec.diagnostics import Diagnostics
    from batchspec.observe import Spool, scan
    from batchspec.plan import check_offline

    with Spool() as spool:
        # Missing files are already reported.
        scan(spec.containers.values(), spool, Diagnostics(), contents=False)
        files = {key: spool.files(key) for key in spec.containers}
        return check_offline(spec, files, datetime.now(UTC), tasks=False)
