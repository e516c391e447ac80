"""The input of the scheduler: the part of the service's state that can need a decision.

``observe`` creates these frozen views. This module reads no store and makes no decisions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batchspec.autoscale import Sample
from batchspec.local.model import (
    AutoscaleTimes,
    Job,
    Node,
    PendingDeletion,
    Pool,
    Preparation,
    Schedule,
    Task,
)


@dataclass(frozen=True, slots=True)
class Delays:
    """Simulated durations of transitions that take no time on this machine.

    ``allocation`` passes before a node exists, ``boot`` before it has started, and ``absence``
    before a preempted node is allocated again. ``release`` passes before a node has left its pool,
    and at least ``leaving`` unless the pool is being deleted. ``transition`` passes before a pool
    or a job schedule is deleted, and before a job is deleted, completed or disabled.
    """

    allocation: timedelta = timedelta()
    boot: timedelta = timedelta()
    absence: timedelta = timedelta()
    leaving: timedelta = timedelta()
    release: timedelta = timedelta()
    transition: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class RemainingQuota:
    """The remaining cores in the quotas of the account; ``None`` means no limit.

    ``families`` contains the remaining dedicated cores of the VM families with a quota.
    """

    dedicated: int | None = None
    spot: int | None = None
    families: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool that is resizing, stopping or deleting, with all its nodes.

    ``unread`` means that the pool must stay ``resizing``, because no client has read it yet.
    """

    pool: Pool
    nodes: tuple[Node, ...]
    unread: bool = False


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node in transition, or a node with an intent.

    ``live`` are the tasks on the node. ``others`` are the run keys of start, preparation and
    release tasks and installations on the node. ``retained`` means that the node has files of
    completed tasks.
    """

    node: Node
    pool: Pool
    live: tuple[Task, ...] = ()
    others: tuple[str, ...] = ()
    retained: bool = False


@dataclass(frozen=True, slots=True)
class JobView:
    """A job in transition.

    ``live`` are its tasks on nodes. ``preparations`` are its preparation tasks on the nodes of its
    pool.
    """

    job: Job
    live: tuple[Task, ...] = ()
    preparations: tuple[Preparation, ...] = ()


@dataclass(frozen=True, slots=True)
class JobQueue:
    """The next tasks of a job.

    ``capacity`` is the number of further tasks that may run at the same time; ``None`` means no
    limit. ``prepared`` is the state of the job's preparation task by node (id in lower case):
    ``running``, ``ready`` or ``failed``.
    """

    job: Job
    tasks: tuple[Task, ...]
    capacity: int | None = None
    prepared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolWork:
    """A pool with free slots: its nodes with free slots, and its jobs in scheduling order.

    ``schedulable_nodes`` is the number of nodes that take tasks, with or without free slots; it is
    read only for multi-instance tasks.
    """

    pool: Pool
    nodes: tuple[Node, ...]
    queues: tuple[JobQueue, ...]
    schedulable_nodes: int = 0


@dataclass(frozen=True, slots=True)
class AutoscaleView:
    """A pool for which a sample or the evaluation of its formula is due.

    ``metrics`` are the current metrics. ``samples`` are the earlier samples, which are read only
    when the formula is due.
    """

    pool: Pool
    times: AutoscaleTimes
    metrics: Mapping[str, float]
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A job schedule and its jobs that are not completed; all its jobs during its deletion."""

    schedule: Schedule
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """The input of one call of the scheduler.

    ``overdue`` are jobs that have exceeded their ``maxWallClockTime``, ``managed`` are jobs that
    end with their job manager task, and ``done`` are jobs that end since all tasks are completed.
    ``ending`` are tasks on nodes with a requested end whose processes have not been killed yet.
    ``running`` are the keys of the runs in progress (see :func:`run_key`). ``preempted`` are Spot
    nodes to preempt now; ``preemption_times`` are the times of later preemptions.
    """

    delays: Delays = field(default_factory=Delays)
    pools: tuple[PoolView, ...] = ()
    nodes: tuple[NodeView, ...] = ()
    jobs: tuple[JobView, ...] = ()
    overdue: tuple[Job, ...] = ()
    managed: tuple[Job, ...] = ()
    done: tuple[Job, ...] = ()
    ending: tuple[Task, ...] = ()
    pending_deletions: tuple[PendingDeletion, ...] = ()
    expired: tuple[Task, ...] = ()
    work: tuple[PoolWork, ...] = ()
    scales: tuple[AutoscaleView, ...] = ()
    schedules: tuple[ScheduleView, ...] = ()
    running: frozenset[str] = frozenset()
    remaining_quota: RemainingQuota = field(default_factory=RemainingQuota)
    preempted: tuple[Node, ...] = ()
    preemption_times: tuple[datetime, ...] = ()


def run_key(task_seq: int, run: int) -> str:
    """The key of one run of one task."""
    return f"{task_seq}.{run}"


def start_key(node: Node) -> str:
    """The key of the start task's run on a node."""
    return f"start.{node.seq}"


def packages_key(node: Node) -> str:
    """The key of the installation of the pool's packages on a node."""
    return f"packages.{node.seq}"


def preparation_key(preparation: Preparation) -> str:
    """The key of a preparation task's run."""
    return f"preparation.{preparation.seq}"


def release_key(preparation: Preparation) -> str:
    """The key of a release task's run."""
    return f"release.{preparation.seq}"


def is_due(since: datetime, delay: timedelta, now: datetime) -> bool:
    """Whether ``delay`` has passed."""
    return now - since >= delay
