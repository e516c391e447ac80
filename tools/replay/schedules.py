"""Job schedules that a recorded request needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.model import JobState, Schedule, ScheduleState
from batchspec.local.store import add_job
from replay.jobs import Jobs
from replay.recordings import Exchange
from replay.resource_setup import ResourceSetup, now, time_of

_DEFAULT = {"schedule": {}, "jobSpecification": {"poolInfo": {"poolId": "replay"}}}
_WAY: Mapping[ScheduleState, tuple[ScheduleState, ...]] = {
    ScheduleState.COMPLETED: (ScheduleState.TERMINATING, ScheduleState.COMPLETED),
}


class Schedules:
    """Creates job schedules in a given state."""

    def __init__(self, setup: ResourceSetup, jobs: Jobs) -> None:
        self._setup = setup
        self._jobs = jobs
        self._store = setup.store

    async def before_create(self, exchange: Exchange) -> None:
        """Remove the schedule if it exists."""
        if exchange.body:
            self.remove(exchange.body["id"])

    def remove(self, schedule_id: str) -> None:
        """Remove a schedule with its jobs."""
        schedule = self._store.schedules.get(schedule_id)
        if schedule is not None:
            for job in self._store.jobs.of_schedule(schedule_id, completed=True):
                self._jobs.remove(job.id)
            self._store.schedules.delete(
                self._store.schedules.set_state(schedule, ScheduleState.DELETING, now())
            )

    async def ensure(self, schedule_id: str, shown: Mapping[str, Any] | None = None) -> Schedule:
        """Create a schedule with the given JSON."""
        shown = shown or {}
        target = ScheduleState(shown.get("state", "active"))
        found = self._store.schedules.get(schedule_id)
        if found is not None and found.state is not target:
            self.remove(schedule_id)
            found = None
        if found is None:
            path = ("jobschedules", schedule_id)
            await self._setup.make(path, "BatchJobScheduleCreateOptions", shown, _DEFAULT)
        schedule = self._there(schedule_id)
        info = shown.get("executionInfo", {})
        if "recentJob" in info and schedule.recent_job is None:
            self._run(schedule, info)
        if "previousState" in shown and schedule.previous_state is None:
            self._store.schedules.set_state(schedule, ScheduleState.DISABLED, now())
            self._store.schedules.set_state(self._there(schedule_id), ScheduleState.ACTIVE, now())
        schedule = self._there(schedule_id)
        for state in () if schedule.state is target else _WAY.get(target, (target,)):
            schedule = self._store.schedules.set_state(schedule, state, now())
        return schedule

    async def ensure_job(self, schedule_id: str, job_id: str, shown: Mapping[str, Any]) -> None:
        """Create a job of a schedule with the given JSON."""
        schedule = await self.ensure(schedule_id)
        if self._store.jobs.get(job_id) is None:
            self._run(schedule, {})
        job = self._jobs.there(job_id)
        target = JobState(shown.get("state", "active"))
        if job.state is not target:
            self._jobs.move(job, target, shown)

    def _run(self, schedule: Schedule, info: Mapping[str, Any]) -> None:
        job_id = f"{schedule.id}:job-{schedule.runs + 1}"
        add_job(self._store, job_id, schedule.body["jobSpecification"], now(), schedule=schedule)
        following = time_of(info.get("nextRunTime"))
        self._store.schedules.job_created(schedule, job_id, None, now(), following)

    def _there(self, schedule_id: str) -> Schedule:
        schedule = self._store.schedules.get(schedule_id)
        assert schedule is not None, schedule_id
        return schedule
