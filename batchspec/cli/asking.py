"""A plan shown, agreed to, and carried out: how apply, retry, attach and download end alike."""

from __future__ import annotations

from batchspec.cli.options import Format, ProgressKind
from batchspec.cli.running import carry_out
from batchspec.cli.screen import confirm, has_terminal, needs_answer, show_plan, show_problems
from batchspec.cli.session import Session
from batchspec.diagnostics import Exit
from batchspec.plan.actions import (
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DeleteSchedule,
    ReplaceJob,
    ReplacePool,
    ReplaceSchedule,
)
from batchspec.plan.plan import Gate, Plan
from batchspec.render.questions import apply_question, no_terminal_text, unanswered


async def ask_and_run(
    plan: Plan, found: Session, progress: ProgressKind, *, yes: bool, verbose: bool = False
) -> int:
    """Show the plan, ask where it must be asked, and carry it out; the exit code.

    Raises:
        UsageError: it would have to ask, and there is nobody to answer.
    """
    if shows_plan(progress):
        show_plan(plan, Format.TEXT, verbose=verbose)
        if plan.empty:
            return Exit.DONE
    if _has_to_ask(plan) and not agreed(plan, progress, yes=yes):
        return Exit.DONE
    return await carry_out(plan, found, progress, yes=yes)


def shows_plan(progress: ProgressKind) -> bool:
    """Whether a plan is printed before it is carried out."""
    return progress not in {ProgressKind.JSON, ProgressKind.QUIET}


def agreed(plan: Plan, progress: ProgressKind, *, yes: bool) -> bool:
    """Whether the user agrees to carry out a plan and to each of its questions.

    Raises:
        UsageError: without a terminal and without ``-y`` (``yes``) there is no answer.
    """
    if yes:
        return True
    if not has_terminal():
        raise needs_answer(no_terminal_text(plan), unanswered(plan))
    if not shows_plan(progress) and plan.questions:
        show_problems(plan.questions)
    return confirm(apply_question(plan), default=False)


def _has_to_ask(plan: Plan) -> bool:
    """Whether the plan must be confirmed: on Azure always, else where something is lost by it.

    Clean-up at the end of a run is what the spec asks for, and asks for itself where it should.
    """
    if plan.empty:
        return False
    if plan.account.target == "azure" or plan.questions:
        return True
    gone = DeletePool | DeleteJob | DeleteSchedule | DeleteContainers
    return any(
        isinstance(step.action, ReplacePool | ReplaceJob | ReplaceSchedule)
        or (isinstance(step.action, gone) and step.gate is Gate.FLOW)
        for step in plan.steps
    )
