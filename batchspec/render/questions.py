"""Questions before a change or a deletion, and the replies of `stop` and `destroy`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.apply.ports import Deletion
from batchspec.diagnostics import Diagnostic
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.plan.plan import Gate, Plan, Verb
from batchspec.render import units
from batchspec.render.output import flat
from batchspec.render.plan import plan_summary

_COSTS = {
    "pool": "its nodes are billed until it is deleted",
    "schedule": "it makes jobs until it is deleted",
    "job": "it is free, but counts against the quota while it is active",
    "container": "its data is billed as storage",
    "containers": "their data is billed as storage",
}


def cost_text(subject: str, *, target: str) -> str:
    """What it costs to leave a thing; ``subject`` is ``pool topn``, ``job topn`` ..."""
    kind = subject.partition(" ")[0]
    if target == "local":
        takes = "they take" if kind == "containers" else "it takes"
        return "it is free" if kind == "job" else f"{takes} room on this machine"
    return _COSTS.get(kind, "it may be billed")


def left_lines(left: Sequence[str], *, target: str) -> Iterator[str]:
    """Each thing that is left, with what it costs to leave it."""
    for subject in left:
        yield f"{flat(subject)}: {cost_text(subject, target=target)}"


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
    return cost_text(deletion.subject, target=target)


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


def no_terminal_text(plan: Plan) -> str:
    """Why a run that would have to ask ends where nobody can answer."""
    return f"there is no terminal to ask on. {plan_summary(plan)}"


_NAMED = 10


def job_question(job: str, running: int, waiting: int) -> str:
    """Whether to end a job, with what is lost by it; no is the default."""
    parts = [f"{count:,} {what}" for count, what in ((running, "running"), (waiting, "waiting"))]
    return f"End the job {flat(job)}, with {' and '.join(parts)} tasks? [y/N] "


def tasks_question(ids: Sequence[str]) -> str:
    """Whether to end these tasks; no is the default."""
    return f"End {_tasks(ids)}? [y/N] "


def job_ended(job: str, reason: str | None) -> str:
    """That a job has ended, and why according to the service."""
    return f"The job {flat(job)} has ended" + (f": {flat(reason)}" if reason else ".")


def job_ending(job: str, look: str) -> str:
    """That a job takes longer to end than it is waited for."""
    return f"The job {flat(job)} is being terminated; look again: {flat(look)}"


def schedule_continues(schedule: str, destroy: str) -> str:
    """That a job schedule creates further jobs."""
    return (
        f"The job schedule {flat(schedule)} creates its next job when it is due. "
        f"Delete it with: {flat(destroy)}"
    )


def tasks_ended(ids: Sequence[str]) -> str:
    """That tasks were ended."""
    return f"Ended {_tasks(ids)}."


def task_not_running(task: TaskFacts) -> str:
    """That a task has ended before."""
    how = "succeeded" if task.succeeded else "failed"
    return f"The task {flat(task.id)} has ended already: it {how}."


def nothing_to_stop(name: str, job: JobFacts | None) -> str:
    """That there is no job to end; ``job`` is the newest one that has ended."""
    if job is None:
        return f"Nothing to stop: there is no job of {flat(name)} in the account."
    why = f": {flat(job.terminate_reason)}" if job.terminate_reason else ""
    return f"Nothing to stop: the job {flat(job.id)} has ended{why}"


def unknown_task(task: str, name: str) -> Diagnostic:
    """That there is no job in which the task could be."""
    return Diagnostic(
        "no-run",
        f"there is no job of {name} in the account, and no task {task!r}",
        fix="`batchspec status` shows what there is.",
    )


def _tasks(ids: Sequence[str]) -> str:
    names = ", ".join(flat(name) for name in ids[:_NAMED])
    more = f", and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return f"{units.counted(len(ids), 'task')} ({names}{more})"
