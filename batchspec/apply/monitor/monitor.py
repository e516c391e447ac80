"""Polls the state of a run with one deadline, and reports changes as events.

Every wait of a run uses the same monitor. The waits decide whether a cause ends the run.

Stages, running times and causes of failures are not in the counts, only in lists.
:class:`TaskStates` reads lists in increments, and the service filters them: the running tasks,
which the slots of the pool bound, and the tasks that were completed since the last list. So each
task is listed about once, even in a long run. Specs with one stage need only the failed tasks.
Between two lists are at least five of the shortest poll intervals, and lists take at most about a
tenth of the time. Lists are read only if counts have changed.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from batchspec.account import NodeFacts, TaskSince
from batchspec.apply.events import (
    Emit,
    FailedTasks,
    FailuresSeen,
    LongestSeen,
    NodeFailed,
    NodesSeen,
    Noticed,
    RunningTask,
    StagesSeen,
    Waiting,
)
from batchspec.apply.monitor.cause_table import Cause
from batchspec.apply.monitor.causes import find_causes
from batchspec.apply.monitor.health import Health, Watched, poll
from batchspec.apply.ports import Runtime
from batchspec.apply.record import (
    TAIL,
    failed_preparation,
    failed_start_task,
    keep_node_output,
    read_tail,
)
from batchspec.diagnostics import ServiceError, Severity, redact
from batchspec.exit_codes import Exit
from batchspec.plan.actions import WaitForTasks
from batchspec.plan.failures import cause_of
from batchspec.plan.observed import START_TASK_RUNNING, JobFacts, PoolFacts, TaskFacts

if TYPE_CHECKING:
    from batchspec.plan import NodeRelease

_NODES_SHOWN = 3
"""How many failed nodes are reported with the output of their start task."""


_LONGEST_INTERVAL = 15.0
_LONGEST_FACTOR = 20.0
"""With the interval of the local target, 0.1 s, polls are at most 2 s apart."""

_LEAST = 0.5
"""In seconds. The shortest interval that depends on the running time."""
_DELAY = 1 / 20


@dataclass(slots=True)
class PollInterval:
    """The time between two polls in seconds: ``shortest`` after a change, then longer.

    It is at most 15 s, and at most 20 times ``shortest``. While tasks have run only for a short
    time, it starts at a twentieth of that time, so that polling does not prolong a short job.
    """

    shortest: float
    _seconds: float = field(default=0.0, init=False)
    _last: Hashable = field(default=None, init=False)

    def next(self, state: Hashable, worked: float = math.inf) -> float:
        """The seconds to wait after a poll that returned ``state``.

        ``worked`` is how long tasks have run, in seconds.
        """
        longer = self._seconds * 1.5 if state == self._last else 0.0
        longest = max(min(_LONGEST_INTERVAL, _LONGEST_FACTOR * self.shortest), self.shortest)
        shortest = min(self.shortest, max(_LEAST, worked * _DELAY))
        self._seconds = min(max(longer, shortest), longest)
        self._last = state
        return self._seconds


def nodes_seen(pool: PoolFacts, states: Mapping[str, int], at: datetime) -> NodesSeen:
    """The event of the nodes that a pool had at the service's time ``at``."""
    size = pool.properties.get("vmSize")
    return NodesSeen(
        pool.id,
        states,
        pool.target,
        size if isinstance(size, str) else "",
        pool.dedicated,
        pool.spot,
        at,
    )


@dataclass(slots=True)
class Monitor:
    """Watches a pool and a job.

    ``causes`` are those of the latest poll before the job ended.
    """

    runtime: Runtime
    emit: Emit
    watched: Watched
    causes: tuple[Cause, ...] = ()
    _poll_interval: PollInterval = field(init=False)
    _began: datetime = field(init=False)
    _health: Health | None = None
    _work_began: datetime | None = None
    _pool: PoolFacts | None = None
    _first: dict[tuple[str, str], datetime] = field(default_factory=dict)
    _reported: dict[tuple[str, str], Cause] = field(default_factory=dict)
    _nodes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._poll_interval = PollInterval(self.runtime.shortest_poll_interval)
        self._began = self.runtime.account.now()

    async def poll(self) -> Health:
        """Read the state of the run and report changes.

        Raises:
            ServiceError: the account refused, or could not be reached.
        """
        before = self._health
        health = await poll(self.runtime.account, self.watched, before, self._began)
        self._health = health
        if self._work_began is None and (health.counts.running or health.counts.completed):
            self._work_began = health.at
        if health.pool is not None:
            self._report_earlier(health.pool, health)
            self._pool = health.pool
            self.emit(nodes_seen(health.pool, health.nodes, health.at))
        await self._report_nodes(health.pool_id, health.unhealthy)
        await self._keep_output(health)
        if not health.over:
            self.causes = tuple(self._dated(health))
            self._report(health.at)
        return health

    async def pause(self) -> None:
        """Wait until the next poll is due, at most until the deadline.

        Raises:
            RunCancelled: cancellation was requested.
        """
        health = self._health
        assert health is not None
        seen = (health.job and health.job.state, health.counts, tuple(sorted(health.nodes.items())))
        began = self._work_began
        worked = math.inf if began is None else (health.at - began).total_seconds()
        seconds = self._poll_interval.next((*seen, health.pool and health.pool.allocation), worked)
        await self.runtime.clock.sleep(min(seconds, max(health.left, 0.05)))

    def _report_earlier(self, pool: PoolFacts, health: Health) -> None:
        """Report that the nodes of the first poll existed before it, at most since the start."""
        since = max(pool.allocation_since or health.at, self._began)
        if self._pool is None and pool.nodes and since < health.at:
            self.emit(nodes_seen(pool, health.nodes, since))

    def expect_release(self, release: NodeRelease) -> datetime | None:
        """When the service is expected to have released the nodes that were seen last, if any.

        The pool of a job may no longer exist at the last poll.
        """
        health, pool = self._health, self._pool
        if health is None or pool is None:
            return None
        ended = health.job.ended if health.job is not None else None
        return release.expected(ended or health.at, pool.autoscale_at)

    @property
    def ending(self) -> Cause | None:
        """The cause that ends the run, if there is one; failed tasks first."""
        ends = [cause for cause in self.causes if cause.ends]
        failed = [cause for cause in ends if cause.kind.exit is Exit.TASKS_FAILED]
        return next(iter(failed or ends), None)

    def report_all(self) -> None:
        """Report all causes, also recent ones, because the run ends."""
        for cause in self.causes:
            self._report_cause(cause)

    def _dated(self, health: Health) -> list[Cause]:
        """The causes, each with the time at which it was first seen."""
        found = find_causes(health)
        self._first = {cause.key: self._first.get(cause.key, health.at) for cause in found}
        return [replace(cause, since=cause.since or self._first[cause.key]) for cause in found]

    def _report(self, now: datetime) -> None:
        """Report causes that are new or have changed, and those that no longer apply."""
        for key in [key for key in self._reported if key not in self._first]:
            del self._reported[key]
            self.emit(Waiting(*key, resolved=True))
        for cause in self.causes:
            if cause.ends or now - self._first[cause.key] >= cause.kind.shown_after:
                self._report_cause(cause)

    def _report_cause(self, cause: Cause) -> None:
        before = self._reported.get(cause.key)
        # A new time is not a change.
        if before is not None and replace(before, since=cause.since) == cause:
            return
        self._reported[cause.key] = cause
        self.emit(cause.waiting())

    async def keep_start_tasks(self) -> None:
        """Report and store the output of start tasks that still run when the run ends.

        If other nodes accept tasks, start tasks are not the cause, and nothing is reported.
        """
        health = self._health
        if health is None or health.usable or not health.of_nodes(START_TASK_RUNNING):
            return
        try:
            listed = self.runtime.account.nodes.list_starting(health.pool_id)
            nodes = [_still_running(node, health.at) async for node in listed]
        except ServiceError as error:
            # The end of the run does not depend on this list.
            for problem in error.problems:
                self.emit(Noticed(replace(problem, severity=Severity.WARNING)))
            return
        if not nodes:
            return
        self.causes = tuple(
            replace(cause, action=cause.action.replace("NODE", nodes[0].id))
            if cause.code == "start-task-running"
            else cause
            for cause in self.causes
        )
        await self._report_nodes(health.pool_id, nodes)
        failed = [failed_start_task(health.pool_id, node) for node in nodes]
        await keep_node_output(failed, self.runtime, self.emit)

    async def _keep_output(self, health: Health) -> None:
        """Store the output of failed start and preparation tasks before nodes are deleted."""
        pool = health.pool_id
        failed = [failed_start_task(pool, node) for node in health.unhealthy]
        failed += [failed_preparation(pool, one) for one in health.preparations if one.failed]
        await keep_node_output(failed, self.runtime, self.emit)

    async def _report_nodes(self, pool: str, nodes: Sequence[NodeFacts]) -> None:
        """Report each node that accepts no tasks once, with the output of its start task."""
        for node in nodes:
            if node.id in self._nodes or len(self._nodes) >= _NODES_SHOWN:
                continue
            self._nodes.add(node.id)
            path = "startup/stderr.txt"
            tail = await read_tail(
                self.runtime.account.nodes.get_file_tail(pool, node.id, path, TAIL), self.emit
            )
            message = redact(node.message)
            self.emit(NodeFailed(pool, node.id, node.state, node.exit_code, message, tail))


def _still_running(node: NodeFacts, now: datetime) -> NodeFacts:
    """The node with a message about its start task, for which the service reports no error."""
    lasted = (
        "" if node.started is None else f" after {lasting((now - node.started).total_seconds())}"
    )
    return replace(node, message=f"the start task still ran{lasted}")


def lasting(seconds: float) -> str:
    """A duration in a message: ``45 s``, ``12 min``."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


_POLLS = 5
_SHARE = 10
"""The pause after a list, as a multiple of the duration of the list."""
_OVERLAP = timedelta(seconds=5)
"""How far a list overlaps the last one, because tasks may appear in a list late."""
_LAG = 3
"""How many times in a row counts must be lower than lists before all tasks are listed again."""
_LONGEST = 3
_CAUSES = 20
"""How many causes are reported; the failed tasks of all others are counted together."""


@dataclass(slots=True)
class TaskStates:
    """The running tasks of a job and the results of its ended tasks, during the wait for them."""

    action: WaitForTasks
    runtime: Runtime
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
        """Read and report the changes since the last call, if the next list is due.

        A refused request is reported once, and nothing more is read: no decision depends on it.
        """
        clock = self.runtime.clock
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
        self._due = now + max(_POLLS * self.runtime.shortest_poll_interval, _SHARE * (now - began))
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
        tasks = self.runtime.account.tasks.list_running(self.action.job)
        return sorted([task async for task in tasks], key=lambda task: task.since)

    async def _read_ended(self, job: JobFacts) -> None:
        """Count the tasks that have been completed since the last list."""
        since = None if self._newest is None else self._newest - _OVERLAP
        failed = not self.action.stages
        async for task in self.runtime.account.tasks.list_ended(job.id, since=since, failed=failed):
            if self._recent.get(task.facts.id) == task.since:
                continue
            self._recent[task.facts.id] = task.since
            self._newest = max(self._newest or task.since, task.since)
            self._count(task.facts, job)
        if self._newest is not None:
            # The next list may begin up to a second earlier, because filters have whole seconds.
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
