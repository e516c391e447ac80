"""What is asked, and what it means to say no: texts only, the asking is done elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.apply.ports import Deletion
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


def delete_question(deletion: Deletion, *, target: str) -> str:
    """Whether to delete something, and what it costs or is good for to keep it."""
    choice = "[Y/n]" if deletion.advised else "[y/N]"
    keeping = _keeping(deletion, target)
    return f"Delete {flat(deletion.subject)}? If it is kept, {keeping}. {choice} "


def _keeping(deletion: Deletion, target: str) -> str:
    if deletion.nodes is not None:
        return _node_hours(deletion.nodes, target)
    if deletion.failed and deletion.subject.startswith("job "):
        return "`batchspec failures` and `batchspec retry` can use it"
    return cost_words(deletion.subject, target=target)


def _node_hours(nodes: int, target: str) -> str:
    """What it costs to keep a pool, in node-hours."""
    if not nodes:
        return "it has no nodes and costs nothing"
    stay = "its node stays" if nodes == 1 else f"its {nodes} nodes stay"
    hours = units.counted(nodes, "node-hour")
    return f"{stay}: {hours} per hour{', not billed on this machine' if target == 'local' else ''}"


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
