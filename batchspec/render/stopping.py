"""What ``stop`` asks and reports."""

from __future__ import annotations

from collections.abc import Sequence

from batchspec.diagnostics import Diagnostic
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.render import units
from batchspec.render.sink import flat

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
