"""The ends of files of tasks and nodes: as many bytes as are shown, never whole files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from azure.batch.models import BatchFileProperties
from azure.core.exceptions import AzureError

from batchspec.cloud.errors import translate
from batchspec.cloud.session import Session
from batchspec.cloud.wire import code_of, status_of

_NO_FILE = frozenset(
    {
        "TaskFilesUnavailable",
        "TaskFilesCleanedup",
        "NodeStateUnusable",
        "OperationInvalidForCurrentState",
        "OperationNotValidOnNode",
        "InvalidRange",
    }
)
"""Besides 404: the task did not run yet, its files are gone, or its node is."""

_TRIES = 4


class Files(Session):
    """The part of the Batch port that is about files."""

    __slots__ = ()

    async def node_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a node; empty where there is none."""
        return await self._tail(
            f"{path} of node {node}",
            size,
            lambda: self.client.get_node_file_properties(pool_id, node, path),
            lambda **more: self.client.download_node_file(pool_id, node, path, **more),
        )

    async def task_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
        """The last ``size`` bytes of a file of a task; empty where there is none."""
        return await self._tail(
            f"{path} of task {task}",
            size,
            lambda: self.client.get_task_file_properties(job_id, task, path),
            lambda **more: self.client.download_task_file(job_id, task, path, **more),
        )

    async def _tail(
        self,
        subject: str,
        size: int,
        measure: Callable[[], Awaitable[BatchFileProperties]],
        fetch: Callable[..., Awaitable[AsyncIterator[bytes]]],
    ) -> str:
        failures = 0
        while True:
            try:
                length = int((await measure()).content_length or 0)
                if not length or size <= 0:
                    return ""
                start = max(0, length - size)
                # `bytes=-N` is not in the reference; from-to is.
                wanted = {"ocp_range": f"bytes={start}-{length - 1}"} if start else {}
                data = b"".join([part async for part in await fetch(**wanted)])
            except AzureError as error:
                if status_of(error) == 404 or code_of(error) in _NO_FILE or _silent(error):
                    return ""
                failures += 1
                # A refusal is final; an answer that broke off is asked for again.
                if status_of(error) or failures >= _TRIES:
                    raise translate(error, subject) from None
                await self.timing.sleep(self.limiter.delay(failures))
                continue
            return _text(data[-size:], cut=start > 0 or len(data) > size)


def _silent(error: AzureError) -> bool:
    """A HEAD request that is refused has no body and so no code; 409 and 416 are ours to know."""
    return status_of(error) in (409, 416)


def _text(data: bytes, *, cut: bool) -> str:
    if cut:
        # The first character may have lost its head: drop up to three continuation bytes.
        for _ in range(3):
            if not data or data[0] & 0xC0 != 0x80:
                break
            data = data[1:]
    return data.decode("utf-8", "replace")
