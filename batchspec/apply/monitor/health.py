"""The state of a run at one poll, as a frozen value, and the functions that read it.

Each poll sends four requests for any number of tasks: the pool, its node counts, the job and its
task counts. Lists are read only if counts have changed or no task starts; they are filtered and
have few fields. Counts may lag behind and lists do not (the descriptions of Job_GetTaskCounts and
Account_ListPoolNodeCounts), so no run ends because of counts alone.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from batchspec.account import (
    Account,
    NodeFacts,
    PreparationFacts,
    TaskCounts,
    TaskTimes,
    TaskWaiting,
    read_capacity,
)
from batchspec.frozen import frozen
from batchspec.plan import Plan
from batchspec.plan.actions import RestartNodes, WaitForPool, WaitForTasks
from batchspec.plan.capacity import QUOTA_ERRORS, Capacity
from batchspec.plan.observed import UNHEALTHY, JobFacts, PoolFacts

USABLE = frozenset({"idle", "running"})
"""The states of a node that accepts tasks."""

ENDING = frozenset({"terminating", "completed", "deleting"})
"""The states of a job that starts no more tasks."""

NODES_LIMIT = timedelta(hours=2)
"""How long a plan waits for nodes if it does not wait for a job."""


@frozen
class Watched:
    """The pool and job to watch; empty if there is none or its id is not known yet.

    The run is over ``limit`` after the creation of the job, by the service's clock. A job that is
    not ``closed`` may get more tasks. ``superseded`` of its tasks succeeded in an earlier version
    of the spec, and are not counted. The run restarts the nodes ``restarted``: preparation tasks
    that failed there before the run began are ignored.
    """

    pool: str = ""
    job: str = ""
    limit: timedelta = NODES_LIMIT
    closed: bool = True
    superseded: int = 0
    restarted: frozenset[str] = frozenset()


def watched_of(plan: Plan) -> Watched:
    """The pool and job that the waits of a plan watch."""
    found = Watched()
    restarted = frozenset(
        node
        for step in plan.steps
        if isinstance(step.action, RestartNodes)
        for node in step.action.nodes
    )
    for step in plan.steps:
        match step.action:
            case WaitForTasks(job, pool, _, limit, closed) as action:
                return Watched(pool, job, limit, closed, action.superseded, restarted)
            case WaitForPool(pool):
                found = Watched(pool)
    return found


@frozen
class StuckTasks:
    """Why none of the waiting tasks can ever start; each pair is an example.

    ``failed`` and ``missing`` are a task and the task that it waits for; ``too_large`` is a task
    and the slots that it takes, ``slots`` how many a node has. ``circle``: tasks wait for each
    other.
    """

    tasks: int
    failed: tuple[str, str] | None = None
    missing: tuple[str, str] | None = None
    too_large: tuple[str, int] | None = None
    slots: int = 1
    circle: str = ""


@frozen
class SlowTask:
    """A task that has run far longer than ``longest``, the longest time of a succeeded task."""

    id: str
    started: datetime
    longest: timedelta


NO_TASKS = TaskCounts(0, 0, 0, 0)


@frozen
class Health:
    """The state of a run at the service's time ``at``.

    ``pool_id`` is the pool's id, if it is known; ``pool`` is ``None`` if it does not exist;
    ``nodes`` counts by state. ``job_seen`` and ``pool_seen``: it exists or existed.
    ``steady_since`` is when the counts of tasks last changed. The fields after it are read only if
    they may explain why no task starts. ``capacity`` is read when nodes are missing because of a
    quota.
    """

    at: datetime
    deadline: datetime
    watched: Watched
    job: JobFacts | None = None
    job_seen: bool = False
    counts: TaskCounts = NO_TASKS
    pool_id: str = ""
    pool: PoolFacts | None = None
    pool_seen: bool = False
    nodes: Mapping[str, int] = field(default_factory=dict)
    steady_since: datetime | None = None
    unhealthy: tuple[NodeFacts, ...] = ()
    preparations: tuple[PreparationFacts, ...] = ()
    examined: TaskCounts | None = None
    stuck: StuckTasks | None = None
    slow: tuple[SlowTask, ...] = ()
    compared: datetime | None = None
    capacity: Capacity | None = None

    @property
    def left(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return (self.deadline - self.at).total_seconds()

    @property
    def over(self) -> bool:
        """Whether the job has ended, or is ending."""
        return self.job is not None and self.job.state in ENDING

    @property
    def usable(self) -> int:
        """How many nodes accept tasks."""
        return self.of_nodes(*USABLE)

    @property
    def stalled(self) -> bool:
        """Whether tasks wait and none runs."""
        return self.counts.active > 0 and self.counts.running == 0

    @property
    def quiet(self) -> timedelta:
        """For how long the counts of tasks have not changed."""
        return self.at - (self.steady_since or self.at)

    def of_nodes(self, *states: str) -> int:
        """How many nodes are in one of these states."""
        return sum(self.nodes.get(state, 0) for state in states)


_QUIET = timedelta(minutes=1)
"""How long counts must be unchanged before running tasks are compared with the others."""
_SLOWER = 10
"""How many times as long a task must run as the longest of its siblings."""
_SIBLINGS = 3
"""How many tasks must have succeeded for a comparison."""
_SAMPLE = 200
"""How many tasks are compared at most."""


async def poll(
    account: Account, watched: Watched, before: Health | None, began: datetime | None = None
) -> Health:
    """Read the state once. ``before`` is the previous state; ``began`` is when the run began.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    name = watched.pool or (before.pool_id if before else "")
    # The job is read last, because its end may delete the pool.
    pool, nodes = await _pool(account, name)
    job = await account.jobs.get(watched.job) if watched.job else None
    if not name and job is not None and job.pool:
        name = job.pool
        pool, nodes = await _pool(account, name)
    counts = NO_TASKS if job is None else await account.jobs.get_task_counts(job.id)
    counts = counts.without(watched.superseded)
    now = account.now()
    same = before is not None and before.counts == counts and before.job is not None
    health = Health(
        at=now,
        deadline=(job.created if job else began or now) + watched.limit,
        watched=watched,
        job=job,
        job_seen=job is not None or (before is not None and before.job_seen),
        counts=counts,
        pool_id=name,
        pool=pool,
        pool_seen=pool is not None or (before is not None and before.pool_seen),
        nodes=nodes,
        steady_since=before.steady_since if before and same else now,
    )
    if health.over:
        return health
    health = replace(health, capacity=await _capacity(account, health, before))
    return await _with_lists(account, health, before, began or now)


async def _capacity(account: Account, health: Health, before: Health | None) -> Capacity | None:
    """The quotas, if nodes are missing because of a quota; they are read once."""
    pool = health.pool
    if pool is None or pool.shortfall not in QUOTA_ERRORS:
        return None
    if before is not None and before.capacity is not None:
        return before.capacity
    return await read_capacity(account)


async def poll_in_detail(account: Account, watched: Watched) -> Health:
    """Read the state once, with everything that may explain why no task starts.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    return await poll(account, watched, await poll(account, watched, None))


async def _pool(account: Account, name: str) -> tuple[PoolFacts | None, Mapping[str, int]]:
    if not name:
        return None, {}
    pool, nodes = await asyncio.gather(account.pools.get(name), account.pools.get_node_counts(name))
    return pool, dict(nodes) if pool is not None else {}


async def _with_lists(
    account: Account, health: Health, before: Health | None, began: datetime
) -> Health:
    """Add what lists show, if it may explain a wait."""
    same = before is not None and before.counts == health.counts
    if health.of_nodes(*UNHEALTHY):
        unhealthy = before.unhealthy if before else ()
        if before is None or not health.counts.running or before.nodes != health.nodes:
            unhealthy = await _list_unhealthy(account, health)
        health = replace(health, unhealthy=unhealthy)
    job = health.job
    if job is None:
        return health
    if "jobPreparationTask" in job.properties and health.counts.active:
        preparations = before.preparations if before else ()
        if not same or health.stalled:
            preparations = tuple(
                [
                    one
                    async for one in account.jobs.list_preparation_tasks(job.id)
                    if not _before_restart(one, health.watched, began)
                ]
            )
        health = replace(health, preparations=preparations)
    if before is not None and same:
        health = replace(
            health,
            examined=before.examined,
            stuck=before.stuck,
            slow=before.slow,
            compared=before.compared,
        )
        if health.stalled and health.examined != health.counts:
            health = await _examined(account, health, job)
        elif health.counts.running and health.counts.succeeded >= _SIBLINGS:
            health = await _compared(account, health, job)
    return health


def _before_restart(one: PreparationFacts, watched: Watched, began: datetime) -> bool:
    """Whether a preparation task ran before the run restarted its node.

    The service lists it until the next task on the node runs it again.
    """
    return one.node in watched.restarted and one.ended is not None and one.ended <= began


async def _list_unhealthy(account: Account, health: Health) -> tuple[NodeFacts, ...]:
    return tuple([node async for node in account.nodes.list_unhealthy(health.pool_id)])


async def _examined(account: Account, health: Health, job: JobFacts) -> Health:
    """Add why no task can start; read once for the same counts."""
    slots = health.pool.properties.get("taskSlotsPerNode", 1) if health.pool else None
    stuck = await find_stuck_tasks(account, job.id, slots if isinstance(slots, int) else None)
    return replace(health, examined=health.counts, stuck=stuck)


async def _compared(account: Account, health: Health, job: JobFacts) -> Health:
    """Add the tasks that run far longer than the others took; at most once a minute."""
    last = health.compared or health.steady_since or health.at
    if health.at - last < _QUIET:
        return health
    done = await _times(account, job, running=False)
    took = [one.ended - one.started for one in done if one.started and one.ended]
    longest = max(took, default=None)
    slow: tuple[SlowTask, ...] = ()
    if longest is not None:
        bound = max(longest * _SLOWER, _QUIET)
        slow = tuple(
            SlowTask(one.id, one.started, longest)
            for one in await _times(account, job, running=True)
            if one.started is not None and health.at - one.started > bound
        )
    return replace(health, slow=slow[:_SIBLINGS], compared=health.at)


async def _times(account: Account, job: JobFacts, *, running: bool) -> list[TaskTimes]:
    found: list[TaskTimes] = []
    async for one in account.tasks.list_times(job.id, running=running):
        found.append(one)
        if len(found) >= _SAMPLE:
            break
    return found


async def find_stuck_tasks(account: Account, job: str, slots: int | None) -> StuckTasks | None:
    """Why no waiting task of the job can ever start; ``None`` if one can, or if a task runs.

    The service starts a task when everything that it depends on has succeeded, or failed in a way
    that satisfies the dependency. It does not report a task that can no longer start: the task
    stays ``active`` until the job's limit, and its nodes are idle and billed until then.

    ``slots`` is how many a node has, if that is known. Only ids are kept in memory. Running tasks
    are listed last, because a task may have started since the other lists were read.
    """
    waiting: set[str] = set()
    needed: set[str] = set()
    ranges: set[tuple[int, int]] = set()
    async for task in account.tasks.list_waiting(job):
        if not (task.needs or task.ranges or _too_large(task, slots)):
            return None
        waiting.add(task.id.lower())
        needed.update(name.lower() for name in task.needs)
        ranges.update(task.ranges)
    if not waiting:
        return None
    failed = {task.lower() async for task in account.tasks.list_blocking(job)}
    missing, gaps = await _absent(needed - waiting - failed, ranges, account, job)
    found = _Search(slots, waiting, failed, missing, gaps)
    while True:
        before = len(found.blocked)
        found.free = ""
        async for task in account.tasks.list_waiting(job):
            found.add(task)
            if found.ready:
                return None
        if len(found.blocked) == before:
            break
    if await account.tasks.any_running(job):
        return None
    return found.stuck()


async def _absent(
    names: set[str], ranges: set[tuple[int, int]], account: Account, job: str
) -> tuple[set[str], Mapping[tuple[int, int], int]]:
    """The dependencies that no task of the job has, from one list of its ids.

    Returns the missing ids, and the first missing id of each range.
    """
    if not names and not ranges:
        return names, {}
    left, numbers = set(names), set[int]()
    async for name in account.tasks.list_ids(job):
        left.discard(name.lower())
        if ranges and name.isdecimal():
            numbers.add(int(name))
        if not left and not ranges:
            break
    ordered = sorted(numbers)
    firsts = {each: _first_absent(each, ordered) for each in ranges}
    return left, {each: first for each, first in firsts.items() if first is not None}


def _first_absent(bounds: tuple[int, int], ordered: Sequence[int]) -> int | None:
    """The first number within the bounds (included) that is not in a sorted sequence."""
    first, last = bounds
    low, high = bisect_left(ordered, first), bisect_right(ordered, last)
    if high - low == last - first + 1:
        return None
    # As long as no number is missing, the index of a number is its distance from the first.
    return first + bisect_left(range(high - low), True, key=lambda n: ordered[low + n] != first + n)


def _too_large(task: TaskWaiting, slots: int | None) -> bool:
    return slots is not None and task.slots > slots


@dataclass(slots=True)
class _Search:
    """The result of passes over the waiting tasks, until a pass finds nothing new.

    ``gaps`` are the ranges that contain an id that no task has, each with the first such id.
    ``free`` is a task that waits only for other waiting tasks; ``ready``: a task waits for no
    waiting task.
    """

    slots: int | None
    waiting: set[str]
    failed: set[str]
    missing: set[str]
    gaps: Mapping[tuple[int, int], int] = field(default_factory=dict)
    blocked: set[str] = field(default_factory=set)
    by_failed: tuple[str, str] | None = None
    by_missing: tuple[str, str] | None = None
    too_large: tuple[str, int] | None = None
    free: str = ""
    ready: bool = False

    def add(self, task: TaskWaiting) -> None:
        """Add a waiting task."""
        name = task.id.lower()
        if name in self.blocked:
            return
        if _too_large(task, self.slots):
            self.too_large = self.too_large or (task.id, task.slots)
        elif by := _first_of(task, self.failed):
            self.by_failed = self.by_failed or (task.id, by)
        elif by := _first_of(task, self.missing) or self._gap(task):
            self.by_missing = self.by_missing or (task.id, by)
        elif not _first_of(task, self.blocked):
            self.free = self.free or task.id
            self.ready = self.ready or not _first_of(task, self.waiting)
            return
        self.blocked.add(name)

    def _gap(self, task: TaskWaiting) -> str:
        """The first missing id in a range that the task waits for; empty if there is none."""
        return next((str(self.gaps[each]) for each in task.ranges if each in self.gaps), "")

    def stuck(self) -> StuckTasks:
        """The result after the last pass."""
        return StuckTasks(
            len(self.waiting),
            self.by_failed,
            self.by_missing,
            self.too_large,
            self.slots or 1,
            self.free,
        )


def _first_of(task: TaskWaiting, ids: set[str]) -> str:
    """The first of the ids that the task waits for; empty if there is none."""
    named = next((name for name in task.needs if name.lower() in ids), "")
    return named or _first_in(task.ranges, ids)


def _first_in(ranges: Iterable[tuple[int, int]], ids: set[str]) -> str:
    # A range applies to ids that are numbers, with or without leading zeros.
    inside: Callable[[int], bool] = lambda number: any(a <= number <= b for a, b in ranges)  # noqa: E731
    if not ranges:
        return ""
    return next((name for name in ids if name.isdecimal() and inside(int(name))), "")
