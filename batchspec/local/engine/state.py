"""What the scheduler looks at: the part of the service in which something may have to be done.

What lives here: frozen views, made by ``observe``. What may not: reading a store, deciding.
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
    """How long the things take that take no time on this machine.

    ``allocation`` passes before a node exists, ``boot`` before it has started, ``absence`` before
    one that was taken away is given again.
    """

    allocation: timedelta = timedelta()
    boot: timedelta = timedelta()
    absence: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class RemainingQuota:
    """How many more nodes of each kind the account's quota leaves; ``None`` is any number."""

    dedicated: int | None = None
    spot: int | None = None


@dataclass(frozen=True, slots=True)
class PoolView:
    """A pool that is resizing, stopping or deleting, with all its nodes."""

    pool: Pool
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node on its way, or of which something is asked.

    ``live`` are the tasks on it; ``others`` the keys of what runs there beside tasks: start,
    preparation and release tasks; ``retained`` says whether files of tasks are still kept on it.
    """

    node: Node
    pool: Pool
    live: tuple[Task, ...] = ()
    others: tuple[str, ...] = ()
    retained: bool = False


@dataclass(frozen=True, slots=True)
class JobView:
    """A job on its way to another state.

    ``live`` are its tasks that are on nodes, ``preparations`` the nodes it has been on, if it has
    a preparation task.
    """

    job: Job
    live: tuple[Task, ...] = ()
    preparations: tuple[Preparation, ...] = ()


@dataclass(frozen=True, slots=True)
class JobQueue:
    """A job's next tasks. ``room`` is how many more may run at once; ``None`` is no limit.

    ``prepared`` is how far the job's preparation task is on each node (id in lower case) where it
    has begun: ``running``, ``ready``, ``failed``.
    """

    job: Job
    tasks: tuple[Task, ...]
    room: int | None = None
    prepared: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PoolWork:
    """A pool with free slots: its nodes that have some, and its jobs in their order.

    ``capable`` is how many nodes would have some if nothing ran.
    """

    pool: Pool
    nodes: tuple[Node, ...]
    queues: tuple[JobQueue, ...]
    capable: int = 0


@dataclass(frozen=True, slots=True)
class AutoscaleView:
    """A pool for which a sample or its formula is due.

    ``metrics`` are as they are now, ``samples`` those of before, read only when the formula is due.
    """

    pool: Pool
    times: AutoscaleTimes
    metrics: Mapping[str, float]
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """A schedule, and its jobs that are not completed; all of them when it is being deleted."""

    schedule: Schedule
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True, slots=True)
class SchedulerState:
    """All that the scheduler is asked about at one time.

    ``ending`` are tasks on nodes that are to end and whose processes have not been told;
    ``running`` are the keys of the runs that have a process now (see :func:`run_key`).
    ``taken`` are Spot nodes whose time has come, ``fated`` the moments at which it will for others.
    """

    delays: Delays = field(default_factory=Delays)
    pools: tuple[PoolView, ...] = ()
    nodes: tuple[NodeView, ...] = ()
    jobs: tuple[JobView, ...] = ()
    overdue: tuple[Job, ...] = ()
    managed: tuple[Job, ...] = ()
    done: tuple[Job, ...] = ()
    ending: tuple[Task, ...] = ()
    doomed: tuple[PendingDeletion, ...] = ()
    expired: tuple[Task, ...] = ()
    offers: tuple[PoolWork, ...] = ()
    scales: tuple[AutoscaleView, ...] = ()
    schedules: tuple[ScheduleView, ...] = ()
    running: frozenset[str] = frozenset()
    room: RemainingQuota = field(default_factory=RemainingQuota)
    taken: tuple[Node, ...] = ()
    fated: tuple[datetime, ...] = ()


def run_key(task_seq: int, run: int) -> str:
    """The name of one run of one task."""
    return f"{task_seq}.{run}"


def start_key(node: Node) -> str:
    """The name of the start task's run on a node."""
    return f"start.{node.seq}"


def packages_key(node: Node) -> str:
    """The name of the installation of the pool's packages on a node."""
    return f"packages.{node.seq}"


def preparation_key(preparation: Preparation) -> str:
    """The name of a preparation task's run."""
    return f"preparation.{preparation.seq}"


def release_key(preparation: Preparation) -> str:
    """The name of a release task's run."""
    return f"release.{preparation.seq}"


def is_due(since: datetime, delay: timedelta, now: datetime) -> bool:
    """Whether ``delay`` has passed."""
    return now - since >= delay
