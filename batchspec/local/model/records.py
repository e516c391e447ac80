"""The records of the service, which the store keeps and the engine and the API read.

A record is frozen. It contains the settings of its resource, in wire JSON with all defaults, and
the fields that only the service sets. Ids keep their case; look-ups are case-insensitive. All times
are timezone-aware UTC datetimes of the service's clock.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from batchspec.catalog.vm_sizes import cores
from batchspec.local.model.state_machines import (
    AllocationState,
    CertificateState,
    JobState,
    NodeState,
    PoolState,
    ScheduleState,
    TaskState,
)

NODE_DIRECTORIES = ("applications", "fsmounts", "shared", "startup", "volatile", "workitems")
"""The directories at the root of a node."""


@lru_cache(maxsize=1024)  # called several times a task
def node_root(data: Path, pool_id: str, node_id: str) -> Path:
    """The root directory of a node (``AZ_BATCH_NODE_ROOT_DIR``)."""
    return data / "nodes" / pool_id.lower() / node_id.lower()


def node_address(seq: int) -> str:
    """The loopback address of the node with this ``seq``; each node has another address.

    Only Linux accepts all of 127.0.0.0/8 as local; on other systems all nodes share 127.0.0.1.
    """
    if sys.platform != "linux":
        return "127.0.0.1"
    high, low = divmod(seq, 1 << 8)
    return f"127.{1 + (high >> 8) % 254}.{high % 256}.{low}"


PREPARATION, RELEASE = "jobpreparation", "jobrelease"
"""The default ids of a job's preparation task and release task."""


def task_directory(job_id: str, task_id: str) -> str:
    """A task's directory, relative to its node's root.

    The job ``schedule:job-n`` of a job schedule is in ``workitems/schedule/job-n``; any other job
    is in ``workitems/job/job-1``.
    """
    schedule, colon, job = job_id.partition(":")
    return f"workitems/{schedule}/{job if colon else 'job-1'}/{task_id}"


@dataclass(frozen=True, slots=True)
class Usage:
    """The resource usage of processes: of one run, or the sum of several runs.

    ``running`` is elapsed time. ``user`` and ``kernel`` are processor times over all processes and
    nodes. ``read`` and ``written`` are bytes transferred from and to disks, without transfers from
    and to the system's cache. ``reads`` and ``writes`` are read and write calls of any file.
    """

    running: timedelta = timedelta()
    user: timedelta = timedelta()
    kernel: timedelta = timedelta()
    read: int = 0
    written: int = 0
    reads: int = 0
    writes: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.running + other.running,
            self.user + other.user,
            self.kernel + other.kernel,
            self.read + other.read,
            self.written + other.written,
            self.reads + other.reads,
            self.writes + other.writes,
        )


NO_USAGE = Usage()


@dataclass(frozen=True, slots=True)
class Resources:
    """The resource usage of this machine while a pool had nodes, from ``since`` to ``until``.

    ``measured`` is the measured part of this time in microseconds: the time with nodes and with a
    running service. ``ticks`` is the time of all processors, ``busy`` the part in which they were
    not idle, both in ticks of the kernel. ``memory`` and ``disk`` are averages of used bytes.
    ``disk_reads`` and ``disk_writes`` are operations; ``disk_read``, ``disk_written``,
    ``network_in`` and ``network_out`` are bytes.
    """

    since: datetime
    until: datetime
    measured: int = 0
    busy: int = 0
    ticks: int = 0
    memory: int = 0
    peak_memory: int = 0
    disk: int = 0
    peak_disk: int = 0
    disk_reads: int = 0
    disk_writes: int = 0
    disk_read: int = 0
    disk_written: int = 0
    network_in: int = 0
    network_out: int = 0


MULTI_INSTANCE = "multiInstanceSettings"
"""The property that makes a task a multi-instance task."""

Wire: TypeAlias = Mapping[str, Any]
"""A JSON object with the property names of the protocol."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool. ``body`` contains the settings without targets and counts, which are fields.

    ``allocation_since`` is the start of the allocation state. ``resize`` counts resizes, so that
    the engine can distinguish a new resize from the resize in progress.
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
    """The times of autoscale: its start, and the due times of the formula and the next sample."""

    since: datetime
    due: datetime
    sample_due: datetime


@dataclass(frozen=True, slots=True)
class Node:
    """A compute node. The store keeps ``running_slots`` and the totals up to date with each run.

    ``start_task_info`` is in wire form. ``detail`` contains further data of the engine (packages
    ...). ``intent`` is a requested action that the engine has not carried out yet: ``remove``,
    ``reboot``, ``reimage``, ``deallocate``, ``start``, ``offline`` or ``preempt``;
    ``intent_option`` is its option (``requeue``, ``terminate``, ``taskcompletion``,
    ``retaineddata``).
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
    """A job. ``pool_id`` is the id of its pool; for an auto pool, once the pool exists.

    ``reason`` is the ``terminateReason``. ``disable_tasks`` is the option of the last disable
    request for running tasks. ``deadline`` is the time at which ``maxWallClockTime`` ends the job.
    ``schedule_id`` is the job schedule that created the job.
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
    """A task and its latest run.

    ``seq`` is unique over all jobs and increases with each new task. ``run`` counts the runs of the
    task, so that (``seq``, ``run``) identifies a run. ``waiting`` counts unmet dependencies.
    ``directory`` is the task's directory relative to the root of its node. ``ending`` is the
    request to the engine to end the run: ``terminate`` (with ``TaskEnded``) or ``requeue``.
    ``container`` is the ``containerInfo`` in wire form.
    """

    seq: int
    job_id: str
    id: str
    body: Wire
    created: datetime
    modified: datetime
    state: TaskState
    state_since: datetime
    previous_state: TaskState | None = None
    previous_since: datetime | None = None
    slots: int = 1
    waiting: int = 0
    run: int = 0
    retry_count: int = 0
    requeue_count: int = 0
    last_retry: datetime | None = None
    last_requeue: datetime | None = None
    pool_id: str | None = None
    node_id: str | None = None
    directory: str | None = None
    ending: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    exit_code: int | None = None
    result: str | None = None
    failure: Wire | None = None
    retain_until: datetime | None = None
    cleaned: bool = False
    container: Wire | None = None


@dataclass(frozen=True, slots=True)
class Subtask:
    """A subtask of a multi-instance task, on another node than the primary; ``number`` is its id.

    ``info`` is in wire form, without the node and the state.
    """

    number: int
    pool_id: str
    node_id: str
    directory: str
    state: Literal["running", "completed"]
    info: Wire


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate of the account; ``public_data`` is its DER in base64.

    ``error`` is the error of the last deletion, in wire form.
    """

    seq: int
    thumbprint: str
    public_data: str
    state: CertificateState
    state_since: datetime
    previous_state: CertificateState | None = None
    previous_since: datetime | None = None
    error: Wire | None = None


@dataclass(frozen=True, slots=True)
class PendingDeletion:
    """A task directory to delete, and the run that may still write to it.

    The task was deleted, or its retention time has passed. The engine ends the run (``task_seq``,
    ``run``) if it is in progress, and then deletes ``directory`` on the node.
    """

    seq: int
    pool_id: str
    node_id: str
    directory: str
    task_seq: int
    run: int


@dataclass(frozen=True, slots=True)
class LogUpload:
    """A request to upload the log of a node to ``blob`` of the container at the URL ``container``.

    The upload uses the managed identity of the node with ``identity``, else the SAS of the URL.
    """

    seq: int
    pool_id: str
    node_id: str
    container: str = field(repr=False)
    blob: str
    identity: bool


@dataclass(frozen=True, slots=True)
class Preparation:
    """A job's preparation task and release task on one node.

    ``state`` is ``running``, ``ready`` (the job's tasks may run there) or ``failed``.
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
    """A job schedule. ``runs`` is the number of jobs that it has created.

    ``next_run`` is the due time of the next job, ``last_due`` the due time of the last job.
    ``pool_id`` is the auto pool with the lifetime of the schedule, once the pool exists.
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
    """Tasks of a job by state. ``running`` includes ``preparing``, as in Azure Batch."""

    active: int
    running: int
    succeeded: int
    failed: int

    @property
    def completed(self) -> int:
        """Tasks in state ``completed``, with any result."""
        return self.succeeded + self.failed


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Counts of a job's tasks, and counts of the slots that these tasks require."""

    tasks: Counts
    slots: Counts


def is_windows(pool: Wire) -> bool:
    """Whether the image of a pool is for Windows."""
    agent: str = pool.get("virtualMachineConfiguration", {}).get("nodeAgentSKUId", "")
    return "windows" in agent.lower()


def cores_of(vm_size: str) -> int:
    """The cores of a node of a VM size; 1 for an unknown size."""
    return cores(vm_size) or 1


def instance_count(task: Task) -> int:
    """The number of nodes that a task runs on; 0 if it is not a multi-instance task."""
    settings = task.body.get(MULTI_INSTANCE)
    return 0 if settings is None else int(settings["numberOfInstances"])


def allows_multi_instance(pool: Pool) -> bool:
    """Whether multi-instance tasks can run in a pool. In other pools they stay active."""
    together: bool = pool.body["enableInterNodeCommunication"]
    return together and pool.body["taskSlotsPerNode"] == 1
