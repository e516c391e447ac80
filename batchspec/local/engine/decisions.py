"""The decisions of the scheduler: a closed union of frozen values.

``apply_decisions`` carries them out.
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
"""How the engine ends a task on a node: permanently (``TaskEnded``), or to run it again."""


@dataclass(frozen=True, slots=True)
class AddNodes:
    """Allocate nodes."""

    pool: Pool
    dedicated: bool
    count: int


@dataclass(frozen=True, slots=True)
class RequestNodeRemoval:
    """Request that a node leaves its pool; ``option`` is the ``nodeDeallocationOption``."""

    node: Node
    option: str


@dataclass(frozen=True, slots=True)
class CancelNodeRemoval:
    """Withdraw the request that a node leaves its pool."""

    node: Node


@dataclass(frozen=True, slots=True)
class CompleteResize:
    """Complete a resize; ``errors`` are the ``resizeErrors``."""

    pool: Pool
    errors: tuple[Wire, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordSample:
    """Record the metrics of a pool with autoscale; the next sample is due at ``following``."""

    pool: Pool
    metrics: Mapping[str, float]
    following: datetime


@dataclass(frozen=True, slots=True)
class RecordAutoscaleRun:
    """Record the ``AutoScaleRun`` of an evaluation; the next one is due at ``following``."""

    pool: Pool
    run: Wire
    following: datetime


@dataclass(frozen=True, slots=True)
class ResizePool:
    """Resize a pool to the targets of its formula."""

    pool: Pool
    dedicated: int
    spot: int
    option: str


@dataclass(frozen=True, slots=True)
class RemovePool:
    """Remove a pool in state ``deleting`` that has no nodes."""

    pool: Pool


@dataclass(frozen=True, slots=True)
class SetNodeState:
    """Change the state of a node; ``done`` clears its intent."""

    node: Node
    state: NodeState
    done: bool = False


@dataclass(frozen=True, slots=True)
class PreemptNode:
    """Preempt a Spot node; its tasks run again on other nodes."""

    node: Node


@dataclass(frozen=True, slots=True)
class ReallocateNode:
    """Allocate a preempted node again, with empty disks."""

    node: Node


@dataclass(frozen=True, slots=True)
class BootNode:
    """Boot a node: create its directories; ``fresh`` deletes existing ones first (reimage)."""

    node: Node
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class InstallPackages:
    """Install the application packages of the node's pool on it."""

    node: Node
    pool: Pool


@dataclass(frozen=True, slots=True)
class RunStartTask:
    """Run the start task of the node's pool on it."""

    node: Node
    pool: Pool


@dataclass(frozen=True, slots=True)
class KillProcess:
    """Kill a start, preparation or release task, or an installation, by its run key."""

    key: str


@dataclass(frozen=True, slots=True)
class RemoveNode:
    """Remove a node without runs, with all its files."""

    node: Node


@dataclass(frozen=True, slots=True)
class RequestTaskEnd:
    """Request the end of a task on a node."""

    task: Task
    mode: EndMode


@dataclass(frozen=True, slots=True)
class KillRun:
    """Kill the processes of a run."""

    task_seq: int
    run: int


@dataclass(frozen=True, slots=True)
class EndPreparingTask:
    """End a task that waits on its node for the job's preparation task."""

    task: Task


@dataclass(frozen=True, slots=True)
class SetJobState:
    """Change the state of a job; ``reason`` is its ``terminateReason``."""

    job: Job
    state: JobState
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class CreateScheduledJob:
    """Create the job of a schedule for ``due``; the next job is due at ``following``."""

    schedule: Schedule
    due: datetime
    following: datetime | None


@dataclass(frozen=True, slots=True)
class SkipScheduledJob:
    """Skip the job of a schedule for ``due``, because its start window has passed."""

    schedule: Schedule
    due: datetime
    following: datetime | None


@dataclass(frozen=True, slots=True)
class SetScheduleState:
    """Change the state of a job schedule."""

    schedule: Schedule
    state: ScheduleState


@dataclass(frozen=True, slots=True)
class RemoveSchedule:
    """Remove a job schedule in state ``deleting`` that has no jobs."""

    schedule: Schedule


@dataclass(frozen=True, slots=True)
class DeletePool:
    """Delete an auto pool at the end of its lifetime, if it still exists."""

    pool_id: str


@dataclass(frozen=True, slots=True)
class RemoveJob:
    """Remove tasks of a deleted job, and finally the job."""

    job: Job


@dataclass(frozen=True, slots=True)
class DeletePendingFiles:
    """Delete the files of a task that no longer exists."""

    deletion: PendingDeletion


@dataclass(frozen=True, slots=True)
class DeleteExpiredFiles:
    """Delete the files of a task whose retention time has passed."""

    task: Task


@dataclass(frozen=True, slots=True)
class RunTask:
    """Run a task on a node; with ``waits``, only after the job preparation task on this node.

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
    """Run the job's release task on the node of ``preparation``."""

    job: Job
    preparation: Preparation


PoolDecision = (
    AddNodes
    | CompleteResize
    | DeletePool
    | RecordAutoscaleRun
    | RecordSample
    | RemovePool
    | ResizePool
)
NodeDecision = (
    BootNode
    | CancelNodeRemoval
    | PreemptNode
    | ReallocateNode
    | RemoveNode
    | RequestNodeRemoval
    | SetNodeState
)
JobDecision = SetJobState | RemoveJob
ScheduleDecision = CreateScheduledJob | SkipScheduledJob | SetScheduleState | RemoveSchedule
RunDecision = (
    RunTask
    | InstallPackages
    | RunStartTask
    | RunPreparationTask
    | RunReleaseTask
    | KillProcess
    | KillRun
    | EndPreparingTask
    | RequestTaskEnd
)
"""Decisions about runs on nodes; they can lead to requests to the executor."""
FileDecision = DeletePendingFiles | DeleteExpiredFiles
Decision = PoolDecision | NodeDecision | JobDecision | ScheduleDecision | RunDecision | FileDecision
