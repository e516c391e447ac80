"""What ``observe`` needs of an account: reading only. ``cloud`` provides it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from batchspec.plan.observed import (
    Account,
    Blob,
    JobFacts,
    PoolFacts,
    SupportedImage,
    TaskFacts,
)


class Reader(Protocol):
    """Reads of the Batch and Storage account. Absent is ``None``; refusals raise ServiceError."""

    @property
    def account(self) -> Account:
        """Which account this is."""
        ...

    async def container(self, name: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        ...

    def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; nothing if the container is not there."""
        ...

    async def pool(self, pool_id: str) -> PoolFacts | None:
        """The pool, or ``None``."""
        ...

    async def job(self, job_id: str) -> JobFacts | None:
        """The job, or ``None``."""
        ...

    def jobs(self, name: str) -> AsyncIterator[JobFacts]:
        """Every job whose id starts with ``name``."""
        ...

    def tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of a job, streamed, with only the fields of :class:`TaskFacts` read."""
        ...

    async def images(self) -> tuple[SupportedImage, ...]:
        """The account's supported images."""
        ...
