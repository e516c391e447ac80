"""Job schedules: jobs when they are due, one at a time, and the end of a schedule.

Pure: a view in, decisions out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from batchspec.local.engine.decision import (
    Decision,
    DeletePool,
    DropSchedule,
    MoveJob,
    MoveSchedule,
    OpenJob,
    SkipRun,
)
from batchspec.local.model.life import JobState, ScheduleState
from batchspec.local.model.record import Job, Schedule
from batchspec.local.wire.recurrence import next_run, window_passed

_ENDING = (JobState.TERMINATING, JobState.DELETING)


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule, and its jobs that are not completed; all of them when it is being deleted."""

    schedule: Schedule
    jobs: tuple[Job, ...] = ()


def follow(view: ScheduleView, now: datetime) -> Iterator[Decision]:
    """The next step of a schedule."""
    schedule, jobs = view.schedule, view.jobs
    if schedule.state is ScheduleState.TERMINATING:
        yield from _end(view)
        if not jobs:
            yield from _complete(schedule)
    elif schedule.state is ScheduleState.DELETING:
        for job in jobs:
            if job.state is not JobState.DELETING:
                yield MoveJob(job, JobState.DELETING)
        if not jobs:
            yield from _release(schedule)
            yield DropSchedule(schedule)
    elif schedule.next_run is None:
        if not jobs:
            yield from _complete(schedule)
    elif schedule.next_run <= now:
        yield from _run(view, schedule.next_run, now)


def _run(view: ScheduleView, due: datetime, now: datetime) -> Iterator[Decision]:
    schedule = view.schedule
    settings = schedule.body["schedule"]
    following = next_run(settings, due, now)
    if window_passed(settings, due, now):
        yield SkipRun(schedule, due, following)
    elif not view.jobs:
        yield OpenJob(schedule, due, following)


def _end(view: ScheduleView) -> Iterator[Decision]:
    for job in view.jobs:
        if job.state not in _ENDING:
            yield MoveJob(job, JobState.TERMINATING, "TerminateJobSchedule")


def _complete(schedule: Schedule) -> Iterator[Decision]:
    yield MoveSchedule(schedule, ScheduleState.COMPLETED)
    yield from _release(schedule)


def _release(schedule: Schedule) -> Iterator[Decision]:
    """The pool that lived as long as the schedule goes with it."""
    auto = schedule.body["jobSpecification"]["poolInfo"].get("autoPoolSpecification", {})
    if schedule.pool_id is not None and not auto.get("keepAlive", False):
        yield DeletePool(schedule.pool_id)
