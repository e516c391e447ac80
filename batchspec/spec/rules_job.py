"""Rules of the job: an end, preparation and release."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.problems import Problem
from batchspec.spec.node import Node
from batchspec.spec.rules_pool import at_least
from batchspec.spec.units import duration


def job_rules(root: Node) -> Iterator[Problem]:
    """What the service would refuse of a job, and that no run is without an end."""
    job = root.get("job")
    if job is None:
        return
    if not job.wrong:  # else nobody knows what is missing in it
        yield from _limit(job)
        yield from _numbers(job)
        yield from _release(job)
    for task in task_nodes(root):
        yield from _command(task)


def task_nodes(root: Node) -> Iterator[Node]:
    """The start task, and the preparation and release tasks written in short."""
    for path in (("pool", "start_task"), ("job", "prepare"), ("job", "release")):
        if (node := root.get(*path)) is not None:
            yield node


def _limit(job: Node) -> Iterator[Problem]:
    limit = job.get("max_wall_clock_time") or job.get("constraints", "max_wall_clock_time")
    if limit is None:
        yield Problem(
            "missing-key",
            "`max_wall_clock_time` is missing in the job",
            detail="Every run has an end, so that nothing is paid for that nobody waits for.",
            where=job.name,
            hint="Write `max_wall_clock_time: 2h`, say.",
        )
    elif limit.text and duration(limit.text) == timedelta():
        yield Problem("out-of-range", "the job would end at once", where=limit.where)


def _numbers(job: Node) -> Iterator[Problem]:
    priority = job.get("priority")
    if priority is not None and isinstance(priority.value, int) and abs(priority.value) > 1000:
        yield Problem(
            "out-of-range",
            f"`priority` is -1000 to 1000, not {priority.value}",
            where=priority.where,
        )
    most = job.get("max_parallel_tasks")
    if most is not None and isinstance(most.value, int) and (most.value < -1 or most.value == 0):
        yield Problem(
            "out-of-range",
            f"`max_parallel_tasks` is at least 1, or -1 for no bound, not {most.value}",
            where=most.where,
        )


def _release(job: Node) -> Iterator[Problem]:
    release = job.get("release") or job.get("job_release_task")
    if release is None:
        return
    if job.get("prepare") is None and job.get("job_preparation_task") is None:
        yield Problem(
            "missing-key",
            "the service runs `release` only where it ran `prepare`, and there is none",
            where=release.name,
            hint="Add a `prepare`; `command: exit 0` will do.",
        )
    limit = release.get("max_wall_clock_time")
    yield from at_least("max_wall_clock_time", limit, timedelta(), timedelta(minutes=15))


def _command(task: Node) -> Iterator[Problem]:
    command = task.get("command") or task.get("command_line")
    if command is None:
        yield Problem("missing-key", "`command` is missing", where=task.name)
    elif command.text is not None and not command.text.strip():
        yield Problem("empty", "`command` is empty", where=command.where)
