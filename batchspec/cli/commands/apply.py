"""``batchspec apply``: plan, confirm, execute, wait, download, clean up."""

from __future__ import annotations

from typing import Annotated

import typer

from batchspec.cli.console import ConsoleNotices
from batchspec.cli.options import (
    MaxCost,
    OnlyStep,
    Progress,
    ProgressKind,
    Replace,
    Rerun,
    SpecOrPlan,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    Yes,
    run_options,
)
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan import PlanOptions


async def apply(
    spec: SpecOrPlan,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    detach: Annotated[
        bool,
        typer.Option(
            "--detach",
            help="Return when all tasks are submitted; the job ends when its tasks are completed.",
        ),
    ] = False,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            "-f",
            help="Print the output of tasks, each line after its task id. Uses plain progress.",
        ),
    ] = False,
    rerun: Rerun = False,
    replace: Replace = None,
    step: OnlyStep = "",
    max_cost: MaxCost = "",
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Run the spec: plan, confirm, execute, wait, download the results, clean up."""
    from batchspec.api import prepare_apply, saved_options
    from batchspec.cli.execute import confirm_and_execute
    from batchspec.cli.resume_command import resume_apply
    from batchspec.plan import read_plan_file

    if follow and (detach or progress in {ProgressKind.JSON, ProgressKind.LIVE}):
        option = "--detach" if detach else f"--progress {progress.value}"
        raise UsageError(
            Diagnostic(
                "command-line", f"`--follow` cannot be combined with {option}", fix="Leave one out."
            )
        )
    if follow and progress is ProgressKind.AUTO:
        progress = ProgressKind.PLAIN
    options = run_options(spec, variables, variable_files, target, max_cost=max_cost)
    plan_options = PlanOptions(rerun=rerun, replace=frozenset(replace or ()), step=step)
    saved = read_plan_file(spec)
    if saved is not None:
        options, plan_options = saved_options(saved, options, plan_options), saved.options
    async with prepare_apply(
        options,
        plan_options,
        ConsoleNotices(options),
        saved=saved,
        saved_file=spec,
        detach=detach,
    ) as prepared:
        resumed_with = resume_apply(plan_options, detach=detach)
        return await confirm_and_execute(
            prepared.plan,
            prepared.session,
            progress,
            resumed_with,
            yes=yes,
            verbose=verbose,
            follow=follow,
        )
