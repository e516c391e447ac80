"""A part of a plan: one step, and whatever it comes after."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.plan.findings.catalogue import finding
from batchspec.plan.plan import Step

PART = "part-of-plan"
"""The code of the note that a plan is a part of one."""
NO_SUCH_STEP = "no-such-step"
"""The code of the problem that there is no such step."""


def only_step(
    name: str, steps: Sequence[Step], kept: Sequence[Step]
) -> tuple[list[Step], list[Step], Diagnostic]:
    """The steps that the step of that id needs, itself the last; and a note on what is left out.

    Nothing is to be done if that step keeps what is there: then it is the one that is kept.

    Raises:
        UsageError: the plan has no such step.
    """
    by_id = {step.id: step for step in steps}
    if name not in by_id and name not in {step.id for step in kept}:
        raise UsageError(_unknown(name, [*by_id, *(step.id for step in kept)]))
    needed: set[str] = set()
    ahead = [name] if name in by_id else []
    while ahead:
        step = by_id[ahead.pop()]
        if step.id not in needed:
            needed.add(step.id)
            ahead += [before for before in step.after if before in by_id]
    chosen = [step for step in steps if step.id in needed]
    kept = [step for step in kept if step.id == name]
    return chosen, kept, _left_out(name, len(steps) - len(chosen))


def _left_out(name: str, number: int) -> Diagnostic:
    steps = "1 other step is" if number == 1 else f"{number} other steps are"
    return finding(
        PART,
        f"only {name} and what it needs is done: {steps} left out",
    )


def _unknown(name: str, names: list[str]) -> Diagnostic:
    near = get_close_matches(name, names, n=1)
    return Diagnostic(
        NO_SUCH_STEP,
        f"the plan has no step {name!r}",
        detail="It has: " + ", ".join(names),
        fix=f"Did you mean `{near[0]}`?" if near else "",
    )
