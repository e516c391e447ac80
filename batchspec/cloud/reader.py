"""Reading an account: what ``observe`` needs, and nothing that changes anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

from batchspec.cloud.batch import BatchService
from batchspec.cloud.storage import BlobStorage
from batchspec.plan.observed import Account, Blob, JobFacts, PoolFacts, SupportedImage, TaskFacts
from batchspec.problems import ServiceError


class AccountReader:
    """Implements :class:`batchspec.observe.ports.Reader`."""

    def __init__(self, account: Account, batch: BatchService, storage: BlobStorage) -> None:
        self._account = account
        self._batch = batch
        self._storage = storage

    @property
    def account(self) -> Account:
        """Which account this is."""
        return self._account

    async def container(self, name: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        return await self._storage.container(name)

    def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; nothing if the container is not there."""
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

    async def tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of a job, streamed; nothing if the job is not there."""
        try:
            async for task in self._batch.tasks(job_id):
                yield task
        except ServiceError as error:
            # Deleted after it was listed: a job that is gone has no tasks.
            if error.status != 404:
                raise

    async def images(self) -> tuple[SupportedImage, ...]:
        """The account's supported images."""
        return await self._batch.images()
