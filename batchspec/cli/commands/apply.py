"""``batchspec apply``: plan, ask, carry out, wait, fetch, clean up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import attrgetter

from batchspec.cli.asking import ask_and_run
from batchspec.cli.options import ProgressKind, Target, Wanted, variables_of
from batchspec.cli.session import session
from batchspec.diagnostics import (
    BatchspecError,
    Diagnostic,
    SpecError,
    StalePlanError,
    UsageError,
)
from batchspec.plan.assemble import NO_SUCH_STEP, detached
from batchspec.plan.build import build
from batchspec.plan.options import PlanOptions
from batchspec.plan.plan_file import SavedPlan, check_fresh, read_plan_file


async def apply(
    wanted: Wanted,
    progress: ProgressKind,
    *,
    yes: bool,
    verbose: bool,
    detach: bool,
    plan_options: PlanOptions,
) -> int:
    """Bring the account to what the spec, or the saved plan, says; the exit code."""
    plan = read_plan_file(wanted.path)
    if plan is not None:
        wanted, plan_options = _of(plan, wanted, plan_options), plan.options
    made = None
    try:
        async with session(wanted) as found:
            made = build(found.spec, found.observed, options=plan_options)
            if plan is not None:
                check_fresh(plan, made)
            if detach:
                made = detached(made)
            return await ask_and_run(made, found, progress, yes=yes, verbose=verbose)
    except (SpecError, UsageError) as error:
        if plan is None or made is not None or not _moved(error, plan, wanted):
            raise
        raise StalePlanError(_not_made(wanted), *error.problems) from None


def _moved(error: BatchspecError, plan: SavedPlan, wanted: Wanted) -> bool:
    """Whether there is no plan because the spec or a file is another, and not by what was given."""
    if isinstance(error, UsageError):
        return any(problem.code == NO_SUCH_STEP for problem in error.problems)
    given = variables_of(wanted.variables)
    if any(name not in given for name in plan.secrets) and not wanted.variable_files:
        return False
    return any(problem.code != "bad-variable" for problem in error.problems)


def _not_made(wanted: Wanted) -> Diagnostic:
    return Diagnostic(
        "plan-stale",
        f"the plan is stale: of {wanted.path.name} as it is now none can be made",
        fix="Mend what is told next, look at `batchspec plan` again, and save it anew.",
    )


_OPTIONS: Mapping[str, Callable[[PlanOptions], object]] = {
    "--rerun": attrgetter("rerun"),
    "--replace": attrgetter("replace"),
    "--target-step": attrgetter("step"),
}


def _of(plan: SavedPlan, given: Wanted, plan_options: PlanOptions) -> Wanted:
    """What a saved plan was made of; ``given`` may add nothing but the secrets it does not hold.

    Raises:
        UsageError: something else is given, or a secret is not.
    """
    variables = variables_of(given.variables)
    other = [f"--var {name}" for name in variables if name not in plan.secrets]
    if given.target is not None and given.target.value != plan.target:
        other.append("--target")
    other += [name for name, is_ in _OPTIONS.items() if is_(plan_options)]
    if other:
        what = other[0]
        fix = "Save another plan with it."
        raise UsageError(Diagnostic("plan-is-fixed", f"a saved plan cannot take {what}", fix=fix))
    return Wanted(
        plan.spec,
        (*(f"{name}={value}" for name, value in plan.variables.items()), *given.variables),
        (*plan.variable_files, *given.variable_files),
        Target(plan.target),
        given.environ,
    )
