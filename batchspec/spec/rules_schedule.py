"""Rules of a job schedule: its times, and the one task that each of its jobs begins with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from batchspec.problems import Problem, Severity
from batchspec.spec.node import Node
from batchspec.spec.rules_pool import at_least
from batchspec.spec.units import moment

_TASK_ONLY = (
    "affinity_info",
    "depends_on",
    "exit_codes",
    "exit_conditions",
    "instances",
    "multi_instance_settings",
)
"""What a task has and a job manager task has not (``BatchJobManagerTask``)."""


def schedule_rules(root: Node) -> Iterator[Problem]:
    """What the service would refuse of a schedule, and that its jobs have something to do."""
    schedule, manager = root.get("job", "schedule"), root.get("job", "job_manager_task")
    tasks = root.get("tasks")
    if schedule is None:
        return
    yield from _times(schedule)
    yield from _cleanup(root.get("cleanup"))
    if manager is None:
        yield from _one_task(tasks)
    elif tasks is not None:
        yield Problem(
            "either-or",
            "the jobs of the schedule have a `job_manager_task`: nobody would submit these tasks",
            where=tasks.name,
            hint="Leave `tasks` out, and have the job manager add what there is to do.",
        )


def _times(schedule: Node) -> Iterator[Problem]:
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
        yield Problem("out-of-range", "this is not after the start", where=until.where)


def _cleanup(cleanup: Node | None) -> Iterator[Problem]:
    if cleanup is None or all(when.value == "never" for when in cleanup.members.values()):
        return
    yield Problem(
        "no-cleanup",
        "nothing is cleaned up after the jobs of a schedule: others come",
        where=cleanup.name,
        hint="Leave `cleanup` out; `batchspec destroy` deletes the schedule and all else.",
        severity=Severity.WARNING,
    )


def _one_task(tasks: Node | None) -> Iterator[Problem]:
    stages = tuple(tasks.members.values()) if tasks else ()
    if len(stages) > 1:
        yield Problem(
            "one-task",
            "each job of a schedule begins with one task, and this is another stage",
            detail="The service makes the jobs, and nobody is there to submit more.",
            where=stages[1].name,
            hint="Do all of it in one command; have a `job_manager_task` add tasks; or leave "
            "`schedule` out, and let cron or CI apply the spec.",
        )
    for stage in stages[:1]:
        for key in _TASK_ONLY:
            if (node := stage.get(key)) is not None:
                yield Problem(
                    "not-of-manager",
                    f"the task that a job of a schedule begins with has no `{key}`",
                    detail="It is the job manager task, of which the service takes less.",
                    where=node.name,
                    hint="Leave it out; or have a `job_manager_task` add a task that has it.",
                )
