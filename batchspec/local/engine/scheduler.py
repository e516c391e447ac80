"""The scheduler: decisions from the state of the service.

All functions are pure: no clock, no store, no process. The engine calls the scheduler after every
change, so that a decision covers only the next step. The same state gives the same decisions.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from batchspec.local.engine.decisions import (
    CancelNodeRemoval,
    Decision,
    DeleteExpiredFiles,
    DeletePendingFiles,
    EndPreparingTask,
    KillRun,
    PreemptNode,
    RequestNodeRemoval,
    RunPreparationTask,
    RunReleaseTask,
    RunTask,
    SetJobState,
)
from batchspec.local.engine.lifecycle import (
    QuotaBudget,
    autoscale_pool,
    job_steps,
    node_steps,
    resize_steps,
    schedule_steps,
)
from batchspec.local.engine.state import JobQueue, PoolWork, SchedulerState, run_key
from batchspec.local.model import JobState, Node, Task, TaskState, instance_count, task_directory


def decide(state: SchedulerState, now: datetime) -> list[Decision]:
    """All decisions that are possible now, in the order of their application."""
    return list(_decide(state, now))


def is_settled(state: SchedulerState, decisions: Iterable[Decision]) -> bool:
    """Whether no further decision is possible after ``decisions`` until another change.

    This is true without decisions, or if the decisions only start tasks and the pools of these
    tasks have no free slots left.
    """
    left = {
        work.pool.id: sum(node.slots - node.running_slots for node in work.nodes)
        for work in state.work
    }
    seen = set()
    for decision in decisions:
        if not isinstance(decision, RunTask) or decision.waits:
            return False
        pool_id = decision.node.pool_id
        seen.add(pool_id)
        left[pool_id] -= decision.task.slots * (1 + len(decision.others))
    return not any(left[pool_id] for pool_id in seen)


def _decide(state: SchedulerState, now: datetime) -> Iterator[Decision]:
    job_decisions = tuple(_job_decisions(state, now))
    yield from job_decisions
    released = {
        (one.preparation.pool_id.lower(), one.preparation.node_id.lower())
        for one in job_decisions
        if isinstance(one, RunReleaseTask)
    }
    for task in state.ending:
        if task.state is TaskState.PREPARING:
            yield EndPreparingTask(task)
        else:
            yield KillRun(task.seq, task.run)
    yield from _pool_and_node_decisions(state, now, released)
    for scale_view in state.scales:
        yield from autoscale_pool(scale_view, now)
    for schedule_view in state.schedules:
        yield from schedule_steps(schedule_view, state.delays, now)
    yield from _file_deletions(state)
    blocked = _directories_in_use(state)
    for work in state.work:
        yield from schedule_tasks(work, blocked)
    yield from (PreemptNode(node) for node in state.preempted)


def _job_decisions(state: SchedulerState, now: datetime) -> Iterator[Decision]:
    ended = set()
    for end in _completed_jobs(state):
        ended.add(end.job.seq)
        yield end
    for view in state.jobs:
        # A step from the job's old state must not undo its end.
        if view.job.seq not in ended:
            yield from job_steps(view, state.delays, now)


def _pool_and_node_decisions(
    state: SchedulerState, now: datetime, released: Container[tuple[str, str]]
) -> Iterator[Decision]:
    """Decisions about pools and nodes, except ``released`` nodes (pool and id in lower case).

    A release task starts on these nodes in this round; a node that leaves its pool would not run
    the task.
    """
    decided = set()
    budget = QuotaBudget(state.remaining_quota)
    for pool_view in state.pools:
        for decision in resize_steps(pool_view, budget, state.delays, now):
            if isinstance(decision, RequestNodeRemoval | CancelNodeRemoval):
                decided.add(decision.node.seq)
            yield decision
    for node_view in state.nodes:
        node = node_view.node
        # The next round handles nodes that get another intent in this round.
        if node.seq not in decided and (node.pool_id.lower(), node.id.lower()) not in released:
            yield from node_steps(node_view, state.delays, now)


def _completed_jobs(state: SchedulerState) -> Iterator[SetJobState]:
    """The jobs that must terminate now, each with the first reason that applies."""
    ended = set()
    for jobs, reason in (
        (state.overdue, "MaxWallClockTimeExpiry"),
        (state.managed, "JMComplete"),
        (state.done, "AllTasksComplete"),
    ):
        for job in jobs:
            if job.id not in ended:
                ended.add(job.id)
                yield SetJobState(job, JobState.TERMINATING, reason)


def _file_deletions(state: SchedulerState) -> Iterator[Decision]:
    for deletion in state.pending_deletions:
        if run_key(deletion.task_seq, deletion.run) in state.running:
            yield KillRun(deletion.task_seq, deletion.run)
        else:
            yield DeletePendingFiles(deletion)
    for task in state.expired:
        yield DeleteExpiredFiles(task)


def _directories_in_use(state: SchedulerState) -> set[DirectoryKey]:
    """The directories to which a run of a deleted task can still write."""
    return {
        (deletion.pool_id.lower(), deletion.node_id.lower(), deletion.directory.lower())
        for deletion in state.pending_deletions
        if run_key(deletion.task_seq, deletion.run) in state.running
    }


# Placement of tasks on nodes: the free capacity of a pool in, decisions out. Jobs come in order of
# priority, tasks in order of creation. A task that fits on no node does not block smaller tasks
# behind it. A task with an affinity gets its node if that node has free slots. A job's preparation
# task runs before its first task on a node; no task of the job runs on a node where the preparation
# task failed. A multi-instance task without enough free nodes reserves the free ones; otherwise
# enough nodes might never be free at the same time.


DirectoryKey = tuple[str, str, str]
"""Pool, node and directory; the ids are in lower case."""


@dataclass(frozen=True, slots=True)
class _FreeSlots:
    """Nodes by their number of free slots."""

    free: dict[int, deque[Node]]
    pack: bool

    def take(self, slots: int, excluded: Container[str], preferred: str | None) -> Node | None:
        """Take a node with ``slots`` free slots: the fullest when packing, else the emptiest.

        Nodes in ``excluded`` (ids in lower case) are never taken; the node ``preferred`` takes
        precedence.
        """
        counts = sorted(count for count, nodes in self.free.items() if count >= slots and nodes)
        ordered = counts if self.pack else counts[::-1]
        fitting = ((count, node) for count in ordered for node in self.free[count])
        open_ = ((count, node) for count, node in fitting if node.id.lower() not in excluded)
        first = next(open_, None)
        if first is None:
            return None
        if preferred is not None and first[1].id.lower() != preferred:
            first = next((one for one in open_ if one[1].id.lower() == preferred), first)
        count, node = first
        self.free[count].remove(node)
        self.free.setdefault(count - slots, deque()).append(node)
        return node


@dataclass(slots=True)
class _JobScheduler:
    """Schedules the tasks of one job.

    ``preparation_states`` is the state of the job's preparation task on each node. ``reserved``
    means that a multi-instance task has reserved free slots.
    """

    work: PoolWork
    queue: JobQueue
    slots: _FreeSlots
    in_use: Container[DirectoryKey]
    preparation_states: dict[str, str] = field(init=False)
    waits: bool = field(init=False)
    excluded: frozenset[str] = field(init=False)
    reserved: bool = False

    def __post_init__(self) -> None:
        preparation = self.queue.job.body.get("jobPreparationTask")
        self.preparation_states = dict(self.queue.prepared)
        self.waits = preparation is not None and preparation["waitForSuccess"]
        failed = (node for node, state in self.preparation_states.items() if state == "failed")
        self.excluded = frozenset(failed if self.waits else ())

    def schedule(self, task: Task) -> Iterator[RunTask | RunPreparationTask]:
        """Schedule a task on one node, if a node has enough free slots."""
        node = self.slots.take(task.slots, self._excluded_nodes(task), _preferred_node(task))
        if node is None or self._is_in_use(task, node):
            return
        yield from self._prepare(node)
        unready = self.waits and self.preparation_states[node.id.lower()] == "running"
        yield RunTask(task, node, self.queue.job, waits=unready)

    def schedule_all(self, task: Task, count: int) -> Iterator[RunTask | RunPreparationTask]:
        """Schedule a multi-instance task on ``count`` nodes, once all of them are prepared."""
        if count > self.work.schedulable_nodes - len(self.excluded):
            return
        self.reserved = True
        nodes: list[Node] = []
        excluded = set(self.excluded)
        while len(nodes) < count:
            node = self.slots.take(task.slots, excluded, None if nodes else _preferred_node(task))
            if node is None or self._is_in_use(task, node):
                return
            nodes.append(node)
            excluded.add(node.id.lower())
        for node in nodes:
            yield from self._prepare(node)
        if self.waits and any(
            self.preparation_states[node.id.lower()] != "ready" for node in nodes
        ):
            return
        self.reserved = False
        yield RunTask(task, nodes[0], self.queue.job, others=tuple(nodes[1:]))

    def _excluded_nodes(self, task: Task) -> frozenset[str]:
        """The nodes on which a task cannot run: a job manager task can require a dedicated node."""
        manager = self.queue.job.body.get("jobManagerTask")
        if manager is None or manager["allowLowPriorityNode"]:
            return self.excluded
        if manager["id"].lower() != task.id.lower():
            return self.excluded
        return self.excluded | {node.id.lower() for node in self.work.nodes if not node.dedicated}

    def _prepare(self, node: Node) -> Iterator[RunPreparationTask]:
        key = node.id.lower()
        wants = "jobPreparationTask" in self.queue.job.body
        if wants and self.preparation_states.setdefault(key, "new") == "new":
            self.preparation_states[key] = "running"
            yield RunPreparationTask(self.queue.job, node)

    def _is_in_use(self, task: Task, node: Node) -> bool:
        directory = task_directory(task.job_id, task.id)
        return (node.pool_id.lower(), node.id.lower(), directory.lower()) in self.in_use


def schedule_tasks(
    work: PoolWork, in_use: Container[DirectoryKey]
) -> Iterator[RunTask | RunPreparationTask]:
    """Fill the free slots of a pool.

    ``in_use`` are directories to which a run of a deleted task can still write.
    """
    free: dict[int, deque[Node]] = {}
    for node in work.nodes:
        free.setdefault(node.slots - node.running_slots, deque()).append(node)
    fill = work.pool.body.get("taskSchedulingPolicy", {}).get("nodeFillType", "spread")
    slots = _FreeSlots(free, pack=fill.lower() == "pack")
    for queue in work.queues:
        job_scheduler = _JobScheduler(work, queue, slots, in_use)
        capacity = queue.capacity
        for task in queue.tasks:
            if capacity == 0:
                break
            count = instance_count(task)
            for decision in (
                job_scheduler.schedule_all(task, count) if count else job_scheduler.schedule(task)
            ):
                yield decision
                if isinstance(decision, RunTask) and capacity is not None:
                    capacity -= 1
            if job_scheduler.reserved:
                return


def _preferred_node(task: Task) -> str | None:
    """The node of a task's affinity: an ``affinityId`` is ``TVM:`` and a node id."""
    preferred = task.body.get("affinityInfo")
    return None if preferred is None else str(preferred["affinityId"]).rpartition(":")[2].lower()
