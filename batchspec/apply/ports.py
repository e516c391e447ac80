"""The protocols that ``apply`` needs: clients of an account, a clock, and the user to ask.

``cloud`` implements the account, ``cli`` the rest. When a method returns, the service has done what
was requested, however often the request was sent; otherwise it raises ``ServiceError``. Every
method can be called again after an interruption.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

from batchspec.apply.cancellation import Cancellation
from batchspec.apply.node_logs import NodeLogs
from batchspec.diagnostics import Diagnostic
from batchspec.plan.observed import Blob, JobFacts, LocalFile, PoolFacts, ScheduleFacts, TaskFacts
from batchspec.spec import Record


@dataclass(frozen=True, slots=True)
class TaskCounts:
    """Get Task Counts: ``completed`` is ``succeeded + failed``; preparing counts as running."""

    active: int
    running: int
    succeeded: int
    failed: int

    def without(self, succeeded: int) -> TaskCounts:
        """The counts without this number of succeeded tasks."""
        return replace(self, succeeded=max(0, self.succeeded - succeeded))

    @property
    def completed(self) -> int:
        """How many tasks have ended."""
        return self.succeeded + self.failed

    @property
    def total(self) -> int:
        """How many tasks the job has."""
        return self.active + self.running + self.completed


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node that takes no tasks: its state, and the exit code and failure of its start task."""

    id: str
    state: str
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class PreparationFacts:
    """The state of the preparation task of a job on one node.

    ``directory`` is where its files are on the node, ``ended`` is when it ended.
    """

    node: str
    failed: bool
    exit_code: int | None = None
    message: str = ""
    directory: str = ""
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskTimes:
    """When a task started and ended, each ``None`` until it has."""

    id: str
    started: datetime | None
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class TaskAdded:
    """The result of adding one task: ``problem`` is ``None`` if it is in the job.

    ``existed``: it was in the job before this request.
    """

    id: str
    existed: bool = False
    problem: Diagnostic | None = None


@dataclass(frozen=True, slots=True)
class TaskWaiting:
    """A task that has not started, and what it waits for: ids, and ranges of ids, ends included.

    ``slots`` is how many slots of a node it takes.
    """

    id: str
    needs: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    slots: int = 1


class Storage(Protocol):
    """Blobs. ``moved`` is called with the number of bytes just transferred."""

    def now(self) -> datetime:
        """The time at the storage account (UTC)."""
        ...

    async def container(self, name: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        ...

    async def create_container(
        self, name: str, metadata: Mapping[str, str], public_access: str | None
    ) -> bool:
        """Create a container; ``False`` if it existed. Waits while one of that name is deleted."""
        ...

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancellation: Cancellation,
    ) -> None:
        """Upload one file, checked in transit and at rest (MD5).

        A large file is sent in blocks. Uncommitted blocks of an interrupted upload of the same
        content are not sent again.

        Raises:
            StalePlanError: the file was deleted or changed after the plan was made.
            RunCancelled: cancellation was requested before all blocks were sent; those that were
                being sent have arrived, and the blob is unchanged.
        """
        ...

    def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; nothing if the container does not exist."""
        ...

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        """Download a blob to the file ``part`` and check length and MD5 (if stored); its MD5."""
        ...

    async def put(self, container: str, blob: str, data: bytes) -> None:
        """Write a small blob of plain text; a blob of that name is replaced."""
        ...

    async def delete_blob(self, container: str, blob: str) -> None:
        """Delete a blob, if it exists."""
        ...

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of a container."""
        ...

    async def delete_container(self, name: str) -> bool:
        """Delete a container; ``False`` if it did not exist."""
        ...


class Batch(Protocol):
    """Pools, jobs, schedules and tasks. ``sas`` is how long the URLs in a body must stay valid."""

    def now(self) -> datetime:
        """The time at the service (UTC), from the ``Date`` header of its latest response."""
        ...

    async def pool(self, pool_id: str) -> PoolFacts | None:
        """The pool, or ``None``."""
        ...

    async def create_pool(self, body: Record, sas: timedelta) -> bool:
        """Create a pool; ``False`` if an equal one of the same spec existed."""
        ...

    async def update_pool(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a pool."""
        ...

    async def resize_pool(
        self, pool_id: str, dedicated: int, spot: int, within: str | None = None
    ) -> None:
        """Request a number of nodes; waits while a resize is in progress.

        ``within`` (ISO 8601) is the resize timeout.
        """
        ...

    async def scale_pool(self, pool_id: str, formula: str | None, interval: str | None) -> None:
        """Enable autoscale with a formula, or disable it; waits while a resize is in progress."""
        ...

    async def restart_nodes(self, pool_id: str, nodes: Sequence[str] | None = None) -> None:
        """Restart every node of a pool, or these; tasks that run there run again.

        Waits for nodes that are starting; ignores nodes that are lost or leave the pool.
        """
        ...

    async def delete_pool(self, pool_id: str) -> bool:
        """Request the deletion of a pool; ``False`` if it did not exist. Poll ``pool``."""
        ...

    async def node_states(self, pool_id: str) -> Mapping[str, int]:
        """The number of nodes of the pool in each state, by one request."""
        ...

    def unwell_nodes(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task failed or that are unusable."""
        ...

    async def node_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a node; empty if there is none."""
        ...

    async def job(self, job_id: str) -> JobFacts | None:
        """The job, or ``None``."""
        ...

    async def create_job(self, body: Record, sas: timedelta) -> bool:
        """Create a job; ``False`` if an equal one of the same spec existed."""
        ...

    async def update_job(self, job_id: str, patch: Record) -> None:
        """Change properties of a job."""
        ...

    async def terminate_job(self, job_id: str, reason: str) -> None:
        """Terminate a job; a job that has ended is unchanged."""
        ...

    async def delete_job(self, job_id: str) -> bool:
        """Request the deletion of a job; ``False`` if it did not exist. Poll ``job``."""
        ...

    async def schedule(self, schedule_id: str) -> ScheduleFacts | None:
        """The job schedule, or ``None``."""
        ...

    async def create_schedule(self, body: Record, sas: timedelta) -> bool:
        """Create a job schedule; ``False`` if an equal one of the same spec existed."""
        ...

    async def update_schedule(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a job schedule."""
        ...

    async def delete_schedule(self, schedule_id: str) -> bool:
        """Request the deletion of a job schedule and its jobs; ``False`` if it did not exist.

        Poll ``schedule``.
        """
        ...

    async def add_tasks(
        self, job_id: str, tasks: Sequence[Record], sas: timedelta
    ) -> Sequence[TaskAdded]:
        """Add up to 100 tasks in one request (split where too large); one answer each, in order.

        A task that exists counts as added.
        """
        ...

    def task_ids(self, job_id: str) -> AsyncIterator[str]:
        """The ids of all tasks of the job, streamed."""
        ...

    def all_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of the job, streamed, with only the fields of :class:`TaskFacts` read."""
        ...

    async def terminate_task(self, job_id: str, task_id: str) -> None:
        """Request the end of a task; does nothing if it is completed or does not exist."""
        ...

    async def delete_task(self, job_id: str, task_id: str) -> None:
        """Delete a task, if it exists."""
        ...

    async def reactivate_task(self, job_id: str, task_id: str) -> None:
        """Reactivate a failed task of an active job; does nothing if the task has not failed."""
        ...

    async def task_counts(self, job_id: str) -> TaskCounts:
        """The number of tasks of the job in each state, by one request."""
        ...

    def preparations(self, job_id: str) -> AsyncIterator[PreparationFacts]:
        """The state of the job's preparation task on each node, streamed."""
        ...

    def failed_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """The completed tasks that failed, streamed, filtered by the service."""
        ...

    def waiting_tasks(self, job_id: str) -> AsyncIterator[TaskWaiting]:
        """The tasks that have not started, streamed, filtered by the service."""
        ...

    def blocking_tasks(self, job_id: str) -> AsyncIterator[str]:
        """The ids of the failed tasks that block the tasks that depend on them, streamed."""
        ...

    def task_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
        """When the running (or else the succeeded) tasks started and ended, streamed."""
        ...

    async def runs_any(self, job_id: str) -> bool:
        """Whether any task of the job runs or is about to, by a list (counts may lag behind)."""
        ...

    async def task_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a task; empty if there is none."""
        ...


class Clock(Protocol):
    """The time, and waiting."""

    def now(self) -> datetime:
        """The time of day (UTC)."""
        ...

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunCancelled: the run is to stop.
        """
        ...


@dataclass(frozen=True, slots=True)
class Deletion:
    """A deletion to be confirmed at the end of a run; ``subject`` is, for example, ``pool topn``.

    ``nodes`` is the number of nodes that a pool has or will have; ``None`` for everything else.
    ``failed``: the run has not succeeded, so that its objects may still be needed.
    """

    subject: str
    nodes: int | None
    failed: bool

    @property
    def advised(self) -> bool:
        """The default answer: after a failure, delete only what is billed."""
        return not self.failed or self.nodes is not None


class Questions(Protocol):
    """The questions to the user."""

    async def accept(self, problem: Diagnostic) -> bool:
        """Whether to continue in spite of ``problem``.

        Raises:
            RunCancelled: the run is to stop.
        """
        ...

    async def agree(self, deletion: Deletion) -> bool:
        """Whether to delete something.

        Raises:
            RunCancelled: the run is to stop.
        """
        ...


_SAME_TIME = timedelta(seconds=2)
"""A smaller difference between two clocks is not visible in dates with whole seconds."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside a run that it uses.

    ``pace`` is the shortest time between two polls, in seconds. ``cancellation`` stops the run.
    ``node_logs`` records where the output of failed start tasks is stored.
    """

    storage: Storage
    batch: Batch
    clock: Clock
    questions: Questions
    pace: float = 2.0
    cancellation: Cancellation = field(default_factory=Cancellation)
    node_logs: NodeLogs = field(default_factory=NodeLogs)

    def in_storage_time(self, at: datetime) -> datetime:
        """A time of the Batch service on the clock of the storage account, to the second.

        Last-Modified of a blob has whole seconds. If the clock of the Batch service is ahead (with
        ``--speed``, that of the embedded service is, increasingly), the result is too early rather
        than too late, so that a blob written at that time never counts as older.
        """
        ahead = self.batch.now() - self.storage.now()
        earlier = at - ahead if ahead > _SAME_TIME and at > _EPOCH else at
        return earlier.replace(microsecond=0)
