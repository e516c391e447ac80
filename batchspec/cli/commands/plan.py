"""``batchspec plan``: the steps of ``apply`` and their reasons. Reads the account only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.console import ConsoleNotices, err, show_plan, show_plan_errors
from batchspec.cli.options import (
    AnyFormat,
    Format,
    MaxCost,
    OnlyStep,
    Replace,
    Rerun,
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    run_options,
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
    max_cost: MaxCost = "",
    verbose: Verbose = False,
) -> int:
    """Show the steps in order, each with its reason. Changes nothing in the account."""
    from batchspec.api import prepare_plan

    options = run_options(spec, variables, variable_files, target, max_cost=max_cost)
    plan_options = PlanOptions(rerun=rerun, replace=frozenset(replace or ()), step=step)
    try:
        async with prepare_plan(options, plan_options, ConsoleNotices(options)) as prepared:
            show_plan(prepared.plan, output_format, verbose=verbose)
            if out is not None:
                from batchspec.plan import plan_file_text
                from batchspec.render import plan_saved

                _write(out, plan_file_text(prepared.saved()))
                err(plan_saved(out))
    except SpecError as error:
        # Programs that read JSON or markdown do not read standard error.
        show_plan_errors(spec, error.problems, output_format)
        raise
    return Exit.CHANGES if exit_code and not prepared.plan.empty else Exit.DONE


def _write(path: Path, text: str) -> None:
    """Write a plan file that only its owner can read, because it describes the user's work.

    Raises:
        UsageError: the file cannot be written.
    """
    from batchspec.apply.private_files import open_private

    part = path.with_name(f".{path.name}.part")
    try:
        with open_private(part) as file:
            file.write(text)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        diagnostic = Diagnostic(
            "plan-not-saved",
            f"{path} cannot be written: {error.strerror or error}",
            fix="Choose another path: --out FILE",
        )
        raise UsageError(diagnostic) from error
