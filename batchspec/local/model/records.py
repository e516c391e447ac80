"""The records of the service: what the store keeps and the engine and the API read.

A record is frozen. It holds the body its resource was made with, in wire JSON with the defaults
filled in, and beside it the fields that the service alone sets. Ids keep the case they were
created in; every look-up ignores it. All times are aware UTC datetimes of the service's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeAlias

from batchspec.local.model.state_machines import (
    AllocationState,
    JobState,
    NodeState,
    PoolState,
    ScheduleState,
    TaskState,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """What runs have used: of one run, or summed over several.

    ``running`` is time that passed, ``user`` and ``kernel`` are of processors, over all processes
    and nodes; ``read`` and ``written`` are bytes that came from and went to disks (what came from
    memory, as the system keeps files there, is not counted).
    """

    running: timedelta = timedelta()
    user: timedelta = timedelta()
    kernel: timedelta = timedelta()
    read: int = 0
    written: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.running + other.running,
            self.user + other.user,
            self.kernel + other.kernel,
            self.read + other.read,
            self.written + other.written,
        )


NO_USAGE = Usage()

MULTI_INSTANCE = "multiInstanceSettings"
"""The property that makes a task a multi-instance task."""

Wire: TypeAlias = Mapping[str, Any]
"""A JSON object in the spelling of the protocol."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool. ``body`` holds the settings, without the targets and counts, which are fields here.

    ``allocation_since`` is when the allocation state was entered; ``resize`` counts resizes, so
    that an engine can tell a new one from the one it is at work on.
    """

    seq: int
    id: str
    body: Wire
    created: datetime
    modified: datetime
    state: PoolState
    state_since: datetime
    allocation: AllocationState
    allocation_since: datetime
    target_dedicated: int
    target_spot: int
    resize: int
    resize_timeout: str
    resize_errors: tuple[Wire, ...]
    deallocation: str
    autoscale: Wire | None


@dataclass(frozen=True, slots=True)
class AutoscaleTimes:
    """When a pool scales: since when, and when its formula and its next sample are due."""

    since: datetime
    due: datetime
    sample_due: datetime


@dataclass(frozen=True, slots=True)
class Node:
    """A compute node. ``running_slots`` and the totals are kept by the store with each task run.

    ``start_task_info`` is in wire form, without the start task; ``detail`` is the engine's own
    (address, ports, agent version ...), shown where the protocol has a place for it.
    ``intent`` is what the API asked for and the engine has not done yet:
    ``remove``, ``reboot``, ``reimage``, ``deallocate``, ``start``; ``intent_option`` how
    (``requeue``, ``terminate``, ``taskcompletion``, ``retaineddata``).
    """

    seq: int
    pool_id: str
    id: str
    dedicated: bool
    state: NodeState
    state_since: datetime
    scheduling: Literal["enabled", "disabled"]
    allocated: datetime
    booted: datetime | None
    slots: int
    running_tasks: int
    running_slots: int
    total_run: int
    total_succeeded: int
    start_task_info: Wire | None
    intent: str | None
    intent_option: str | None
    errors: tuple[Wire, ...]
    detail: Wire


@dataclass(frozen=True, slots=True)
class Job:
    """A job. ``pool_id`` is the pool it runs on (that of an auto pool once it is made).

    ``reason`` is the ``terminateReason``; ``disable_tasks`` what a disable does to running tasks;
    ``deadline`` is when ``maxWallClockTime`` ends it; ``schedule_id`` the schedule that made it.
    """

    seq: int
    id: str
    body: Wire
    created: datetime
    modified: datetime
    state: JobState
    state_since: datetime
    previous_state: JobState | None
    previous_since: datetime | None
    pool_id: str
    priority: int
    max_parallel: int
    started: datetime
    ended: datetime | None
    deadline: datetime | None
    reason: str | None
    scheduling_error: Wire | None
    disable_tasks: str | None
    schedule_id: str | None


@dataclass(frozen=True, slots=True)
class Task:
    """A task, and the latest of its runs.

    ``seq`` is unique over all jobs and grows with creation. ``run`` counts the starts of this
    task, so that (``seq``, ``run``) names one run. ``waiting`` counts unmet dependencies.
    ``directory`` is the task's directory below the root of its node. ``ending`` is set while the
    engine is asked to end the run: ``terminate`` (to ``TaskEnded``) or ``requeue``.
    ``container`` is what is
    told of the container that it ran in, in wire form.
    """

    seq: int
    job_id: str
    id: str
    body: Wire
    created: datetime
    modified: datetime
    state: TaskState
    state_since: datetime
    previous_state: TaskState | None
    previous_since: datetime | None
    slots: int
    waiting: int
    run: int
    retry_count: int
    requeue_count: int
    last_retry: datetime | None
    last_requeue: datetime | None
    pool_id: str | None
    node_id: str | None
    directory: str | None
    ending: str | None
    started: datetime | None
    ended: datetime | None
    exit_code: int | None
    result: str | None
    failure: Wire | None
    retain_until: datetime | None
    cleaned: bool
    container: Wire | None = None


@dataclass(frozen=True, slots=True)
class Subtask:
    """What of a multi-instance task is on another node than its primary; ``number`` is its id.

    ``info`` is in wire form, without the node and the state.
    """

    number: int
    pool_id: str
    node_id: str
    directory: str
    state: Literal["running", "completed"]
    info: Wire


@dataclass(frozen=True, slots=True)
class PendingDeletion:
    """Files that nobody owns any more, and a run that may still write them.

    Left by a task that was deleted, or whose retention passed: the engine ends run
    (``task_seq``, ``run``) if it is still alive, removes ``directory`` on the node, and says so.
    """

    seq: int
    pool_id: str
    node_id: str
    directory: str
    task_seq: int
    run: int


@dataclass(frozen=True, slots=True)
class Preparation:
    """A job's preparation task on one node, and its release task there.

    ``state`` is ``running``, ``ready`` (the job's tasks may run there) or ``failed``;
    ``release_state`` is ``None`` until the release task is due, then ``running`` or ``completed``.
    ``info`` and ``release`` are in wire form.
    """

    seq: int
    job_id: str
    pool_id: str
    node_id: str
    state: Literal["running", "ready", "failed"]
    info: Wire
    release_state: Literal["running", "completed"] | None
    release: Wire | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job schedule. ``next_run`` is when it makes its next job, ``runs`` how many it made.

    ``last_due`` is when the last one was due; ``pool_id`` the auto pool that lives as long as the
    schedule, once it is made.
    """

    seq: int
    id: str
    body: Wire
    created: datetime
    modified: datetime
    state: ScheduleState
    state_since: datetime
    previous_state: ScheduleState | None
    previous_since: datetime | None
    next_run: datetime | None
    recent_job: str | None
    runs: int
    ended: datetime | None
    pool_id: str | None
    last_due: datetime | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Tasks of a job by state. ``running`` includes ``preparing``, as the service counts."""

    active: int
    running: int
    succeeded: int
    failed: int

    @property
    def completed(self) -> int:
        """Tasks in state ``completed``, whatever their result."""
        return self.succeeded + self.failed


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Counts of a job's tasks, and the same weighed by the slots they require."""

    tasks: Counts
    slots: Counts


def is_windows(pool: Wire) -> bool:
    """Whether a pool of that body names an image of Windows."""
    agent: str = pool.get("virtualMachineConfiguration", {}).get("nodeAgentSKUId", "")
    return "windows" in agent.lower()


def instance_count(task: Task) -> int:
    """On how many nodes a task runs at once; 0 if it is no multi-instance task."""
    settings = task.body.get(MULTI_INSTANCE)
    return 0 if settings is None else int(settings["numberOfInstances"])


def allows_multi_instance(pool: Pool) -> bool:
    """Whether multi-instance tasks run in a pool; in any other they stay active for ever."""
    together: bool = pool.body["enableInterNodeCommunication"]
    return together and pool.body["taskSlotsPerNode"] == 1
