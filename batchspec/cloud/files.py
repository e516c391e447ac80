"""Parts of the files of tasks and nodes: the end of a file, or a range of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from azure.batch.models import BatchFileProperties
from azure.core.exceptions import AzureError

from batchspec.cloud.errors import translate
from batchspec.cloud.rest import BatchConnection, status_code
from batchspec.observe.ports import Part

_NO_FILE = (404, 409, 416)
"""404: the file, task or node does not exist. 409: the task has not run yet, its files were
deleted, or its node left the pool. 416: the file has become shorter. The status decides, because
the answer to HEAD has no body and no error code."""

_ATTEMPTS = 4


class Files(BatchConnection):
    """Files: a part of :class:`batchspec.apply.ports.Batch`."""

    __slots__ = ()

    async def node_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a node; empty if it does not exist."""
        return _end(await self._part(self._node_file(pool_id, node, path), _last(size)), size)

    async def task_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a task; empty if it does not exist."""
        return _end(await self._part(self._task_file(job_id, task, path), _last(size)), size)

    async def node_file(
        self, pool_id: str, node: str, path: str, start: int, most: int
    ) -> Part | None:
        """Up to ``most`` bytes of a file of a node from ``start``; ``None`` if it is missing."""
        return await self._part(self._node_file(pool_id, node, path), _from(start, most))

    async def task_file(
        self, job_id: str, task: str, path: str, start: int, most: int
    ) -> Part | None:
        """Up to ``most`` bytes of a file of a task from ``start``; ``None`` if it is missing."""
        return await self._part(self._task_file(job_id, task, path), _from(start, most))

    def _node_file(self, pool_id: str, node: str, path: str) -> _File:
        return _File(
            f"{path} of node {node}",
            lambda: self.client.get_node_file_properties(pool_id, node, path),
            lambda **options: self.client.download_node_file(pool_id, node, path, **options),
        )

    def _task_file(self, job_id: str, task: str, path: str) -> _File:
        return _File(
            f"{path} of task {task}",
            lambda: self.client.get_task_file_properties(job_id, task, path),
            lambda **options: self.client.download_task_file(job_id, task, path, **options),
        )

    async def _part(self, file: _File, requested: Callable[[int], range]) -> Part | None:
        """The bytes of a file that ``requested`` selects by its length; ``None`` without a file."""
        failures = 0
        while True:
            try:
                length = int((await file.properties()).content_length or 0)
                span = requested(length)
                if not span:
                    return Part(b"", length)
                # The REST reference has bytes=FROM-TO only, not bytes=-N.
                partial = len(span) < length
                option = {"ocp_range": f"bytes={span.start}-{span.stop - 1}"} if partial else {}
                data = b"".join([part async for part in await file.download(**option)])
            except AzureError as error:
                if status_code(error) in _NO_FILE:
                    return None
                failures += 1
                # An error of the service is final; an interrupted answer is repeated.
                if status_code(error) or failures >= _ATTEMPTS:
                    raise translate(error, file.subject) from None
                await self.timing.sleep(self.limiter.backoff(failures))
                continue
            return Part(data, max(length, span.start + len(data)))


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a task or of a node: the requests for its properties and its content."""

    subject: str
    properties: Callable[[], Awaitable[BatchFileProperties]]
    download: Callable[..., Awaitable[AsyncIterator[bytes]]]


def _last(size: int) -> Callable[[int], range]:
    return lambda length: range(max(0, length - size), length)


def _from(start: int, most: int) -> Callable[[int], range]:
    return lambda length: range(start, min(length, start + most))


def _end(part: Part | None, size: int) -> str:
    if part is None:
        return ""
    return _text(part.data[-size:], cut=part.length > size)


def _text(data: bytes, *, cut: bool) -> str:
    if cut:
        # The range may start within a character: remove up to three continuation bytes.
        for _ in range(3):
            if not data or data[0] & 0xC0 != 0x80:
                break
            data = data[1:]
    return data.decode("utf-8", "replace")
