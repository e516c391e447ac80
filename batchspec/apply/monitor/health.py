"""The state of a run at one poll, as frozen values; nothing is read or decided here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from batchspec.account import NodeFacts, PreparationFacts, TaskCounts
from batchspec.plan import Plan
from batchspec.plan.actions import RestartNodes, WaitForPool, WaitForTasks
from batchspec.plan.capacity import Capacity
from batchspec.plan.observed import JobFacts, PoolFacts

USABLE = frozenset({"idle", "running"})
"""The states of a node that accepts tasks."""

ENDING = frozenset({"terminating", "completed", "deleting"})
"""The states of a job that starts no more tasks."""

NODES_LIMIT = timedelta(hours=2)
"""How long a plan without a job to wait for waits for nodes."""


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class SlowTask:
    """A task that runs far longer than the ``longest`` of those that have succeeded took."""

    id: str
    started: datetime
    longest: timedelta


NO_TASKS = TaskCounts(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a run at the service's time ``at``.

    ``pool_id`` is the pool's id as far as it is known; ``pool`` is ``None`` if it does not exist;
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
