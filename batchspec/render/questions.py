"""What is asked, and what it means to say no: texts only, the asking is done elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.plan.plan import Gate, Plan, Verb
from batchspec.render import units
from batchspec.render.plan.text import plan_summary
from batchspec.render.sink import flat

_COSTS = {
    "pool": "its nodes are billed until it is deleted",
    "schedule": "it makes jobs until it is deleted",
    "job": "it is free, but counts against the quota while it is active",
    "container": "its data is billed as storage",
    "containers": "their data is billed as storage",
}


def cost_words(subject: str, *, target: str) -> str:
    """What it costs to leave a thing; ``subject`` is ``pool topn``, ``job topn`` ..."""
    kind = subject.partition(" ")[0]
    if target == "local":
        takes = "they take" if kind == "containers" else "it takes"
        return "it is free" if kind == "job" else f"{takes} room on this machine"
    return _COSTS.get(kind, "it may be billed")


def left_lines(left: Sequence[str], *, target: str) -> Iterator[str]:
    """Each thing that is left, with what it costs to leave it."""
    for subject in left:
        yield f"{flat(subject)}: {cost_words(subject, target=target)}"


def delete_question(subjects: Sequence[str], *, target: str) -> str:
    """Whether to delete: what, and what it costs to leave it; yes is the default."""
    if len(subjects) == 1:
        cost = cost_words(subjects[0], target=target)
        return f"Delete {flat(subjects[0])}? If not, {cost}. [Y/n] "
    lines = "".join(f"  {line}\n" for line in left_lines(subjects, target=target))
    return f"If they are not deleted:\n{lines}Delete them all? [Y/n] "


def apply_question(plan: Plan) -> str:
    """Whether to carry out a plan: no is the default. What is lost by it is named."""
    lost = [
        flat(step.subject)
        for step in plan.steps
        if step.verb in {Verb.REPLACE, Verb.DELETE} and step.gate is Gate.FLOW
    ]
    text = f"Carry this out on {plan.account.target}, {flat(plan.account.batch)}?"
    if lost:
        text += f" This deletes {units.listed(lost)} with all in it."
    return f"{text} [y/N] "


NOTHING_TO_DELETE = "Nothing to delete: nothing that the spec made is in the account."


CONTINUE = "Continue? [y/N] "


def unanswered(plan: Plan) -> str:
    """The questions of a plan, a line each."""
    return "\n".join(flat(question.summary) for question in plan.questions)


def unasked_words(plan: Plan) -> str:
    """Why a run that would have to ask ends where nobody can answer."""
    return f"there is no terminal to ask on. {plan_summary(plan)}"
