"""Which tasks run and how tasks ended, read in increments while a job is waited for.

The monitor counts tasks; stages, running times and causes of failures are only in lists. Each list
is filtered by the service: the running tasks, which the slots of the pool bound, and the tasks that
were completed since the last list, so that each task is listed about once, however long the run is.
Specs with one stage need only those that failed. Lists are read at most every five of the shortest
poll intervals, for a tenth of the time at most, and only if counts have changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from batchspec.account import TaskSince
from batchspec.apply.events import (
    Emit,
    FailedTasks,
    FailuresSeen,
    LongestSeen,
    Noticed,
    RunningTask,
    StagesSeen,
)
from batchspec.apply.monitor import Health
from batchspec.apply.ports import World
from batchspec.diagnostics import ServiceError, Severity
from batchspec.plan.actions import WaitForTasks
from batchspec.plan.failures import cause_of
from batchspec.plan.observed import JobFacts, TaskFacts

_POLLS = 5
_SHARE = 10
"""The pause after a list, as a multiple of the time that it took."""
_OVERLAP = timedelta(seconds=5)
"""How far a list reaches back before the last one: tasks may appear in it late."""
_LAG = 3
"""How many lists in a row must contain more tasks than are counted until they are read again."""
_LONGEST = 3
_CAUSES = 20
"""How many causes are reported; the failed tasks of all others are counted together."""


@dataclass(slots=True)
class TaskStates:
    """Reads the states of the tasks of one job, and reports changes."""

    action: WaitForTasks
    world: World
    emit: Emit
    _due: float = float("-inf")
    _read: object = None
    _refused: bool = False
    _newest: datetime | None = None
    _recent: dict[str, datetime] = field(default_factory=dict)
    _ended: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _causes: dict[str, FailedTasks] = field(default_factory=dict)
    _fewer: int = 0
    _longest: tuple[str, ...] = ()
    _reported: dict[type, object] = field(default_factory=dict)

    async def read(self, health: Health) -> None:
        """Read what has changed since the last call and report it, if it is time to.

        A refused request is reported once and turns this off, because no decision depends on it.
        """
        clock = self.world.clock
        began = clock.monotonic()
        if self._refused or health.job is None or health.counts == self._read or began < self._due:
            return
        self._check_sums(health)
        try:
            if self.action.stages or health.counts.failed:
                await self._read_ended(health.job)
            running = await self._read_running()
        except ServiceError as error:
            self._refuse(error)
            return
        self._read = health.counts
        now = clock.monotonic()
        self._due = now + max(_POLLS * self.world.shortest_poll_interval, _SHARE * (now - began))
        if self.action.stages:
            stages = self._stages(Counter(task.facts.marks.stage for task in running))
            self._emit_change(StagesSeen(self.action.job, stages, final=False))
        self._report_longest(health, running[:_LONGEST])
        self._report_failures()

    async def finish(self, job: JobFacts | None) -> None:
        """Report all failed tasks of a job that has ended; ``None``: it was deleted."""
        if self._refused or job is None:
            return
        try:
            await self._read_ended(job)
        except ServiceError as error:
            self._refuse(error)
            return
        self._report_failures()

    def _refuse(self, error: ServiceError) -> None:
        self._refused = True
        for problem in error.problems:
            self.emit(Noticed(replace(problem, severity=Severity.WARNING)))

    async def _read_running(self) -> list[TaskSince]:
        tasks = self.world.account.tasks.list_running(self.action.job)
        return sorted([task async for task in tasks], key=lambda task: task.since)

    async def _read_ended(self, job: JobFacts) -> None:
        """Count the tasks that have been completed since the last list."""
        since = None if self._newest is None else self._newest - _OVERLAP
        failed = not self.action.stages
        async for task in self.world.account.tasks.list_ended(job.id, since=since, failed=failed):
            if self._recent.get(task.facts.id) == task.since:
                continue
            self._recent[task.facts.id] = task.since
            self._newest = max(self._newest or task.since, task.since)
            self._count(task.facts, job)
        if self._newest is not None:
            # The next list may begin earlier than it was asked to: filters have whole seconds.
            oldest = self._newest - 2 * _OVERLAP
            self._recent = {name: at for name, at in self._recent.items() if at >= oldest}

    def _count(self, task: TaskFacts, job: JobFacts) -> None:
        self._ended[task.marks.stage]["succeeded" if task.succeeded else "failed"] += 1
        if task.succeeded:
            return
        cause = cause_of(task, job)
        if cause not in self._causes and len(self._causes) >= _CAUSES:
            cause = "other"
        known = self._causes.get(cause, FailedTasks(cause, 0, task.id))
        self._causes[cause] = replace(known, count=known.count + 1)

    def _check_sums(self, health: Health) -> None:
        """Start again if there are fewer ended tasks than were listed: some were reactivated.

        Counts may lag behind a list, so they must be lower several times in a row.
        """
        ended = sum(self._ended.values(), Counter[str]())
        completed = health.counts.completed + self.action.superseded
        fewer = ended["failed"] > health.counts.failed or ended.total() > completed
        self._fewer = self._fewer + 1 if fewer else 0
        if self._fewer >= _LAG:
            self._newest, self._fewer = None, 0
            for each in (self._recent, self._ended, self._causes):
                each.clear()

    def _report_failures(self) -> None:
        if self._causes:
            causes = sorted(self._causes.values(), key=lambda each: (-each.count, each.cause))
            self._emit_change(FailuresSeen(self.action.job, tuple(causes)))

    def _report_longest(self, health: Health, running: list[TaskSince]) -> None:
        names = tuple(task.facts.id for task in running)
        if names != self._longest:
            self._longest = names
            tasks = tuple(
                RunningTask(
                    task.facts.id,
                    task.facts.node or "",
                    max((health.at - task.since).total_seconds(), 0.0),
                )
                for task in running
            )
            self.emit(LongestSeen(self.action.job, tasks))

    def _stages(self, running: Counter[str]) -> Mapping[str, Mapping[str, int]]:
        """The tasks of each stage, over all jobs of the run."""
        stages: dict[str, Mapping[str, int]] = {}
        for each in self.action.stages:
            ended = self._ended[each.stage]
            succeeded = each.kept + max(0, ended["succeeded"] - each.superseded)
            failed = ended["failed"] + each.failed
            known = succeeded + failed + running[each.stage]
            total = max(each.total, known)
            stages[each.stage] = {
                "total": total,
                "active": total - known,
                "running": running[each.stage],
                "succeeded": succeeded,
                "failed": failed,
            }
        return stages

    def _emit_change(self, event: StagesSeen | FailuresSeen) -> None:
        if self._reported.get(type(event)) != event:
            self._reported[type(event)] = event
            self.emit(event)
