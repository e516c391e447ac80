"""``batchspec apply``: plan, confirm, execute, wait, download, clean up."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.options import (
    OnlyStep,
    Progress,
    ProgressKind,
    Replace,
    Rerun,
    RunOptions,
    SpecOrPlan,
    Target,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    Yes,
    variables_of,
)
from batchspec.diagnostics import (
    BatchspecError,
    Diagnostic,
    SpecError,
    StalePlanError,
    UsageError,
)
from batchspec.plan import PlanOptions

if TYPE_CHECKING:
    from batchspec.plan import SavedPlan


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
            help="Return when every task is submitted; the job ends when its tasks do.",
        ),
    ] = False,
    rerun: Rerun = False,
    replace: Replace = None,
    step: OnlyStep = "",
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Run the spec: plan, confirm, execute, wait, download the results, clean up."""
    from batchspec.cli.execute import confirm_and_execute
    from batchspec.cli.resume_command import apply_again
    from batchspec.cli.session import open_session
    from batchspec.plan import build_plan, check_fresh, detached, read_plan_file

    options = RunOptions.of(spec, variables, variable_files, target)
    plan_options = PlanOptions(rerun=rerun, replace=frozenset(replace or ()), step=step)
    saved = read_plan_file(spec)
    if saved is not None:
        options, plan_options = _saved_options(saved, options, plan_options), saved.options
    plan = None
    try:
        async with open_session(options, needs_secrets=True) as session:
            plan = build_plan(session.spec, session.observed, options=plan_options)
            if saved is not None:
                check_fresh(saved, plan)
            if detach:
                plan = detached(plan)
            again = apply_again(plan_options, detach=detach)
            return await confirm_and_execute(
                plan, session, progress, again, yes=yes, verbose=verbose
            )
    except (SpecError, UsageError) as error:
        if saved is None or plan is not None or not _is_stale(error, saved, options):
            raise
        raise StalePlanError(
            Diagnostic(
                "plan-stale",
                f"the plan is stale: {options.path.name} has changed and cannot be planned now",
                fix="Fix the errors that follow, and save the plan again: "
                f"`batchspec plan --out {shlex.quote(str(spec))}`",
            ),
            *error.problems,
        ) from None


def _is_stale(error: BatchspecError, saved: SavedPlan, options: RunOptions) -> bool:
    """Whether the spec or a file has changed, rather than the options being wrong."""
    from batchspec.plan import NO_SUCH_STEP

    if isinstance(error, UsageError):
        return any(problem.code == NO_SUCH_STEP for problem in error.problems)
    given = variables_of(options.variables)
    if any(name not in given for name in saved.secrets) and not options.variable_files:
        return False
    return any(problem.code != "bad-variable" for problem in error.problems)


def _saved_options(saved: SavedPlan, given: RunOptions, plan_options: PlanOptions) -> RunOptions:
    """The options of a saved plan; ``given`` may add only its secrets, which are not saved.

    Raises:
        UsageError: another option is given.
    """
    extra = [f"--var {name}" for name in variables_of(given.variables) if name not in saved.secrets]
    if given.target is not None and given.target.value != saved.target:
        extra.append("--target")
    if plan_options.rerun:
        extra.append("--rerun")
    if plan_options.replace:
        extra.append("--replace")
    if plan_options.step:
        extra.append("--target-step")
    if extra:
        raise UsageError(
            Diagnostic(
                "plan-is-fixed",
                f"a saved plan does not accept {extra[0]}",
                fix="Save a new plan with this option: "
                f"`batchspec plan {shlex.quote(str(saved.spec))} --out FILE {extra[0]}`",
            )
        )
    return RunOptions(
        saved.spec,
        (*(f"{name}={value}" for name, value in saved.variables.items()), *given.variables),
        (*saved.variable_files, *given.variable_files),
        Target(saved.target),
        given.environ,
    )
