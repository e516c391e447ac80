"""``batchspec apply``: plan, ask, carry out, wait, fetch, clean up."""

from __future__ import annotations

from batchspec.cli.asking import ask_and_run
from batchspec.cli.options import ProgressKind, Target, Wanted, variables_of
from batchspec.cli.session import session
from batchspec.plan.build import build
from batchspec.plan.detach import detached
from batchspec.plan.saved import SavedPlan, check_fresh, read_plan_file
from batchspec.plan.wishes import Wishes
from batchspec.problems import Problem, UsageError


async def apply(
    wanted: Wanted,
    progress: ProgressKind,
    *,
    yes: bool,
    verbose: bool,
    detach: bool,
    wishes: Wishes,
) -> int:
    """Bring the account to what the spec, or the saved plan, says; the exit code."""
    plan = read_plan_file(wanted.path)
    if plan is not None:
        wanted = _of(plan, wanted)
    async with session(wanted) as found:
        made = build(found.spec, found.observed, wishes=wishes)
        if plan is not None:
            check_fresh(plan, made)
        if detach:
            made = detached(made)
        return await ask_and_run(made, found, progress, yes=yes, verbose=verbose)


def _of(plan: SavedPlan, given: Wanted) -> Wanted:
    """What a saved plan was made of; ``given`` may add nothing but the secrets it does not hold.

    Raises:
        UsageError: something else is given, or a secret is not.
    """
    variables = variables_of(given.variables)
    other = [name for name in variables if name not in plan.secrets]
    if other or (given.target is not None and given.target.value != plan.target):
        what = f"--var {other[0]}" if other else "--target"
        hint = "Save another plan with it."
        raise UsageError(Problem("plan-is-fixed", f"a saved plan cannot take {what}", hint=hint))
    return Wanted(
        plan.spec,
        (*(f"{name}={value}" for name, value in plan.variables.items()), *given.variables),
        (*plan.variable_files, *given.variable_files),
        Target(plan.target),
        given.environ,
    )
