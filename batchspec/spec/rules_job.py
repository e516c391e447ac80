"""Rules of the job, its preparation and release tasks, and its schedule."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.spec.formats import duration, moment
from batchspec.spec.rules_pool import at_least
from batchspec.spec.yaml_tree import Node

_TASK_ONLY = (
    "affinity_info",
    "depends_on",
    "exit_codes",
    "exit_conditions",
    "instances",
    "multi_instance_settings",
)
"""Properties of a task that a job manager task (``BatchJobManagerTask``) does not have."""


def job_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of the job that the service refuses, and the required time limit."""
    job = root.get("job")
    if job is None:
        return
    if not job.wrong:
        yield from _limit(job)
        yield from _numbers(job)
        yield from _release(job)
    for task in _task_nodes(root):
        yield from _command(task)
    yield from _schedule_rules(root)


def _task_nodes(root: Node) -> Iterator[Node]:
    """The start task and the short forms of the preparation and release tasks."""
    for path in (("pool", "start_task"), ("job", "prepare"), ("job", "release")):
        if (node := root.get(*path)) is not None:
            yield node


def _limit(job: Node) -> Iterator[Diagnostic]:
    limit = job.get("max_wall_clock_time") or job.get("constraints", "max_wall_clock_time")
    if limit is None:
        yield Diagnostic(
            "missing-key",
            "`max_wall_clock_time` is missing in the job",
            detail="Every run needs a time limit, so that it cannot cause costs indefinitely.",
            where=job.name,
            fix="Write a limit, for example `max_wall_clock_time: 2h`.",
        )
    elif limit.text and duration(limit.text) == timedelta():
        yield Diagnostic(
            "out-of-range", "`max_wall_clock_time` must be greater than 0", where=limit.where
        )


def _numbers(job: Node) -> Iterator[Diagnostic]:
    priority = job.get("priority")
    if priority is not None and isinstance(priority.value, int) and abs(priority.value) > 1000:
        yield Diagnostic(
            "out-of-range",
            f"`priority` must be -1000 to 1000, not {priority.value}",
            where=priority.where,
        )
    most = job.get("max_parallel_tasks")
    if most is not None and isinstance(most.value, int) and (most.value < -1 or most.value == 0):
        yield Diagnostic(
            "out-of-range",
            f"`max_parallel_tasks` must be at least 1, or -1 for no limit, not {most.value}",
            where=most.where,
        )


def _release(job: Node) -> Iterator[Diagnostic]:
    release = job.get("release") or job.get("job_release_task")
    if release is None:
        return
    if job.get("prepare") is None and job.get("job_preparation_task") is None:
        yield Diagnostic(
            "missing-key",
            "`release` requires `prepare`: the service runs a release task only after a "
            "preparation task",
            where=release.name,
            fix="Add `prepare: {command: exit 0}`.",
        )
    limit = release.get("max_wall_clock_time")
    yield from at_least("max_wall_clock_time", limit, timedelta(), timedelta(minutes=15))


def _command(task: Node) -> Iterator[Diagnostic]:
    command = task.get("command") or task.get("command_line")
    if command is None:
        yield Diagnostic("missing-key", "`command` is missing", where=task.name)
    elif command.text is not None and not command.text.strip():
        yield Diagnostic("empty", "`command` is empty", where=command.where)


def _schedule_rules(root: Node) -> Iterator[Diagnostic]:
    """Properties of a schedule that the service refuses, and the first task of its jobs."""
    schedule, manager = root.get("job", "schedule"), root.get("job", "job_manager_task")
    tasks = root.get("tasks")
    if schedule is None:
        return
    yield from _schedule_times(schedule)
    yield from _schedule_cleanup(root.get("cleanup"))
    if manager is None:
        yield from _one_task(tasks)
    elif tasks is not None:
        yield Diagnostic(
            "either-or",
            "`tasks` cannot be combined with a `job_manager_task` in a job schedule: the service "
            "creates the jobs, and only the job manager task submits tasks to them",
            where=tasks.name,
            fix="Remove `tasks`, and submit them from the job manager task.",
        )


def _schedule_times(schedule: Node) -> Iterator[Diagnostic]:
    every = schedule.get("every") or schedule.get("recurrence_interval")
    yield from at_least("every", every, timedelta(minutes=1))
    window = schedule.get("window") or schedule.get("start_window")
    yield from at_least("window", window, timedelta(minutes=1))
    start = schedule.get("start") or schedule.get("do_not_run_until")
    until = schedule.get("until") or schedule.get("do_not_run_after")
    if start is None or until is None:
        return
    first, last = moment(start.text or ""), moment(until.text or "")
    if first and last and last <= first:
        yield Diagnostic(
            "out-of-range", "the end of the schedule is not after its start", where=until.where
        )


def _schedule_cleanup(cleanup: Node | None) -> Iterator[Diagnostic]:
    if cleanup is None or all(when.value == "never" for when in cleanup.members.values()):
        return
    yield Diagnostic(
        "no-cleanup",
        "`cleanup` has no effect with a schedule, which keeps creating jobs",
        where=cleanup.name,
        fix="Remove `cleanup`; to delete everything, run `batchspec destroy`.",
        severity=Severity.WARNING,
    )


def _one_task(tasks: Node | None) -> Iterator[Diagnostic]:
    stages = tuple(tasks.members.values()) if tasks else ()
    if len(stages) > 1:
        yield Diagnostic(
            "one-task",
            "a job schedule can have only one stage, and this is another one",
            detail="The service creates the jobs with a single task, the job manager task.",
            where=stages[1].name,
            fix="Do everything in one command, submit more tasks from a `job_manager_task`, or "
            "remove `schedule` and apply the spec from cron or CI.",
        )
    for stage in stages[:1]:
        for key in _TASK_ONLY:
            if (node := stage.get(key)) is not None:
                yield Diagnostic(
                    "not-of-manager",
                    f"`{key}` is not supported for the task of a job schedule",
                    detail="It is created as a job manager task, which lacks this property.",
                    where=node.name,
                    fix="Remove it, or submit a task that has it from a `job_manager_task`.",
                )
