"""Parts of files of tasks and nodes: the end, or what came since; never more than is shown."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from azure.batch.models import BatchFileProperties
from azure.core.exceptions import AzureError

from batchspec.cloud.errors import translate
from batchspec.cloud.session import Session
from batchspec.cloud.wire import status_of
from batchspec.observe.ports import Part

_NO_FILE = (404, 409, 416)
"""No file, task or node of that name; the task did not run yet, its files were cleaned up, or its
node is gone; the file was cut short meanwhile. The status decides: a HEAD that is refused has no
body, and so no code."""

_TRIES = 4


class Files(Session):
    """The part of the Batch port that is about files."""

    __slots__ = ()

    async def node_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a node; empty where there is none."""
        return _end(await self._part(self._of_node(pool_id, node, path), _last(size)), size)

    async def task_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a task; empty where there is none."""
        return _end(await self._part(self._of_task(job_id, task, path), _last(size)), size)

    async def node_file(
        self, pool_id: str, node: str, path: str, start: int, most: int
    ) -> Part | None:
        """At most ``most`` bytes of a file of a node from ``start`` on; ``None`` without a file."""
        return await self._part(self._of_node(pool_id, node, path), _from(start, most))

    async def task_file(
        self, job_id: str, task: str, path: str, start: int, most: int
    ) -> Part | None:
        """At most ``most`` bytes of a file of a task from ``start`` on; ``None`` without a file."""
        return await self._part(self._of_task(job_id, task, path), _from(start, most))

    def _of_node(self, pool_id: str, node: str, path: str) -> _File:
        return _File(
            f"{path} of node {node}",
            lambda: self.client.get_node_file_properties(pool_id, node, path),
            lambda **more: self.client.download_node_file(pool_id, node, path, **more),
        )

    def _of_task(self, job_id: str, task: str, path: str) -> _File:
        return _File(
            f"{path} of task {task}",
            lambda: self.client.get_task_file_properties(job_id, task, path),
            lambda **more: self.client.download_task_file(job_id, task, path, **more),
        )

    async def _part(self, file: _File, wanted: Callable[[int], range]) -> Part | None:
        """The bytes that ``wanted`` names, given the length of the file; ``None`` without one."""
        failures = 0
        while True:
            try:
                length = int((await file.measure()).content_length or 0)
                span = wanted(length)
                if not span:
                    return Part(b"", length)
                # `bytes=-N` is not in the reference; from-to is.
                some = len(span) < length
                between = {"ocp_range": f"bytes={span.start}-{span.stop - 1}"} if some else {}
                data = b"".join([part async for part in await file.fetch(**between)])
            except AzureError as error:
                if status_of(error) in _NO_FILE:
                    return None
                failures += 1
                # A refusal is final; an answer that broke off is asked for again.
                if status_of(error) or failures >= _TRIES:
                    raise translate(error, file.subject) from None
                await self.timing.sleep(self.limiter.delay(failures))
                continue
            return Part(data, max(length, span.start + len(data)))


@dataclass(frozen=True, slots=True)
class _File:
    """A file of a task or of a node: how to ask for its length, and for its bytes."""

    subject: str
    measure: Callable[[], Awaitable[BatchFileProperties]]
    fetch: Callable[..., Awaitable[AsyncIterator[bytes]]]


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
        # The first character may have lost its head: drop up to three continuation bytes.
        for _ in range(3):
            if not data or data[0] & 0xC0 != 0x80:
                break
            data = data[1:]
    return data.decode("utf-8", "replace")
