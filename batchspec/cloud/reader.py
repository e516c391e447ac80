"""The account as ``observe`` reads it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from batchspec.diagnostics import ServiceError
from batchspec.observe.ports import ContainerSeen, NodeSeen, Part, TaskSeen
from batchspec.plan.observed import (
    Account,
    Blob,
    JobFacts,
    PoolFacts,
    ScheduleFacts,
    SupportedImage,
    TaskFacts,
    Usage,
)

if TYPE_CHECKING:
    from batchspec.cloud.connect import BatchService
    from batchspec.cloud.storage import BlobStorage


class AccountReader:
    """Implements ``Reader``, ``Outputs`` and ``Inventory`` of :mod:`batchspec.observe.ports`."""

    def __init__(self, account: Account, batch: BatchService, storage: BlobStorage) -> None:
        self._account = account
        self._batch = batch
        self._storage = storage

    @property
    def account(self) -> Account:
        """Which account this is."""
        return self._account

    def now(self) -> datetime:
        """The time at the Batch service (UTC)."""
        return self._batch.now()

    async def container(self, name: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        return await self._storage.container(name)

    def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; nothing if the container does not exist."""
        return self._storage.blobs(container, prefix)

    async def pool(self, pool_id: str) -> PoolFacts | None:
        """The pool, or ``None``."""
        return await self._batch.pool(pool_id)

    async def job(self, job_id: str) -> JobFacts | None:
        """The job, or ``None``."""
        return await self._batch.job(job_id)

    def jobs(self, name: str) -> AsyncIterator[JobFacts]:
        """Every job whose id starts with ``name``."""
        return self._batch.jobs(name)

    async def schedule(self, schedule_id: str) -> ScheduleFacts | None:
        """The job schedule, or ``None``."""
        return await self._batch.schedule(schedule_id)

    def schedules(self) -> AsyncIterator[ScheduleFacts]:
        """Every job schedule."""
        return self._batch.schedules()

    async def tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of a job, streamed; nothing if the job does not exist."""
        try:
            async for task in self._batch.all_tasks(job_id):
                yield task
        except ServiceError as error:
            # The job was deleted after it was listed.
            if error.status != 404:
                raise

    async def images(self) -> tuple[SupportedImage, ...]:
        """The account's supported images."""
        return await self._batch.images()

    async def applications(self) -> Mapping[str, tuple[str, ...]]:
        """The versions of the account's application packages, by the id of the application."""
        return await self._batch.applications()

    async def usage(self) -> Usage:
        """How many pools, active jobs and job schedules count against the quotas."""
        return await self._batch.usage()

    async def task(self, job_id: str, task_id: str) -> TaskSeen | None:
        """The task, or ``None``."""
        return await self._batch.task(job_id, task_id)

    def failed_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """The completed tasks that failed, streamed, filtered by the service."""
        return self._batch.failed_tasks(job_id)

    async def nodes(self, pool_id: str) -> AsyncIterator[NodeSeen]:
        """The nodes of a pool, streamed; nothing if the pool does not exist."""
        try:
            async for node in self._batch.nodes(pool_id):
                yield node
        except ServiceError as error:
            if error.status != 404:
                raise

    async def task_file(
        self, job_id: str, task: str, path: str, start: int, most: int
    ) -> Part | None:
        """Up to ``most`` bytes of a file of a task from ``start``; ``None`` if it is missing."""
        return await self._batch.task_file(job_id, task, path, start, most)

    async def node_file(
        self, pool_id: str, node: str, path: str, start: int, most: int
    ) -> Part | None:
        """Up to ``most`` bytes of a file of a node from ``start``; ``None`` if it is missing."""
        return await self._batch.node_file(pool_id, node, path, start, most)

    async def blob_part(self, container: str, blob: str, start: int, most: int) -> Part | None:
        """Up to ``most`` bytes of a blob from ``start``; ``None`` if it does not exist."""
        return await self._storage.blob_part(container, blob, start, most)

    def pools(self) -> AsyncIterator[PoolFacts]:
        """Every pool."""
        return self._batch.pools()

    def containers(self) -> AsyncIterator[ContainerSeen]:
        """Every container."""
        return self._storage.containers()
