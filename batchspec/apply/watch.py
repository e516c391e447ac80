"""Waiting for nodes and for tasks: cheap looks, at a pace that slows while nothing changes.

Only counts and filtered lists are read. A look that fails is the account's affair to repeat; a pool
that will never run a task ends the wait at once, with what its nodes said.
"""

from __future__ import annotations

from collections.abc import Awaitable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from batchspec.apply.blocked import all_blocked
from batchspec.apply.events import (
    Emit,
    NodeFailed,
    NodesSeen,
    Noticed,
    Outcome,
    TaskFailed,
    TasksSeen,
)
from batchspec.apply.exact import all_unwell, any_left, final_counts
from batchspec.apply.gone import job_gone, pool_gone
from batchspec.apply.ports import NodeFacts, TaskCounts, World
from batchspec.apply.shortfall import no_allocation
from batchspec.apply.work import Performed
from batchspec.plan.actions import WaitForPool, WaitForTasks
from batchspec.plan.observed import JobFacts, PoolFacts
from batchspec.problems import Problem, ServiceError, Severity

_TAIL = 2048
"""How many bytes of a failed task's stderr are fetched."""
_DETAILED = 10
"""How many failed tasks are shown with their stderr; the others are counted."""
_NODES_DETAILED = 3
_SLOWEST = 15.0
USABLE = frozenset({"idle", "running"})
_HOPELESS = frozenset({"starttaskfailed", "unusable"})
BLOCKED = "DependenciesFailed"
"""Why a job is ended in which no task can start any more."""
_ALL_DONE = "AllTasksComplete"
"""Why a job has ended that ended by itself."""
_OVER = frozenset({"completed"})
_ENDING = frozenset({"terminating", "completed", "deleting"})


@dataclass(slots=True)
class Pace:
    """How long to wait between two looks: short while things change, up to 15 s when they don't."""

    shortest: float
    _wait: float = field(default=0.0, init=False)
    _last: Hashable = field(default=None, init=False)

    def next(self, seen: Hashable) -> float:
        """The wait after having seen this."""
        if seen != self._last:
            self._wait = self.shortest
        else:
            self._wait = min(self._wait * 1.5, max(_SLOWEST, self.shortest))
        self._last = seen
        return self._wait


async def wait_for_pool(action: WaitForPool, world: World, emit: Emit) -> Performed:
    """Wait until a node can take tasks.

    Raises:
        ServiceError: no node ever will, as far as the service says.
    """
    pace = Pace(world.pace)
    while True:
        pool, states = await _look_at_pool(action.pool, world, emit)
        if pool.target_dedicated + pool.target_spot == 0 and not states:
            # A pool that scales itself makes nodes when tasks are waiting.
            return Performed(0, note="it has no nodes until tasks wait")
        usable = sum(states.get(state, 0) for state in USABLE)
        if usable:
            return Performed(usable)
        await _raise_if_hopeless(pool, states, world, emit)
        await world.clock.sleep(pace.next((pool.allocation, tuple(sorted(states.items())))))


async def wait_for_tasks(action: WaitForTasks, world: World, emit: Emit) -> Performed:
    """Wait until every task is completed, tell of those that failed, and end the job at its limit.

    Raises:
        ServiceError: the job or its pool is gone, or no node is left that could run a task.
    """
    watch = _TaskWatch(action, world, emit)
    return await watch.run()


@dataclass(slots=True)
class _TaskWatch:
    action: WaitForTasks
    world: World
    emit: Emit
    told: set[str] = field(default_factory=set)
    counted: int = 0
    looked_at: TaskCounts | None = None

    async def run(self) -> Performed:
        pace = Pace(self.world.pace)
        while True:
            job = await self._job()
            counts = await self.world.batch.task_counts(self.action.job)
            left = self._left(job)
            self._tell(counts, left)
            if counts.failed > self.counted:
                await self._tell_failed(counts)
            if job.state in _ENDING:
                return await self._job_ended()
            # Just after a retry the counts may still be those from before it.
            if self._all_done(counts) and not (counts.failed and await self._any_left()):
                # Tasks of a job that was ended count as completed, too: why did they end?
                job = await self._job() if counts.failed else job
                if job.state in _ENDING:
                    return await self._job_ended()
                return self._ended(await self._final(counts))
            if left <= 0:
                await self.world.batch.terminate_job(self.action.job, "TimeLimit")
                return self._out_of_time(counts)
            if await self._nothing_can_start(counts):
                await self.world.batch.terminate_job(self.action.job, BLOCKED)
                return await self._job_ended()
            await self._look_at_nodes(counts)
            seen = (job.state, counts)
            await self.world.clock.sleep(min(pace.next(seen), max(left, 0.05)))

    def _all_done(self, counts: TaskCounts) -> bool:
        """Whether every task is completed and no more come."""
        done = counts.completed >= max(self.action.tasks, 1) and counts.completed == counts.total
        return done and self.action.closed

    async def _any_left(self) -> bool:
        return await any_left(self.world.batch, self.action.job)

    async def _final(self, counts: TaskCounts) -> TaskCounts:
        return await final_counts(self.world.batch, self.action.job, counts, self.action.tasks)

    async def _nothing_can_start(self, counts: TaskCounts) -> bool:
        """Whether all that is left waits for tasks that failed; asked once while nothing moves."""
        if counts.running or not (counts.failed and counts.active and self.action.closed):
            return False
        if counts == self.looked_at:
            return False
        self.looked_at = counts
        return await all_blocked(self.world.batch, self.action.job)

    async def _is_over(self) -> bool:
        """Whether nothing of the job runs any more."""
        job = await self._job()
        return job.state in _ENDING or self._all_done(
            await self.world.batch.task_counts(self.action.job)
        )

    async def _job(self) -> JobFacts:
        job = await self.world.batch.job(self.action.job)
        if job is None:
            raise job_gone(self.action.job)
        return job

    def _left(self, job: JobFacts) -> float:
        """Seconds until the limit, which counts from the making of the job."""
        end = job.created + self.action.limit
        return (end - self.world.batch.now()) / timedelta(seconds=1)

    def _tell(self, counts: TaskCounts, left: float) -> None:
        self.emit(
            TasksSeen(
                self.action.job,
                max(counts.total, self.action.tasks),
                counts.active,
                counts.running,
                counts.succeeded,
                counts.failed,
                max(left, 0.0),
            )
        )

    async def _tell_failed(self, counts: TaskCounts) -> None:
        self.counted = counts.failed
        if len(self.told) >= _DETAILED:
            return
        async for task in self.world.batch.failed_tasks(self.action.job):
            if task.id in self.told:
                continue
            self.told.add(task.id)
            tail = await _if_readable(
                self.world.batch.task_file_tail(self.action.job, task.id, "stderr.txt", _TAIL),
                self.emit,
            )
            self.emit(
                TaskFailed(
                    self.action.job,
                    task.id,
                    task.exit_code,
                    task.code or "",
                    task.message or "",
                    tail,
                    task.node,
                )
            )
            if len(self.told) >= _DETAILED:
                return

    async def _job_ended(self) -> Performed:
        """The job ended, or is ending, by itself or before all its tasks had: why."""
        job = await self._over()
        counts = await self.world.batch.task_counts(self.action.job)
        if job.terminate_reason == _ALL_DONE:
            counts = await self._final(counts)
        self._tell(counts, 0.0)
        if counts.failed > self.counted:
            await self._tell_failed(counts)
        if job.terminate_reason in {"MaxWallClockTimeExpiry", "TimeLimit"}:
            return self._out_of_time(counts)
        # Of a job that was not closed, nobody knew how many tasks it would have.
        if counts.completed >= (self.action.tasks if self.action.closed else counts.total):
            return self._ended(counts)
        early = _blocked if job.terminate_reason == BLOCKED else _ended_early
        self.emit(Noticed(early(self.action.job, job, counts)))
        return Performed(counts.completed, trouble=Outcome.TASKS_FAILED)

    async def _over(self) -> JobFacts:
        """The job, when it has ended for good."""
        pace = Pace(self.world.pace)
        while True:
            job = await self._job()
            if job.state in _OVER:
                return job
            await self.world.clock.sleep(pace.next(job.state))

    def _ended(self, counts: TaskCounts) -> Performed:
        if counts.failed:
            return Performed(
                counts.completed, note=f"{counts.failed} failed", trouble=Outcome.TASKS_FAILED
            )
        return Performed(counts.completed)

    def _out_of_time(self, counts: TaskCounts) -> Performed:
        self.emit(Noticed(_time_limit(self.action, self.action.tasks - counts.succeeded)))
        return Performed(counts.completed, trouble=Outcome.TIME_LIMIT)

    async def _look_at_nodes(self, counts: TaskCounts) -> None:
        if not self.action.pool:
            return
        try:
            pool, states = await _look_at_pool(self.action.pool, self.world, self.emit)
        except ServiceError:
            # Whoever else waits for this job may have seen it end, and cleaned up after it.
            if await self._is_over():
                return
            raise
        if counts.active and not counts.running:
            await _raise_if_hopeless(pool, states, self.world, self.emit)


async def _look_at_pool(pool_id: str, world: World, emit: Emit) -> tuple[PoolFacts, dict[str, int]]:
    pool = await world.batch.pool(pool_id)
    if pool is None:
        raise pool_gone(pool_id)
    states = dict(await world.batch.node_states(pool_id))
    emit(NodesSeen(pool_id, states, pool.target_dedicated + pool.target_spot))
    return pool, states


async def _raise_if_hopeless(
    pool: PoolFacts, states: dict[str, int], world: World, emit: Emit
) -> None:
    """Raise if no node of the pool can run a task and none is on its way."""
    if pool.allocation != "steady" or pool.properties.get("enableAutoScale"):
        return
    hopeless = sum(states.get(state, 0) for state in _HOPELESS)
    if hopeless and hopeless == sum(states.values()):
        # Nodes that have just been restarted may still be counted as failed.
        if unwell := await all_unwell(world.batch, pool, hopeless):
            await _tell_nodes(pool, unwell[:_NODES_DETAILED], world, emit)
            raise ServiceError(_no_nodes(pool, unwell[0].state), code="StartTaskFailed")
        return
    # The pool's own numbers are exact: a node may be there that is in no count yet.
    if pool.resize_errors and not states and not pool.dedicated + pool.spot:
        raise ServiceError(no_allocation(pool), code=pool.resize_errors[0][0])


async def _tell_nodes(
    pool: PoolFacts, nodes: Sequence[NodeFacts], world: World, emit: Emit
) -> None:
    for node in nodes:
        path = "startup/stderr.txt"
        tail = await _if_readable(world.batch.node_file_tail(pool.id, node.id, path, _TAIL), emit)
        emit(NodeFailed(pool.id, node.id, node.state, node.exit_code, node.message, tail))


async def _if_readable(tail: Awaitable[str], emit: Emit) -> str:
    """What was written, or nothing and a warning: it is read from a node that may not be well."""
    try:
        return await tail
    except ServiceError as error:
        for problem in error.problems:
            emit(Noticed(replace(problem, severity=Severity.WARNING)))
        return ""


def _no_nodes(pool: PoolFacts, state: str) -> Problem:
    what = "its start task failed" if state == "starttaskfailed" else "they are unusable"
    return Problem(
        "start-task-failed" if state == "starttaskfailed" else "nodes-unusable",
        f"no node of the pool {pool.id!r} can run a task: {what} on every one",
        detail="The pool is still there, and its nodes are paid for.",
        hint="Mend `pool.start_task` and apply again, or delete everything: `batchspec destroy`.",
    )


def _blocked(job_id: str, _: JobFacts, counts: TaskCounts) -> Problem:
    left = counts.active
    return Problem(
        "tasks-blocked",
        f"the job {job_id!r} was ended: "
        + ("the task that is left waits" if left == 1 else f"the {left} tasks that are left wait")
        + " for tasks that failed",
        hint="Apply again to run what failed once more, and then the rest.",
        severity=Severity.WARNING,
    )


def _ended_early(job_id: str, job: JobFacts, counts: TaskCounts) -> Problem:
    unfinished = counts.active + counts.running
    return Problem(
        "job-ended",
        f"the job {job_id!r} ended before all its tasks had: {job.terminate_reason or 'no reason'}",
        detail=f"{unfinished} task{'' if unfinished == 1 else 's'} did not run to the end.",
        hint="Apply again to run the rest.",
        severity=Severity.WARNING,
    )


def _time_limit(action: WaitForTasks, unfinished: int) -> Problem:
    return Problem(
        "time-limit",
        f"the job {action.job!r} was ended: its time limit has passed",
        detail=f"{unfinished} of {action.tasks} tasks did not succeed.",
        hint="Give `job.max_wall_clock_time` more, and apply again: what is done is kept.",
        severity=Severity.WARNING,
    )
