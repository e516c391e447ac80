"""Parts of the files of tasks and nodes: the end of a file, or a range of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from azure.batch.models import BatchFileProperties
from azure.core.exceptions import AzureError

from batchspec.account import FilePart
from batchspec.cloud.errors import translate
from batchspec.cloud.rest import BatchConnection, status_code

_NO_FILE = (404, 409, 416)
"""404: the file, task or node does not exist. 409: the task has not run yet, its files were
deleted, or its node left the pool. 416: the file has become shorter. The status decides, because
the answer to HEAD has no body and no error code."""

_ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file of a task or of a node: the requests for its properties and its content."""

    subject: str
    properties: Callable[[], Awaitable[BatchFileProperties]]
    download: Callable[..., Awaitable[AsyncIterator[bytes]]]


async def read_part(
    connection: BatchConnection, file: RemoteFile, start: int, size: int
) -> FilePart | None:
    """Up to ``size`` bytes of a file from ``start``; ``None`` if it does not exist."""
    return await _read(connection, file, lambda length: range(start, min(length, start + size)))


async def read_tail(connection: BatchConnection, file: RemoteFile, size: int) -> str:
    """The last ``size`` bytes of a file as text; empty if it does not exist."""
    part = await _read(connection, file, lambda length: range(max(0, length - size), length))
    return _text(part.data[-size:], cut=part.length > size) if part is not None else ""


async def _read(
    connection: BatchConnection, file: RemoteFile, requested: Callable[[int], range]
) -> FilePart | None:
    """The bytes of a file that ``requested`` selects by its length; ``None`` without a file."""
    failures = 0
    while True:
        try:
            length = int((await file.properties()).content_length or 0)
            span = requested(length)
            if not span:
                return FilePart(b"", length)
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
            await connection.timing.sleep(connection.limiter.backoff(failures))
            continue
        return FilePart(data, max(length, span.start + len(data)))


def _text(data: bytes, *, cut: bool) -> str:
    if cut:
        # The range may start within a character: remove up to three continuation bytes.
        for _ in range(3):
            if not data or data[0] & 0xC0 != 0x80:
                break
            data = data[1:]
    return data.decode("utf-8", "replace")
