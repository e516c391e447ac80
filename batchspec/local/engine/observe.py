"""Reads the part of the store that the scheduler needs now.

Queries use indexes and read only records that can lead to a decision: no finished or blocked tasks,
and no idle nodes without waiting tasks. This module makes no decisions and writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime

from batchspec.catalog.vm_sizes import family, family_key
from batchspec.local.engine.machine_usage import MachineUsage
from batchspec.local.engine.runs import PREEMPTIBLE_STATES, Executor, NodeFaults
from batchspec.local.engine.state import (
    AutoscaleView,
    Delays,
    JobQueue,
    JobView,
    NodeView,
    PoolView,
    PoolWork,
    RemainingQuota,
    SchedulerState,
    ScheduleView,
    packages_key,
    preparation_key,
    release_key,
    run_key,
    start_key,
)
from batchspec.local.fault_injection import QuotaKind
from batchspec.local.model import (
    Job,
    JobState,
    Node,
    Pool,
    PoolState,
    Preparation,
    ScheduleState,
    Task,
    allows_multi_instance,
    cores_of,
    instance_count,
)
from batchspec.local.store import Store
from batchspec.local.wire import add_duration, read_duration

_MAX_PENDING_DELETIONS = 500
_TRANSIENT_JOBS = (
    JobState.TERMINATING,
    JobState.DELETING,
    JobState.DISABLING,
    JobState.ENABLING,
)


def observe(
    store: Store,
    executor: Executor,
    delays: Delays,
    now: datetime,
    node_faults: NodeFaults | None = None,
    *,
    usage: MachineUsage | None = None,
) -> SchedulerState:
    """The input of the scheduler at ``now``; ``node_faults`` are injected faults.

    Samples contain the metrics of ``usage``; without it, only the metrics of tasks and nodes.
    """
    remaining_quota, preemptions = (
        (RemainingQuota(), {})
        if node_faults is None
        else (_remaining_quota(store, node_faults), _preemptions(store, node_faults))
    )
    pending_deletions = store.runs.pending_deletions(_MAX_PENDING_DELETIONS)
    return SchedulerState(
        delays=delays,
        pools=tuple(
            PoolView(pool, tuple(store.nodes.of(pool.id)), store.unread_resizes.has(pool, now))
            for pool in store.pools.in_transition()
        ),
        nodes=tuple(_node_views(store, executor)),
        jobs=tuple(
            JobView(job, tuple(store.runs.live(job.id)), _preparations(store, job))
            for job in store.jobs.in_state(*_TRANSIENT_JOBS)
        ),
        overdue=tuple(store.jobs.overdue(now)),
        managed=tuple(store.jobs.with_manager_complete()),
        done=tuple(store.jobs.with_all_tasks_complete()),
        ending=tuple(
            task
            for task in store.runs.ending()
            if not executor.is_cancelled(run_key(task.seq, task.run))
        ),
        pending_deletions=tuple(pending_deletions),
        expired=tuple(store.runs.expired(now)),
        # Start no runs until all pending deletions are known.
        work=() if len(pending_deletions) == _MAX_PENDING_DELETIONS else tuple(_pool_work(store)),
        scales=tuple(_autoscale_views(store, now, usage)),
        schedules=tuple(_schedule_views(store, now)),
        running=executor.running,
        remaining_quota=remaining_quota,
        preempted=tuple(node for node, end in preemptions.values() if end <= now),
        preemption_times=tuple(end for _, end in preemptions.values() if end > now),
    )


def _remaining_quota(store: Store, node_faults: NodeFaults) -> RemainingQuota:
    """The remaining cores in the quotas."""
    faults = node_faults.faults
    used, used_spot = _used_cores(store, dedicated=True), _used_cores(store, dedicated=False)
    of_family: Counter[str] = Counter()
    for size, cores in used.items():
        of_family[family_key(family(size))] += cores
    return RemainingQuota(
        _rest(faults.quota(QuotaKind.QUOTA), sum(used.values())),
        _rest(faults.quota(QuotaKind.SPOT_QUOTA), sum(used_spot.values())),
        {name: max(0, limit - of_family[name]) for name, limit in faults.family_quotas().items()},
    )


def _used_cores(store: Store, *, dedicated: bool) -> dict[str, int]:
    counts = store.nodes.counts_by_size(dedicated=dedicated)
    return {size: count * cores_of(size) for size, count in counts.items()}


def _rest(limit: int | None, used: int) -> int | None:
    return None if limit is None else max(0, limit - used)


def _preemptions(store: Store, node_faults: NodeFaults) -> dict[int, tuple[Node, datetime]]:
    """The nodes to preempt and the times of their preemption, by ``seq``."""
    preemptions = {}
    for node in store.nodes.in_state(*PREEMPTIBLE_STATES):
        end = node_faults.preemption_time(node)
        if end is not None and node.intent is None:
            preemptions[node.seq] = node, end
    return preemptions


def _schedule_views(store: Store, now: datetime) -> Iterator[ScheduleView]:
    for schedule in store.schedules.due(now):
        deleting = schedule.state is ScheduleState.DELETING
        jobs = store.jobs.of_schedule(schedule.id, completed=deleting)
        yield ScheduleView(schedule, tuple(jobs))


def _autoscale_views(
    store: Store, now: datetime, usage: MachineUsage | None
) -> Iterator[AutoscaleView]:
    for pool_id in store.autoscale.due(now):
        pool, scale = store.pools.get(pool_id), store.autoscale.of(pool_id)
        if pool is None or scale is None or pool.state is PoolState.DELETING:
            continue
        samples = tuple(store.autoscale.samples(pool_id)) if scale.due <= now else ()
        slots = float(pool.body["taskSlotsPerNode"])
        metrics = {**store.autoscale.current_metrics(pool_id), "TaskSlotsPerNode": slots}
        if usage is not None and scale.sample_due <= now:
            metrics |= usage.sample(pool_id)
        yield AutoscaleView(pool, scale, metrics, samples)


def _node_views(store: Store, executor: Executor) -> Iterator[NodeView]:
    pools: dict[str, Pool | None] = {}
    transient = store.nodes.in_transition()
    for node in (*store.nodes.with_intent(), *(node for node in transient if node.intent is None)):
        if node.pool_id not in pools:
            pools[node.pool_id] = store.pools.get(node.pool_id)
        pool = pools[node.pool_id]
        if pool is not None:
            yield node_view(store, executor, node, pool)


def node_view(store: Store, executor: Executor, node: Node, pool: Pool) -> NodeView:
    """The scheduler's view of a node."""
    keys = [start_key(node), packages_key(node)]
    if node.intent is None:
        return NodeView(node, pool, others=tuple(filter(executor.is_running, keys)))
    for one in store.preparations.on_node(node):
        keys += [preparation_key(one), release_key(one)]
    retained = node.intent_option == "retaineddata" and store.runs.retained(node)
    others = tuple(filter(executor.is_running, keys))
    return NodeView(node, pool, tuple(store.runs.live_on(node)), others, retained)


def _pool_work(store: Store) -> Iterator[PoolWork]:
    for pool_id in store.jobs.pools_with_work():
        total, largest = store.nodes.free_slots(pool_id)
        pool = store.pools.get(pool_id) if total else None
        if pool is None:
            continue
        # Read the nodes last: a pool can have many nodes and no task to run.
        queues = tuple(_queues(store, pool, total, largest))
        if queues:
            free = tuple(store.nodes.with_free_slots(pool_id))
            several = any(instance_count(task) for queue in queues for task in queue.tasks)
            schedulable = store.nodes.schedulable_nodes(pool_id) if several else 0
            yield PoolWork(pool, free, queues, schedulable)


def _queues(store: Store, pool: Pool, total: int, largest: int) -> Iterator[JobQueue]:
    for job in store.jobs.with_work(pool.id):
        capacity = None
        if job.max_parallel > 0:
            capacity = max(0, job.max_parallel - store.jobs.counts(job.id).tasks.running)
        most = total if capacity is None else min(total, capacity)
        tasks = _runnable(store, pool, job, most, largest)
        if tasks:
            prepared = {one.node_id.lower(): str(one.state) for one in _preparations(store, job)}
            yield JobQueue(job, tuple(tasks), capacity, prepared)
        total -= sum(task.slots for task in tasks)
        if total <= 0:
            return


def _runnable(store: Store, pool: Pool, job: Job, most: int, largest: int) -> list[Task]:
    """The next tasks of a job that fit on the nodes of the pool."""
    skipped: list[int] = []
    while True:
        tasks = store.runs.runnable(job.id, most, largest, skipped)
        unplaceable = [
            *_too_large(store, pool, tasks),
            *_manager_without_node(store, pool, job, tasks),
        ]
        if not unplaceable:
            return tasks
        skipped += unplaceable


def _too_large(store: Store, pool: Pool, tasks: list[Task]) -> list[int]:
    """Multi-instance tasks that need more nodes than the pool has."""
    if not any(map(instance_count, tasks)):
        return []
    nodes = store.nodes.schedulable_nodes(pool.id) if allows_multi_instance(pool) else 0
    return [task.seq for task in tasks if instance_count(task) > nodes]


def _manager_without_node(store: Store, pool: Pool, job: Job, tasks: list[Task]) -> list[int]:
    """A job manager task that needs a dedicated node while none has enough free slots."""
    manager = job.body.get("jobManagerTask")
    if manager is None or manager["allowLowPriorityNode"]:
        return []
    free = [
        node.slots - node.running_slots
        for node in store.nodes.with_free_slots(pool.id)
        if node.dedicated
    ]
    most = max(free, default=0)
    return [
        task.seq for task in tasks if task.id.lower() == manager["id"].lower() and task.slots > most
    ]


def _preparations(store: Store, job: Job) -> tuple[Preparation, ...]:
    if "jobPreparationTask" not in job.body:
        return ()
    return tuple(store.preparations.on_present_nodes(job.id))


def next_moment(store: Store, state: SchedulerState, now: datetime) -> datetime | None:
    """The next time at which a decision is due without a change of the store, or ``None``."""
    moments = [
        store.jobs.next_deadline(),
        store.runs.next_expiry(),
        store.autoscale.next_moment(),
        store.schedules.next_moment(now),
        store.unread_resizes.next_end(now),
    ]
    moments += state.preemption_times
    delays = {getattr(state.delays, each.name) for each in fields(state.delays)}
    moments += [
        add_duration(view.node.state_since, delay) for view in state.nodes for delay in delays
    ]
    since = [
        *(view.pool.state_since for view in state.pools),
        *(view.job.state_since for view in state.jobs),
        *(view.schedule.state_since for view in state.schedules),
    ]
    moments += [add_duration(moment, state.delays.transition) for moment in since]
    moments += [
        add_duration(view.pool.allocation_since, read_duration(view.pool.resize_timeout))
        for view in state.pools
    ]
    return min((moment for moment in moments if moment is not None and moment > now), default=None)
