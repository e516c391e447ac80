"""The files of a run: blobs of the containers of a spec, files of tasks and files of nodes.

A path is ``SOURCE[/NAME]``. The source is a container (its name in the spec, or its id), or a task
or node (its id, or a unique part of it).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from enum import StrEnum

from batchspec.account import Account, FilePart
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.frozen import frozen
from batchspec.observe.account import counted_jobs, jobs_of
from batchspec.observe.task_output import TaskInJob, find_task, get_task, pool_of
from batchspec.plan.observed import JobFacts
from batchspec.spec import Spec

_PART = 4 << 20
"""Bytes read at once."""
_SHOWN = 5


class SourceKind(StrEnum):
    """The kind of object to which files belong."""

    CONTAINER = "container"
    TASK = "task"
    NODE = "node"


@frozen
class StoredFile:
    """A file or blob: ``size`` in bytes, ``modified`` (UTC) if it is known."""

    name: str
    size: int
    modified: datetime | None = None


@frozen
class FileSource:
    """A container, or a task of the job ``parent``, or a node of the pool ``parent``."""

    kind: SourceKind
    id: str
    parent: str = ""

    async def list(self, account: Account, prefix: str = "") -> AsyncIterator[StoredFile]:
        """The files whose names start with ``prefix``."""
        match self.kind:
            case SourceKind.CONTAINER:
                async for blob in account.blobs.list(self.id, prefix):
                    yield StoredFile(blob.name, blob.size, blob.modified)
                return
            case SourceKind.TASK:
                files = account.tasks.list_files(self.parent, self.id)
            case SourceKind.NODE:
                files = account.nodes.list_files(self.parent, self.id)
        async for file in files:
            if file.name.startswith(prefix):
                yield StoredFile(file.name, file.size, file.modified)

    async def read(self, account: Account, name: str) -> AsyncIterator[bytes]:
        """The content of a file, up to its length at the first read.

        Raises:
            UsageError: there is no such file.
        """
        part = await self._part(account, name, 0) if name else None
        if part is None:
            raise UsageError(await self._no_file(account, name))
        start, length = 0, part.length
        while part is not None and part.data:
            yield part.data[: length - start]
            start += len(part.data)
            part = await self._part(account, name, start) if start < length else None

    async def _part(self, account: Account, name: str, start: int) -> FilePart | None:
        match self.kind:
            case SourceKind.CONTAINER:
                return await account.blobs.get_part(self.id, name, start, _PART)
            case SourceKind.TASK:
                return await account.tasks.get_file(self.parent, self.id, name, start, _PART)
            case SourceKind.NODE:
                return await account.nodes.get_file(self.parent, self.id, name, start, _PART)

    async def _no_file(self, account: Account, name: str) -> Diagnostic:
        """The error, with files whose paths start with the name."""
        below: list[str] = []
        async for file in self.list(account, f"{name}/" if name else ""):
            below.append(f"{self.id}/{file.name}")
            if len(below) == _SHOWN:
                break
        if below:
            summary = f"{name or self.id!r} is not one file of the {self.kind} {self.id!r}"
            return Diagnostic("no-such-file", summary, detail="\n".join(below), fix="Name one.")
        return Diagnostic(
            "no-such-file",
            f"there is no {'blob' if self.kind is SourceKind.CONTAINER else 'file'} {name!r} "
            f"in the {self.kind} {self.id!r}",
            fix=f"`batchspec ls SPEC {self.id}` lists them.",
        )


def containers_of(spec: Spec) -> Sequence[tuple[str, str]]:
    """The name in the spec and the id of each container."""
    return [(container.key, container.id) for container in spec.containers.values()]


async def _task(jobs: tuple[JobFacts, ...], account: Account, name: str) -> TaskInJob | None:
    """The task with this id or part of an id; ``None`` if there is none.

    Raises:
        UsageError: there are several.
    """
    try:
        return await find_task(jobs, account, name)
    except UsageError as error:
        if error.problems[0].code != "no-such-task":
            raise
        return None


def _of_task(task: TaskInJob) -> FileSource:
    return FileSource(SourceKind.TASK, task.seen.facts.id, task.job)


async def find_source(spec: Spec, account: Account, name: str) -> FileSource:
    """The container, task or node with this name.

    Raises:
        UsageError: there is none, or there are several.
    """
    for key, container_id in containers_of(spec):
        if name in {key, container_id}:
            return FileSource(SourceKind.CONTAINER, container_id)
    jobs = await jobs_of(spec, account)
    # Any short task id may be a part of a node id, which is hexadecimal.
    for searched in (counted_jobs(jobs), jobs):
        if (task := await get_task(searched, account, name)) is not None:
            return _of_task(task)
    pool, nodes = pool_of(spec, jobs), list[str]()
    if pool is not None:
        listed = [node.id async for node in account.nodes.list(pool, missing_ok=True)]
        nodes = [node for node in listed if name.lower() in node.lower()]
        if len(nodes) == 1:
            return FileSource(SourceKind.NODE, nodes[0], pool)
    # Jobs that count come first: earlier ones have tasks with similar ids.
    for searched in (counted_jobs(jobs), jobs):
        task = await _task(searched, account, name)
        if task is not None:
            return _of_task(task)
    if nodes:
        raise UsageError(
            Diagnostic(
                "several-nodes",
                f"{len(nodes):,} nodes contain {name!r} in their ids",
                detail="\n".join(nodes[:_SHOWN]),
                fix="Name one of them.",
            )
        )
    known = ", ".join(key for key, _ in containers_of(spec))
    raise UsageError(
        Diagnostic(
            "no-such-source",
            f"{name!r} is not a container of the spec, and not a task or node of the run",
            detail=f"Containers: {known}." if known else "",
            fix="`batchspec ls SPEC` lists the containers, `batchspec status SPEC --tasks all` the "
            "tasks.",
        )
    )
