"""``batchspec apply``: plan, ask, carry out, wait, fetch, clean up."""

from __future__ import annotations

from batchspec.cli.options import Format, ProgressKind, Wanted
from batchspec.cli.reading import session
from batchspec.cli.running import carry_out
from batchspec.cli.screen import confirm, has_terminal, needs_answer, show_plan
from batchspec.plan.actions import DeleteContainers, DeleteJob, DeletePool, ReplacePool
from batchspec.plan.build import build
from batchspec.plan.plan import Gate, Plan
from batchspec.problems import Exit
from batchspec.render.questions import apply_question, unasked_words


async def apply(wanted: Wanted, progress: ProgressKind, *, yes: bool, verbose: bool) -> int:
    """Bring the account to what the spec says; the exit code."""
    async with session(wanted) as found:
        made = build(found.spec, found.observed)
        if progress not in {ProgressKind.JSON, ProgressKind.QUIET}:
            show_plan(made, Format.TEXT, verbose=verbose)
            if made.empty:
                return Exit.DONE
        if not yes and _has_to_ask(made):
            if not has_terminal():
                raise needs_answer(unasked_words(made))
            if not confirm(apply_question(made), default=False):
                return Exit.DONE
        return await carry_out(made, found, progress, yes=yes)


def _has_to_ask(plan: Plan) -> bool:
    """Whether the plan must be confirmed: on Azure always, else where something is lost by it.

    Clean-up at the end of a run is what the spec asks for, and asks for itself where it should.
    """
    if plan.empty:
        return False
    if plan.account.target == "azure":
        return True
    gone = DeletePool | DeleteJob | DeleteContainers
    return any(
        isinstance(step.action, ReplacePool)
        or (isinstance(step.action, gone) and step.gate is Gate.FLOW)
        for step in plan.steps
    )
