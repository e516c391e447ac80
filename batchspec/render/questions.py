"""Questions before changes and deletions, and the messages of `stop`; `cli` asks them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from batchspec.apply.ports import Deletion
from batchspec.diagnostics import Diagnostic
from batchspec.plan import Gate, Plan, Verb
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.render import units
from batchspec.render.output import flat

_COSTS = {
    "pool": "its nodes are billed while it has nodes",
    "schedule": "it creates jobs until it is deleted",
    "job": "it costs nothing, but counts toward the quota while it is active",
    "jobs": "they cost nothing, but count toward the quota while they are active",
    "container": "its data is billed as storage",
    "containers": "their data is billed as storage",
}
_LOCAL_COSTS = {
    "job": "it costs nothing",
    "jobs": "they cost nothing",
    "containers": "they use disk space on this machine",
}


def cost_text(subject: str, *, target: str) -> str:
    """The cost of a resource that is kept; ``subject`` is ``pool topn``, ``job topn`` ..."""
    kind = subject.partition(" ")[0]
    if target == "local":
        return _LOCAL_COSTS.get(kind, "it uses disk space on this machine")
    return _COSTS.get(kind, "it may be billed")


def left_lines(left: Sequence[str], *, target: str) -> Iterator[str]:
    """Each remaining resource with its cost; the jobs of a run are one line."""
    jobs = [subject.removeprefix("job ") for subject in left if subject.startswith("job ")]
    others = [subject for subject in left if not subject.startswith("job ")]
    if jobs:
        others.append(f"job{'s' if len(jobs) > 1 else ''} {units.listed(jobs)}")
    for subject in others:
        yield f"{flat(subject)}: {cost_text(subject, target=target)}"


def delete_question(deletion: Deletion, *, target: str) -> str:
    """Asks whether to delete a resource, with the cost or the use of the kept resource."""
    choice = "[Y/n]" if deletion.advised else "[y/N]"
    keeping = _keeping(deletion, target)
    return f"Delete {flat(deletion.subject)}? If it is kept, {keeping}. {choice} "


def _keeping(deletion: Deletion, target: str) -> str:
    if deletion.nodes is not None:
        return _node_hours(deletion.nodes, target)
    if deletion.failed and deletion.subject.startswith("job "):
        return "`batchspec failures` and `batchspec retry` need it"
    return cost_text(deletion.subject, target=target)


def _node_hours(nodes: int, target: str) -> str:
    """The node-hours of a pool that is kept."""
    if not nodes:
        return "it has no nodes and costs nothing"
    stay = "its node stays" if nodes == 1 else f"its {nodes:,} nodes stay"
    hours = units.counted(nodes, "node-hour")
    local = ", not billed on this machine" if target == "local" else ""
    return f"{stay}: {hours} per hour{local}"


def plan_question(plan: Plan, *, verb: str = "apply") -> str:
    """Asks whether to carry out the plan of a command and names what it deletes.

    The default is no.
    """
    lost = [
        flat(step.subject)
        for step in plan.steps
        if step.verb in {Verb.REPLACE, Verb.DELETE} and step.gate is Gate.FLOW
    ]
    kind = "Azure" if plan.account.target == "azure" else plan.account.target
    account = f"the {kind} account {flat(plan.account.batch)}"
    content = f"and everything in {'it' if len(lost) == 1 else 'them'}"
    if verb == "destroy" and lost:
        return f"Delete {units.listed(lost)} {content} from {account}? [y/N] "
    text = f"{_ASKS.get(verb, 'Apply this plan to')} {account}?"
    if lost:
        text += f" This deletes {units.listed(lost)} {content}."
    return f"{text} [y/N] "


def nothing_to_delete(plan: Plan) -> str:
    """The summary of a plan of ``destroy`` without steps."""
    if any(finding.code == "pool-in-use" for finding in plan.findings):
        return "Nothing to delete but the pool, which is kept because it is in use."
    return "Nothing to delete: no resource of this spec is in the account."


CONTINUE = "Continue? [y/N] "


def unanswered(question: str, problems: Sequence[Diagnostic] = ()) -> Diagnostic:
    """The error of a command that has a question and no terminal; ``problems`` are its reasons."""
    lines = [flat(problem.summary) for problem in problems]
    return Diagnostic(
        "needs-answer",
        "a question needs an answer, and there is no terminal",
        detail="\n".join([*lines, question.removesuffix("[y/N] ").strip()]),
        fix=f"To answer yes{' to all of this' if lines else ''}, add `-y` to the command.",
    )


_NAMED = 10
_ASKS = {
    "attach": "Watch this run in",
    "download": "Download the results from",
}
"""The questions of commands that change nothing; other commands apply their plan."""


def job_question(job: str, running: int, waiting: int) -> str:
    """Asks whether to terminate a job and names its open tasks; the default is no."""
    tasks = f"{units.counted(running, 'running task')} and {units.counted(waiting, 'waiting task')}"
    return f"Terminate job {flat(job)} with {tasks}? [y/N] "


def tasks_question(ids: Sequence[str]) -> str:
    """Asks whether to terminate tasks; the default is no."""
    return f"Terminate {_tasks(ids)}? [y/N] "


def job_ended(job: str, reason: str | None) -> str:
    """The message after a job ended, with the reason that the service reports."""
    return f"Job {flat(job)} has ended" + (f": {flat(reason)}" if reason else ".")


def job_ending(job: str, look: str) -> str:
    """The message if a job does not end within the time that `stop` waits."""
    return f"Job {flat(job)} is terminating. See: {flat(look)}"


def schedule_continues(schedule: str, destroy: str) -> str:
    """The reminder that a job schedule creates further jobs."""
    return (
        f"Job schedule {flat(schedule)} creates its next job when it is due. "
        f"Delete it with: {flat(destroy)}"
    )


def tasks_ended(ids: Sequence[str]) -> str:
    """The message after tasks were terminated."""
    return f"Terminated {_tasks(ids)}."


def task_not_running(task: TaskFacts) -> str:
    """The message for a task that has already completed."""
    result = "succeeded" if task.succeeded else "failed"
    return f"Task {flat(task.id)} has already completed: it {result}."


def nothing_to_stop(job: JobFacts | None, missing: str = "") -> str:
    """The message if no job is active; ``job`` is the newest completed one.

    ``missing`` is the reason why there is no job.
    """
    if job is None:
        return f"Nothing to stop: {flat(missing)}."
    reason = f": {flat(job.terminate_reason)}" if job.terminate_reason else ""
    return f"Nothing to stop: job {flat(job.id)} has completed{reason}"


def _tasks(ids: Sequence[str]) -> str:
    names = ", ".join(flat(name) for name in ids[:_NAMED])
    more = f", and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return f"{units.counted(len(ids), 'task')} ({names}{more})"
