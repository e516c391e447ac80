"""The resources of an account, each a Protocol.

When a method that changes a resource returns, the service has made the change once, even if the
request was sent several times; otherwise the method raises ``ServiceError``. Every method can be
called again after an interruption. ``get`` returns ``None`` if the resource does not exist.
``list`` streams. ``sas`` is how long the SAS in a body must stay valid.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from batchspec.account.facts import (
    ContainerProperties,
    FilePart,
    NodeFacts,
    NodeFile,
    NodeRecord,
    PreparationFacts,
    TaskAdded,
    TaskCounts,
    TaskDetails,
    TaskRecord,
    TaskSince,
    TaskTimes,
    TaskWaiting,
)
from batchspec.plan.capacity import AccountResource, VmSize
from batchspec.plan.observed import (
    AccountNames,
    Blob,
    JobFacts,
    LocalFile,
    PoolFacts,
    ScheduleFacts,
    StoredPackage,
    SupportedImage,
    TaskFacts,
    Usage,
)
from batchspec.spec import Record


class PoolChanges(Protocol):
    """The requests that change pools: of the Batch service, or of Azure Resource Manager."""

    async def create(self, body: Record, sas: timedelta) -> bool:
        """Create a pool; ``False`` if an equal one of the same spec existed."""
        ...

    async def update(self, pool_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a pool."""
        ...

    async def resize(
        self, pool_id: str, dedicated: int, spot: int, resize_timeout: str | None = None
    ) -> None:
        """Request a number of nodes; waits while a resize is in progress.

        ``resize_timeout`` is in ISO 8601.
        """
        ...

    async def enable_autoscale(self, pool_id: str, formula: str, interval: str | None) -> None:
        """Set the autoscale formula; waits while a resize is in progress.

        ``interval`` (ISO 8601) is the evaluation interval; ``None``: unchanged.
        """
        ...

    async def disable_autoscale(self, pool_id: str) -> None:
        """Remove the autoscale formula; waits while a resize is in progress."""
        ...

    async def delete(self, pool_id: str) -> bool:
        """Request the deletion of a pool; ``False`` if it did not exist. Poll ``Pools.get``."""
        ...


class Pools(PoolChanges, Protocol):
    """Pools."""

    async def get(self, pool_id: str) -> PoolFacts | None:
        """The pool, or ``None``."""
        ...

    def list(self) -> AsyncIterator[PoolFacts]:
        """Every pool of the account."""
        ...

    async def get_node_counts(self, pool_id: str) -> Mapping[str, int]:
        """The number of nodes of the pool in each state, by one request."""
        ...


class Nodes(Protocol):
    """The nodes of pools."""

    def list(self, pool_id: str, *, missing_ok: bool = False) -> AsyncIterator[NodeFacts]:
        """The nodes of a pool; with ``missing_ok``, none if the pool does not exist."""
        ...

    def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task failed or that are unusable."""
        ...

    def list_starting(self, pool_id: str) -> AsyncIterator[NodeFacts]:
        """The nodes whose start task runs."""
        ...

    def list_records(self, pool_id: str) -> AsyncIterator[NodeRecord]:
        """The nodes of a pool with their sizes and times; none if the pool does not exist."""
        ...

    async def reboot(self, pool_id: str, node_ids: Sequence[str] | None = None) -> None:
        """Restart every node of a pool, or the given nodes; their running tasks run again.

        Waits for nodes that are starting; ignores nodes that are lost or leave the pool.
        """
        ...

    async def get_file(
        self, pool_id: str, node_id: str, path: str, start: int, size: int
    ) -> FilePart | None:
        """At most ``size`` bytes of a file of a node from ``start`` on; ``None`` without a file."""
        ...

    def list_files(self, pool_id: str, node_id: str) -> AsyncIterator[NodeFile]:
        """Every file of a node, in all folders; none without the node."""
        ...

    async def get_file_tail(self, pool_id: str, node_id: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a node; empty if there is none."""
        ...


class Jobs(Protocol):
    """Jobs."""

    async def get(self, job_id: str) -> JobFacts | None:
        """The job, or ``None``."""
        ...

    def list(self, prefix: str = "") -> AsyncIterator[JobFacts]:
        """Every job whose id starts with ``prefix``."""
        ...

    def list_active(self) -> AsyncIterator[JobFacts]:
        """Every active job of the account; the service limits their number."""
        ...

    async def create(self, body: Record, sas: timedelta) -> bool:
        """Create a job; ``False`` if an equal one of the same spec existed."""
        ...

    async def update(self, job_id: str, patch: Record) -> None:
        """Change properties of a job; ``patch`` has no URLs to sign."""
        ...

    async def terminate(self, job_id: str, reason: str) -> None:
        """Terminate a job; a job that has ended is unchanged."""
        ...

    async def delete(self, job_id: str) -> bool:
        """Request the deletion of a job; ``False`` if it did not exist. Poll :meth:`get`."""
        ...

    async def get_task_counts(self, job_id: str) -> TaskCounts:
        """The number of tasks of the job in each state, by one request."""
        ...

    def list_preparation_tasks(self, job_id: str) -> AsyncIterator[PreparationFacts]:
        """The state of the job's preparation task on each node."""
        ...


class JobSchedules(Protocol):
    """Job schedules."""

    async def get(self, schedule_id: str) -> ScheduleFacts | None:
        """The job schedule, or ``None``."""
        ...

    def list(self) -> AsyncIterator[ScheduleFacts]:
        """Every job schedule of the account."""
        ...

    async def create(self, body: Record, sas: timedelta) -> bool:
        """Create a job schedule; ``False`` if an equal one of the same spec existed."""
        ...

    async def update(self, schedule_id: str, patch: Record, sas: timedelta) -> None:
        """Change properties of a job schedule."""
        ...

    async def delete(self, schedule_id: str) -> bool:
        """Request the deletion of a job schedule and its jobs; ``False`` if it did not exist.

        Poll :meth:`get`.
        """
        ...


class Tasks(Protocol):
    """The tasks of jobs."""

    async def get(self, job_id: str, task_id: str) -> TaskDetails | None:
        """The task, or ``None``."""
        ...

    def list(self, job_id: str, *, missing_ok: bool = False) -> AsyncIterator[TaskFacts]:
        """Every task of a job, with only the fields of :class:`TaskFacts` read.

        With ``missing_ok``, none if the job does not exist.
        """
        ...

    def list_ids(self, job_id: str, first: str = "", before: str = "") -> AsyncIterator[str]:
        """The ids of the tasks of a job, from ``first`` to the last one before ``before``.

        An empty text is no limit. The service decides how ids are sorted.
        """
        ...

    def list_bodies(self, job_id: str) -> AsyncIterator[Record]:
        """Every task of a job with all its properties."""
        ...

    def list_failed(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """The completed tasks that failed, filtered by the service."""
        ...

    def list_waiting(self, job_id: str) -> AsyncIterator[TaskWaiting]:
        """The tasks that have not started, filtered by the service."""
        ...

    def list_blocking(self, job_id: str) -> AsyncIterator[str]:
        """The ids of the failed tasks that block the tasks that depend on them."""
        ...

    def list_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
        """When the running (or else the succeeded) tasks started and ended."""
        ...

    def list_records(self, job_id: str, *, failed: bool = False) -> AsyncIterator[TaskRecord]:
        """Every task of a job (or those that failed) with its times; none without the job."""
        ...

    def list_running(self, job_id: str) -> AsyncIterator[TaskSince]:
        """The tasks that run or are about to, filtered by the service."""
        ...

    def list_ended(
        self, job_id: str, *, since: datetime | None, failed: bool
    ) -> AsyncIterator[TaskSince]:
        """The tasks that were completed at ``since`` or later, filtered by the service.

        With ``failed``, only those that failed.
        """
        ...

    async def any_running(self, job_id: str) -> bool:
        """Whether any task of the job runs or is about to, by a list (counts may lag behind)."""
        ...

    async def create_collection(
        self, job_id: str, tasks: Sequence[Record], sas: timedelta
    ) -> Sequence[TaskAdded]:
        """Add up to 100 tasks in one request, or in several if it is too large.

        Returns a result for each task, in order. A task that exists counts as added.
        """
        ...

    async def terminate(self, job_id: str, task_id: str) -> None:
        """Request the termination of a task; does nothing if it is completed or does not exist."""
        ...

    async def delete(self, job_id: str, task_id: str) -> None:
        """Delete a task, if it exists."""
        ...

    async def reactivate(self, job_id: str, task_id: str) -> None:
        """Reactivate a failed task of an active job; does nothing if the task has not failed."""
        ...

    async def get_file(
        self, job_id: str, task_id: str, path: str, start: int, size: int
    ) -> FilePart | None:
        """At most ``size`` bytes of a file of a task from ``start`` on; ``None`` without a file."""
        ...

    def list_files(self, job_id: str, task_id: str) -> AsyncIterator[NodeFile]:
        """Every file of a task on its node, in all folders; none if they do not exist."""
        ...

    async def get_file_tail(self, job_id: str, task_id: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a task; empty if there is none."""
        ...


class Images(Protocol):
    """The images that the account supports."""

    async def list(self) -> tuple[SupportedImage, ...]:
        """Every supported image."""
        ...


class Applications(Protocol):
    """The application packages of the account."""

    async def list(self) -> Mapping[str, tuple[str, ...]]:
        """The versions of each application package, by the id of the application."""
        ...

    async def get_package(self, name: str, version: str) -> StoredPackage | None:
        """A version of an application package, or ``None``."""
        ...

    async def upload_package(
        self,
        name: str,
        version: str,
        archive: LocalFile,
        content: str,
        moved: Callable[[int], None],
    ) -> None:
        """Create or complete a version of an application, and make it the default version.

        Size and MD5 of the stored archive are compared before the version is activated. ``content``
        is stored with it. ``moved`` is called with the number of bytes just transferred; if it
        raises an exception, the upload ends.
        """
        ...

    async def delete_package(self, name: str, version: str) -> bool:
        """Delete a version; ``False`` if it did not exist."""
        ...


class Quotas(Protocol):
    """The quotas of the account."""

    async def get_usage(self) -> Usage:
        """How many pools, active jobs and job schedules count against the quotas."""
        ...


class Containers(Protocol):
    """The containers of the Storage account."""

    def list(self) -> AsyncIterator[ContainerProperties]:
        """Every container of the account."""
        ...

    async def create(
        self, container: str, metadata: Mapping[str, str], public_access: str | None
    ) -> bool:
        """Create a container; ``False`` if it existed.

        Waits while a container with this name is being deleted.
        """
        ...

    async def get_metadata(self, container: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        ...

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of a container."""
        ...

    async def delete(self, container: str) -> bool:
        """Delete a container; ``False`` if it did not exist."""
        ...


class Blobs(Protocol):
    """The blobs of containers. ``moved`` is called with the number of bytes just transferred."""

    def list(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container; none if the container does not exist."""
        ...

    async def get_part(self, container: str, blob: str, start: int, size: int) -> FilePart | None:
        """At most ``size`` bytes of a blob from ``start`` on; ``None`` without a blob."""
        ...

    async def put(self, container: str, blob: str, data: bytes) -> None:
        """Write a small blob of plain text; replaces a blob with this name."""
        ...

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> bool:
        """Upload one file, checked in transit and at rest (MD5).

        A large file is sent in blocks. Uncommitted blocks of an interrupted upload of the same
        content are not sent again.

        Returns:
            ``False`` if ``cancelled`` was true before all blocks were sent. Blocks in progress were
            sent completely, and the blob is unchanged.

        Raises:
            StalePlanError: the file was deleted or changed after the plan was made.
        """
        ...

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        """Download a blob to the file ``part``, and check its length and, if stored, its MD5.

        Returns the MD5 of the file.
        """
        ...

    async def delete(self, container: str, blob: str) -> None:
        """Delete a blob, if it exists."""
        ...


class ControlPlane(Protocol):
    """The Batch account as a resource of Azure: requests to Azure Resource Manager."""

    @property
    def in_plans(self) -> bool:
        """Whether a plan reads the account from Resource Manager. If not, quotas are not known."""
        ...

    async def get_account(self) -> AccountResource:
        """The account with its quotas."""
        ...

    async def list_vm_sizes(self, region: str) -> Mapping[str, VmSize]:
        """The VM sizes that Batch offers in a region, by name in lower case."""
        ...

    @property
    def pools(self) -> PoolChanges:
        """Pools with a managed identity; ``Account.pools`` reads them."""
        ...


class Account(Protocol):
    """A Batch account and its Storage account."""

    @property
    def names(self) -> AccountNames:
        """The names of the accounts."""
        ...

    @property
    def longest_sas(self) -> timedelta | None:
        """The longest validity that a SAS of the account can have; ``None``: no limit."""
        ...

    def now(self) -> datetime:
        """The time at the Batch service (UTC), from the ``Date`` header of its latest response."""
        ...

    def storage_now(self) -> datetime:
        """The time at the Storage account (UTC), by its latest responses."""
        ...

    @property
    def control_plane(self) -> ControlPlane: ...

    @property
    def pools(self) -> Pools: ...

    @property
    def nodes(self) -> Nodes: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def job_schedules(self) -> JobSchedules: ...

    @property
    def tasks(self) -> Tasks: ...

    @property
    def images(self) -> Images: ...

    @property
    def applications(self) -> Applications: ...

    @property
    def quotas(self) -> Quotas: ...

    @property
    def containers(self) -> Containers: ...

    @property
    def blobs(self) -> Blobs: ...
