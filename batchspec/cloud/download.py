"""Download of a blob to a file, range by range, hashed while it is written.

All ranges are of the same version of the blob (If-Match). The result is compared with the length
and, if the service stores it, the MD5 of the listing.
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

from batchspec.cloud.rate_limiter import Timing
from batchspec.cloud.thread import in_thread
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.observed import Blob

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobServiceClient

RANGE = 8 * 1024 * 1024
_AHEAD = 4
_IN_FLIGHT = 16
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class _Range:
    data: bytes
    etag: str


class Downloads:
    """Downloads from one account. At most 16 ranges of all blobs together are in memory."""

    def __init__(
        self,
        service: BlobServiceClient,
        timing: Timing,
        delay: Callable[[int], float],
    ) -> None:
        self._service = service
        self._timing = timing
        self._delay = delay
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        """Write a blob to the file ``part``; the MD5 of the file.

        Raises:
            ServiceError: refused; ``blob-damaged`` if the content differs from the listing.
            OSError: ``part`` cannot be written.
        """
        client = self._service.get_blob_client(container, blob.name)
        md5 = hashlib.md5(usedforsecurity=False)
        written = 0
        with await in_thread(0, part.open, "wb", buffering=0) as target:
            async with contextlib.aclosing(self._ranges(client, container, blob)) as ranges:
                async for data in ranges:
                    await in_thread(len(data), _write, target, data)
                    await in_thread(len(data), md5.update, data)
                    written += len(data)
                    moved(len(data))
        if written != blob.size:
            raise _mismatch(
                container, blob, f"{written} bytes arrived, and the listing has {blob.size}"
            )
        if blob.md5 is not None and md5.digest() != blob.md5:
            raise _mismatch(container, blob, "its MD5 differs from that of the listing")
        return md5.digest()

    async def _ranges(
        self, client: BlobClient, container: str, blob: Blob
    ) -> AsyncGenerator[bytes, None]:
        """The ranges in order; the next ones are requested in advance."""
        if blob.size == 0:
            return
        first = await self._range(client, container, blob, 0, None)
        etag = first.etag
        yield first.data
        del first
        pending: deque[asyncio.Task[_Range]] = deque()
        offsets = iter(range(RANGE, blob.size, RANGE))
        try:
            while True:
                while len(pending) < _AHEAD and (offset := next(offsets, None)) is not None:
                    fetch = self._fetch_in_slot(client, container, blob, offset, etag)
                    pending.append(asyncio.create_task(fetch))
                if not pending:
                    return
                # Removed only when it has arrived: until then, `_cancel` has to stop it.
                data = (await pending[0]).data
                pending.popleft()
                try:
                    yield data
                finally:
                    del data
                    self._slots.release()
        finally:
            await self._cancel(pending)

    async def _cancel(self, pending: deque[asyncio.Task[_Range]]) -> None:
        """Cancel requests whose results are not needed, and release their slots."""
        for task in pending:
            task.cancel()
        for result in await asyncio.gather(*pending, return_exceptions=True):
            if isinstance(result, _Range):
                self._slots.release()

    async def _fetch_in_slot(
        self, client: BlobClient, container: str, blob: Blob, offset: int, etag: str
    ) -> _Range:
        """A range; its slot stays occupied until its bytes are used."""
        await self._slots.acquire()
        try:
            return await self._range(client, container, blob, offset, etag)
        except BaseException:
            self._slots.release()
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
                # Without decompression: the listing has the length and the MD5 of the stored bytes,
                # also for a blob with a Content-Encoding.
                answer = await client.download_blob(offset, length, decompress=False, **condition)
                data = await answer.readall()
            except AzureError as error:
                # An error of the service is final; an interrupted answer is not.
                failures += 1
                if getattr(error, "status_code", None) is not None or failures > _ATTEMPTS:
                    raise
                await self._timing.sleep(self._delay(failures))
                continue
            total = str(answer.properties.content_range).rpartition("/")[2]
            if total != str(blob.size):
                raise _mismatch(
                    container, blob, f"it has {total} bytes, and the listing has {blob.size}"
                )
            return _Range(data, str(answer.properties.etag))


def _write(target: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def _mismatch(container: str, blob: Blob, reason: str) -> ServiceError:
    problem = Diagnostic(
        "blob-damaged",
        f"{container}/{blob.name}: the downloaded content differs from the listing: {reason}",
        fix="run the command again; another client may have written to the blob",
    )
    return ServiceError(problem, code="blob-damaged")
