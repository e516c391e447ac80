"""The protocols with which ``observe`` reads an account; ``cloud`` implements them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes of a file; ``length`` is the present length of the whole file."""

    data: bytes
    length: int


@dataclass(frozen=True, slots=True)
class TaskSeen:
    """One task, with the location of its logs.

    ``kept`` is the container and folder to which stdout and stderr are uploaded when the task ends;
    ``None`` if they are not.
    """

    facts: TaskFacts
    kept: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """A node of a pool: its state, and exit code and failure message of its start task."""

    id: str
    state: str
    exit_code: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ContainerSeen:
    """A container of the account, with its metadata; ``modified`` is when it was last changed."""

    name: str
    metadata: Mapping[str, str]
    modified: datetime | None = None


class Reader(Protocol):
    """Reads of the Batch and Storage account. Absent is ``None``; refusals raise ServiceError."""

    @property
    def account(self) -> Account:
        """Which account this is."""
        ...

    def now(self) -> datetime:
        """The time at the Batch service (UTC), from the ``Date`` header of its latest response."""
        ...

    async def container(self, name: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        ...

    def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; nothing if the container does not exist."""
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

    async def schedule(self, schedule_id: str) -> ScheduleFacts | None:
        """The job schedule, or ``None``."""
        ...

    def tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of a job, streamed, with only the fields of :class:`TaskFacts` read."""
        ...

    async def images(self) -> tuple[SupportedImage, ...]:
        """The account's supported images."""
        ...

    async def applications(self) -> Mapping[str, tuple[str, ...]]:
        """The versions of the account's application packages, by the id of the application."""
        ...

    async def usage(self) -> Usage:
        """How many pools and active jobs the account has."""
        ...


class Outputs(Protocol):
    """What tasks and start tasks have written, on the node and in the account."""

    async def task(self, job_id: str, task_id: str) -> TaskSeen | None:
        """The task, or ``None``."""
        ...

    def tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """Every task of a job, streamed; nothing if the job does not exist."""
        ...

    def failed_tasks(self, job_id: str) -> AsyncIterator[TaskFacts]:
        """The completed tasks that failed, streamed, filtered by the service."""
        ...

    def nodes(self, pool_id: str) -> AsyncIterator[NodeSeen]:
        """The nodes of a pool, streamed; nothing if the pool does not exist."""
        ...

    async def task_file(
        self, job_id: str, task: str, path: str, start: int, most: int
    ) -> Part | None:
        """At most ``most`` bytes of a file of a task from ``start`` on; ``None`` without a file."""
        ...

    async def node_file(
        self, pool_id: str, node: str, path: str, start: int, most: int
    ) -> Part | None:
        """At most ``most`` bytes of a file of a node from ``start`` on; ``None`` without a file."""
        ...

    def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """The blobs of a container, streamed; nothing if the container does not exist."""
        ...

    async def blob_part(self, container: str, blob: str, start: int, most: int) -> Part | None:
        """At most ``most`` bytes of a blob from ``start`` on; ``None`` without a blob."""
        ...


class Inventory(Protocol):
    """Everything in an account, including resources that batchspec did not create."""

    def pools(self) -> AsyncIterator[PoolFacts]:
        """Every pool."""
        ...

    def jobs(self, name: str) -> AsyncIterator[JobFacts]:
        """Every job whose id starts with ``name``."""
        ...

    def schedules(self) -> AsyncIterator[ScheduleFacts]:
        """Every job schedule."""
        ...

    def containers(self) -> AsyncIterator[ContainerSeen]:
        """Every container."""
        ...
