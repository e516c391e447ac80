"""What the scheduler can decide: a closed union of frozen values.

What lives here: the values. What may not: carrying them out (``commit``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from batchspec.local.model import (
    Job,
    JobState,
    Node,
    NodeState,
    PendingDeletion,
    Pool,
    Preparation,
    Schedule,
    ScheduleState,
    Task,
    Wire,
)

EndMode = Literal["terminate", "requeue"]


@dataclass(frozen=True, slots=True)
class AddNodes:
    """Allocate nodes."""

    pool: Pool
    dedicated: bool
    count: int


@dataclass(frozen=True, slots=True)
class RequestNodeRemoval:
    """Ask a node to leave; ``option`` is the ``nodeDeallocationOption``."""

    node: Node
    option: str


@dataclass(frozen=True, slots=True)
class CancelNodeRemoval:
    """Take back that a node was asked to leave."""

    node: Node


@dataclass(frozen=True, slots=True)
class CompleteResize:
    """The resize is over; ``errors`` say where it fell short."""

    pool: Pool
    errors: tuple[Wire, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordSample:
    """Keep what is measured of a pool that scales; the next sample is due at ``following``."""

    pool: Pool
    metrics: Mapping[str, float]
    following: datetime


@dataclass(frozen=True, slots=True)
class RecordAutoscaleRun:
    """The formula was evaluated, with this ``AutoScaleRun``; it is due again at ``following``."""

    pool: Pool
    run: Wire
    following: datetime


@dataclass(frozen=True, slots=True)
class ResizePool:
    """Resize a pool to what its formula says."""

    pool: Pool
    dedicated: int
    spot: int
    option: str


@dataclass(frozen=True, slots=True)
class RemovePool:
    """The pool has no node left, and goes."""

    pool: Pool


@dataclass(frozen=True, slots=True)
class SetNodeState:
    """Bring a node to a state; ``done`` says that what was asked of it is done."""

    node: Node
    state: NodeState
    done: bool = False


@dataclass(frozen=True, slots=True)
class PreemptNode:
    """A Spot node is taken away: what runs there runs again elsewhere."""

    node: Node


@dataclass(frozen=True, slots=True)
class ReallocateNode:
    """A node that was taken away is given again, with nothing on it."""

    node: Node


@dataclass(frozen=True, slots=True)
class BootNode:
    """A node comes up: its directories are made; ``fresh`` wipes them first (reimage)."""

    node: Node
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class InstallPackages:
    """Put the application packages of the node's pool on it."""

    node: Node
    pool: Pool


@dataclass(frozen=True, slots=True)
class RunStartTask:
    """Run the start task of the node's pool on it."""

    node: Node
    pool: Pool


@dataclass(frozen=True, slots=True)
class KillProcess:
    """Kill a start, preparation or release task, by the key of its run."""

    key: str


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """The node is empty, and goes with all its files."""

    node: Node


@dataclass(frozen=True, slots=True)
class RequestTaskEnd:
    """A task on a node is to end."""

    task: Task
    how: EndMode


@dataclass(frozen=True, slots=True)
class KillRun:
    """Kill the processes of a run."""

    task_seq: int
    run: int


@dataclass(frozen=True, slots=True)
class EndPreparingTask:
    """End a task that only waits on its node for the job's preparation task."""

    task: Task


@dataclass(frozen=True, slots=True)
class SetJobState:
    """Bring a job to a state; ``reason`` is its ``terminateReason``."""

    job: Job
    state: JobState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CreateScheduledJob:
    """Make the job of a schedule that was due at ``due``; the next is due at ``following``."""

    schedule: Schedule
    due: datetime
    following: datetime | None


@dataclass(frozen=True, slots=True)
class SkipScheduledJob:
    """Make no job for ``due``: it is too late for it."""

    schedule: Schedule
    due: datetime
    following: datetime | None


@dataclass(frozen=True, slots=True)
class SetScheduleState:
    """Bring a schedule to a state."""

    schedule: Schedule
    state: ScheduleState


@dataclass(frozen=True, slots=True)
class RemoveSchedule:
    """The schedule has no job left, and goes."""

    schedule: Schedule


@dataclass(frozen=True, slots=True)
class DeletePool:
    """An auto pool whose life is over goes, if it is still there."""

    pool_id: str


@dataclass(frozen=True, slots=True)
class RemoveJob:
    """Remove tasks of a deleted job, and in the end the job."""

    job: Job


@dataclass(frozen=True, slots=True)
class DeletePendingFiles:
    """Remove the files of a task that is no more."""

    deletion: PendingDeletion


@dataclass(frozen=True, slots=True)
class DeleteExpiredFiles:
    """Remove the files of a task whose retention time has passed."""

    task: Task


@dataclass(frozen=True, slots=True)
class RunTask:
    """Run a task on a node; ``waits`` until the job's preparation task is done there.

    ``others`` are the nodes of the subtasks.
    """

    task: Task
    node: Node
    job: Job
    waits: bool = False
    others: tuple[Node, ...] = ()


@dataclass(frozen=True, slots=True)
class RunPreparationTask:
    """Run the job's preparation task on a node."""

    job: Job
    node: Node


@dataclass(frozen=True, slots=True)
class RunReleaseTask:
    """Run the job's release task where its preparation task ran."""

    job: Job
    preparation: Preparation


Decision = (
    AddNodes
    | RequestNodeRemoval
    | CancelNodeRemoval
    | CompleteResize
    | RecordSample
    | RecordAutoscaleRun
    | ResizePool
    | RemovePool
    | SetNodeState
    | PreemptNode
    | ReallocateNode
    | BootNode
    | InstallPackages
    | RunStartTask
    | KillProcess
    | RemoveNode
    | RequestTaskEnd
    | KillRun
    | EndPreparingTask
    | SetJobState
    | CreateScheduledJob
    | SkipScheduledJob
    | SetScheduleState
    | RemoveSchedule
    | DeletePool
    | RemoveJob
    | DeletePendingFiles
    | DeleteExpiredFiles
    | RunTask
    | RunPreparationTask
    | RunReleaseTask
)
