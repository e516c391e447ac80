"""One blob to one file, range by range, hashed while it is written.

All ranges are of the same version of the blob (If-Match), and what was written is held against the
length and, where the service keeps one, the MD5 that were listed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError

from batchspec.cloud.aside import aside
from batchspec.cloud.limiter import Timing
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.observed import Blob

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobServiceClient

RANGE = 8 * 1024 * 1024
_AHEAD = 4
_IN_FLIGHT = 16
_TRIES = 5


@dataclass(frozen=True, slots=True)
class _Range:
    data: bytes
    etag: str


class Downloads:
    """Downloads from one account. At most sixteen ranges are in memory, of all blobs together."""

    def __init__(
        self,
        service: BlobServiceClient,
        timing: Timing,
        delay: Callable[[int], float],
    ) -> None:
        self._service = service
        self._timing = timing
        self._delay = delay
        self._room = asyncio.Semaphore(_IN_FLIGHT)

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        """Write a blob to ``part``; its MD5.

        Raises:
            ServiceError: ``blob-damaged`` if what came is not what was listed; refusals.
            OSError: ``part`` cannot be written.
        """
        client = self._service.get_blob_client(container, blob.name)
        md5 = hashlib.md5(usedforsecurity=False)
        written = 0
        with await aside(0, part.open, "wb", buffering=0) as target:
            async with contextlib.aclosing(self._ranges(client, container, blob)) as ranges:
                async for data in ranges:
                    await aside(len(data), _write, target, data)
                    await aside(len(data), md5.update, data)
                    written += len(data)
                    moved(len(data))
        if written != blob.size:
            raise _damaged(container, blob, f"{written} bytes came, {blob.size} were listed")
        if blob.md5 is not None and md5.digest() != blob.md5:
            raise _damaged(container, blob, "its MD5 is not the one that was listed")
        return md5.digest()

    async def _ranges(
        self, client: BlobClient, container: str, blob: Blob
    ) -> AsyncGenerator[bytes, None]:
        """The ranges in order, some of them fetched ahead."""
        if blob.size == 0:
            return
        first = await self._range(client, container, blob, 0, None)
        etag = first.etag
        yield first.data
        del first
        coming: deque[asyncio.Task[_Range]] = deque()
        offsets = iter(range(RANGE, blob.size, RANGE))
        try:
            while True:
                while len(coming) < _AHEAD and (offset := next(offsets, None)) is not None:
                    fetch = self._held(client, container, blob, offset, etag)
                    coming.append(asyncio.create_task(fetch))
                if not coming:
                    return
                # Taken off when it is there: until then it is `_abandon` that would clear it up.
                data = (await coming[0]).data
                coming.popleft()
                try:
                    yield data
                finally:
                    del data
                    self._room.release()
        finally:
            await self._abandon(coming)

    async def _abandon(self, coming: deque[asyncio.Task[_Range]]) -> None:
        """Stop the fetches that nobody waits for, and give their places back."""
        for task in coming:
            task.cancel()
        for result in await asyncio.gather(*coming, return_exceptions=True):
            if isinstance(result, _Range):
                self._room.release()

    async def _held(
        self, client: BlobClient, container: str, blob: Blob, offset: int, etag: str
    ) -> _Range:
        """A range whose place in memory stays taken until its bytes are used."""
        await self._room.acquire()
        try:
            return await self._range(client, container, blob, offset, etag)
        except BaseException:
            self._room.release()
            raise

    async def _range(
        self, client: BlobClient, container: str, blob: Blob, offset: int, etag: str | None
    ) -> _Range:
        condition: dict[str, Any] = {}
        if etag is not None:
            condition = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
        length = min(RANGE, blob.size - offset)
        failures = 0
        while True:
            try:
                # As stored: a blob with a Content-Encoding would else be unpacked on the way, and
                # neither its length nor its MD5 would be the ones that were listed.
                found = await client.download_blob(offset, length, decompress=False, **condition)
                data = await found.readall()
            except AzureError as error:
                # A refusal is final; a connection that broke within the answer is not.
                failures += 1
                if getattr(error, "status_code", None) is not None or failures > _TRIES:
                    raise
                await self._timing.sleep(self._delay(failures))
                continue
            total = str(found.properties.content_range).rpartition("/")[2]
            if total != str(blob.size):
                raise _damaged(container, blob, f"it has {total} bytes, {blob.size} were listed")
            return _Range(data, str(found.properties.etag))


def _write(target: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def _damaged(container: str, blob: Blob, why: str) -> ServiceError:
    problem = Diagnostic(
        "blob-damaged",
        f"{container}/{blob.name} did not arrive as it was listed: {why}",
        fix="it may have been written to meanwhile: run the command again",
    )
    return ServiceError(problem, code="blob-damaged")
