"""``batchspec plan``: the steps of ``apply`` and their reasons. Reads the account only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.console import err, show_plan, show_plan_errors
from batchspec.cli.options import (
    AnyFormat,
    Format,
    OnlyStep,
    Replace,
    Rerun,
    RunOptions,
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    variables_of,
)
from batchspec.diagnostics import Diagnostic, SpecError, UsageError
from batchspec.exit_codes import Exit
from batchspec.plan import PlanOptions


async def plan(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: AnyFormat = Format.TEXT,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit with 6 if there are changes, else with 0.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save the plan for `batchspec apply FILE`."),
    ] = None,
    rerun: Rerun = False,
    replace: Replace = None,
    step: OnlyStep = "",
    verbose: Verbose = False,
) -> int:
    """Show the steps in order, each with its reason. Changes nothing in the account."""
    from batchspec.cli.session import open_session
    from batchspec.plan import build_plan, plan_file_text, saved_plan
    from batchspec.render import plan_saved

    options = RunOptions.of(spec, variables, variable_files, target)
    plan_options = PlanOptions(rerun=rerun, replace=frozenset(replace or ()), step=step)
    try:
        async with open_session(options) as session:
            built = build_plan(session.spec, session.observed, options=plan_options)
            # Inside the session: the steps read from its spool while they are printed.
            show_plan(built, output_format, verbose=verbose)
            if out is not None:
                file = saved_plan(
                    built,
                    session.spec,
                    variables_of(options.variables),
                    options.variable_files,
                    plan_options,
                )
                _write(out, plan_file_text(file))
                err(plan_saved(out))
    except SpecError as error:
        # A program that reads JSON or markdown does not read standard error.
        show_plan_errors(spec, error.problems, output_format)
        raise
    return Exit.CHANGES if exit_code and not built.empty else Exit.DONE


def _write(path: Path, text: str) -> None:
    """Write a plan file that only its owner can read, since it describes the user's work.

    Raises:
        UsageError: the file cannot be written.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch(mode=0o600)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        diagnostic = Diagnostic("plan-not-saved", f"{path} cannot be written: {error.strerror}")
        raise UsageError(diagnostic) from error
