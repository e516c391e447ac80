"""Upload and download of a blob. A file is hashed while it is read or written.

An upload is compared with the plan, and a download with the length and, if the service stores it,
the MD5 of the listing. A download is one stream. If it is interrupted, the rest of the same version
of the blob is requested (If-Match).

A small file is uploaded in one request. A larger one is sent in blocks, which are committed as a
blob only if the hash of the whole file is right, so that a changed file does not replace the blob.

The id of a block contains its index, size and MD5, and the service checks the MD5 of each block.
Uncommitted blocks of an interrupted upload are therefore used again if the file has the same
content; the service deletes the others when a block list is committed, or after a week (REST
reference, Put Block, "Remarks").
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from collections.abc import AsyncGenerator, Callable
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobBlock, ContentSettings

from batchspec.cloud.blob_requests import BlobRequests, BlobResponse
from batchspec.cloud.errors import error_response
from batchspec.cloud.timing import Timing
from batchspec.diagnostics import Diagnostic, ServiceError, SpecError
from batchspec.plan.observed import Blob, LocalFile, file_changed

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobServiceClient


P = ParamSpec("P")
T = TypeVar("T")

SMALL = 64 * 1024
"""In bytes. Work on at most this much takes less time than passing it to a thread."""


async def in_thread(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work``, which reads, writes or hashes ``size`` bytes; in a thread if they are many.

    A cancellation waits for the thread: a thread cannot be stopped, and the caller closes the file
    that the thread uses.
    """
    if size <= SMALL:
        return work(*args, **kwargs)
    return await _finished(asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs)))


async def _finished(running: asyncio.Future[T]) -> T:
    """The result of a call in a thread; a cancellation waits for its end, too."""
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        # asyncio prints exceptions that are not retrieved.
        running.exception()
        raise


PART = 1024 * 1024
"""In bytes. A download is written in parts of this size; 16 downloads at a time need 32 parts."""
_ATTEMPTS = 5


class Downloads:
    """Downloads from one account."""

    def __init__(
        self,
        requests: BlobRequests,
        timing: Timing,
        delay: Callable[[int], float],
    ) -> None:
        self._requests = requests
        self._timing = timing
        self._delay = delay

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        """Write a blob to the file ``part``; the MD5 of the file.

        Raises:
            ServiceError: refused; ``blob-damaged`` if the content differs from the listing.
            OSError: ``part`` cannot be written.
        """
        if blob.size <= SMALL:
            written, md5 = await self._download_small(container, blob, part, moved)
        else:
            written, md5 = await self._download_large(container, blob, part, moved)
        if written != blob.size:
            raise _mismatch(
                container, blob, f"{written} bytes arrived, and the listing has {blob.size}"
            )
        if blob.md5 is not None and md5 != blob.md5:
            raise _mismatch(container, blob, "its MD5 differs from that of the listing")
        return md5

    async def _download_small(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> tuple[int, bytes]:
        """Write a blob to ``part`` at once; its size and MD5."""
        with part.open("wb", buffering=0) as target:
            data = await self._read_small(container, blob)
            _write_all(target, data)
        moved(len(data))
        return len(data), hashlib.md5(data, usedforsecurity=False).digest()

    async def _read_small(self, container: str, blob: Blob) -> bytes:
        """The bytes of a blob, usually in one response."""
        if not blob.size:
            return b""
        response = await self._requests.get(container, blob.name)
        try:
            _check_length(container, blob, response, 0)
            return await response.read()
        except AzureError:
            pass
        finally:
            await response.close()
        await self._timing.sleep(self._delay(1))
        async with contextlib.aclosing(self._parts(container, blob, failures=1)) as parts:
            return b"".join([piece async for pieces in parts for piece in pieces])

    async def _download_large(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> tuple[int, bytes]:
        """Write a blob to ``part`` while it arrives; its size and MD5."""
        written = 0
        with part.open("wb", buffering=0) as target:
            async with (
                contextlib.aclosing(self._parts(container, blob)) as parts,
                PartWriter(target) as writer,
            ):
                async for data in parts:
                    size = sum(map(len, data))
                    await writer.write(data, size)
                    written += size
                    moved(size)
        return written, writer.md5.digest()

    async def _parts(
        self, container: str, blob: Blob, failures: int = 0
    ) -> AsyncGenerator[list[bytes], None]:
        """The bytes of a blob, about one MiB at a time, of one version of it."""
        start, etag = 0, ""
        while start < blob.size:
            arrived = start
            try:
                async with contextlib.aclosing(self._stream(container, blob, start, etag)) as parts:
                    async for version, data in parts:
                        etag = version
                        start += sum(map(len, data))
                        yield data
                return
            except AzureError as error:
                # An error of the service is final. An interrupted response is requested again, up
                # to five times without progress.
                failures = 1 if start > arrived else failures + 1
                if getattr(error, "status_code", None) is not None or failures > _ATTEMPTS:
                    raise
            await self._timing.sleep(self._delay(failures))

    async def _stream(
        self, container: str, blob: Blob, start: int, etag: str
    ) -> AsyncGenerator[tuple[str, list[bytes]], None]:
        """The bytes of one response from ``start`` on, each part with the ETag of the blob."""
        response = await self._requests.get(container, blob.name, start=start, etag=etag)
        try:
            _check_length(container, blob, response, start)
            etag = response.headers["ETag"]
            waiting: list[bytes] = []
            size = 0
            while data := await response.read_part():
                waiting.append(data)
                size += len(data)
                if size >= PART:
                    yield etag, waiting
                    waiting, size = [], 0
            if waiting:
                yield etag, waiting
        finally:
            await response.close()


def _check_length(container: str, blob: Blob, response: BlobResponse, start: int) -> None:
    """Raise ServiceError unless a response from ``start`` on ends at the end of the blob."""
    length = start + int(response.headers.get("Content-Length", -1))
    if length != blob.size:
        raise _mismatch(container, blob, f"it has {length} bytes, and the listing has {blob.size}")


class PartWriter:
    """Writes the parts of a download and hashes them, in order, while the next part arrives.

    As a context manager, it waits at the end for the part that is being written.
    """

    def __init__(self, target: FileIO) -> None:
        self.md5 = hashlib.md5(usedforsecurity=False)
        self._target = target
        self._writing: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            await self._written()
        except OSError:
            # The first error is the cause.
            if error is None:
                raise

    async def write(self, data: list[bytes], size: int) -> None:
        """Write a part of ``size`` bytes after the part before it; returns before it is written.

        Raises:
            OSError: the part before it was not written, or this one if it is small.
        """
        await self._written()
        if size <= SMALL:
            self._write(data)
        else:
            self._writing = asyncio.ensure_future(asyncio.to_thread(self._write, data))

    async def _written(self) -> None:
        writing, self._writing = self._writing, None
        if writing is not None:
            await _finished(writing)

    def _write(self, data: list[bytes]) -> None:
        for piece in data:
            self.md5.update(piece)
            _write_all(self._target, piece)


def _write_all(target: FileIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[target.write(view) :]


def _mismatch(container: str, blob: Blob, reason: str) -> ServiceError:
    problem = Diagnostic(
        "blob-damaged",
        f"{container}/{blob.name}: the downloaded content differs from the listing: {reason}",
        fix="Run the command again; another client may have written to the blob.",
    )
    return ServiceError(problem, code="blob-damaged")


BLOCK = 8 * 1024 * 1024
"""In bytes. A file of up to this size is sent in one request, a larger one in blocks.

The blocks have this size, or more if there would be too many.
"""

MOST_BLOCKS = 50_000
"""The highest number of blocks of a blob."""

_BLOCKS_IN_FLIGHT = 8


class Uploads:
    """Uploads to one account. At most eight blocks of all files together are in memory."""

    def __init__(self, service: BlobServiceClient, requests: BlobRequests) -> None:
        self._service = service
        self._requests = requests
        self._slots = asyncio.Semaphore(_BLOCKS_IN_FLIGHT)

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> bool:
        """Upload a file; ``moved`` is called with the number of bytes of each completed part.

        Returns:
            ``False`` if ``cancelled`` was true before all blocks were sent; blocks in progress were
            sent completely.
        """
        check_blob_name(file.blob)
        source = await in_thread(file.size, _open, file)
        try:
            if file.size <= BLOCK:
                await self._upload_at_once(container, file, source)
                moved(file.size)
                return True
            client = self._service.get_blob_client(container, file.blob)
            return await self._upload_blocks(client, file, source, moved, cancelled)
        finally:
            source.close()

    async def _upload_at_once(self, container: str, file: LocalFile, source: FileIO) -> None:
        async with self._slots if file.size > SMALL else contextlib.nullcontext():
            # One byte more than expected, to detect that the file has grown.
            data = await in_thread(file.size, _read, file, source, file.size + 1)
            md5 = hashlib.md5(usedforsecurity=False)
            await in_thread(len(data), md5.update, data)
            _check(file, len(data), md5.digest())
            await self._requests.put(container, file, data)

    async def _upload_blocks(
        self,
        client: BlobClient,
        file: LocalFile,
        source: FileIO,
        moved: Callable[[int], None],
        cancelled: Callable[[], bool],
    ) -> bool:
        """Read the blocks in order, stage them concurrently, and commit them.

        ``False`` if ``cancelled`` was true before all were read.

        ``upload_blob`` of the SDK is not used, because it does not stop the other blocks when one
        fails or when it is cancelled.
        """
        staged = await _uncommitted_blocks(client)
        group = asyncio.TaskGroup()

        def stage(block: str, data: bytes) -> asyncio.Task[None] | None:
            if block not in staged:
                return group.create_task(_stage(client, block, data, moved))
            moved(len(data))
            return None

        try:
            async with group:
                ids = await self._stage_all(file, source, stage, cancelled)
        except BaseExceptionGroup as failures:
            # The first failure; it cancelled the others.
            raise failures.exceptions[0] from None
        if ids is None:
            return False
        await client.commit_block_list(
            [BlobBlock(block_id) for block_id in ids],
            content_settings=_settings(file),
            validate_content=True,
        )
        return True

    async def _stage_all(
        self,
        file: LocalFile,
        source: FileIO,
        stage: Callable[[str, bytes], asyncio.Task[None] | None],
        cancelled: Callable[[], bool],
    ) -> list[str] | None:
        """Read the file and ``stage`` each block, which returns a task if the block is sent.

        Returns:
            The ids of all blocks; ``None`` if ``cancelled`` was true before the end.
        """
        block_size = max(BLOCK, -(-file.size // MOST_BLOCKS))
        md5 = hashlib.md5(usedforsecurity=False)
        ids: list[str] = []
        size = 0
        while size <= file.size:
            await self._slots.acquire()
            staging: asyncio.Task[None] | None = None
            try:
                if cancelled():
                    return None
                data = await in_thread(block_size, _read, file, source, block_size)
                block = await in_thread(len(data), _block_id, len(ids), data)
                await in_thread(len(data), md5.update, data)
                size += len(data)
                if not data:
                    break
                ids.append(block)
                staging = stage(block, data)
                if staging is not None:
                    # A block occupies its slot until its task ends, also if the task is cancelled
                    # before it starts.
                    staging.add_done_callback(lambda _: self._slots.release())
            finally:
                if staging is None:
                    self._slots.release()
        _check(file, size, md5.digest())
        return ids


async def _uncommitted_blocks(client: BlobClient) -> frozenset[str]:
    """The ids of the uncommitted blocks of a blob."""
    try:
        _, blocks = await client.get_block_list("uncommitted")
    except HttpResponseError as error:
        if error_response(error).status == 404:
            return frozenset()
        raise
    return frozenset(block.id for block in blocks)


async def _stage(
    client: BlobClient, block_id: str, data: bytes, moved: Callable[[int], None]
) -> None:
    await client.stage_block(block_id, data, length=len(data), validate_content=True)
    moved(len(data))


def _open(file: LocalFile) -> FileIO:
    try:
        return FileIO(file.location)
    except OSError as error:
        raise file_changed(file, error.strerror or str(error)) from None


def _read(file: LocalFile, source: FileIO, size: int) -> bytes:
    parts: list[bytes] = []
    try:
        while size > 0 and (part := source.read(size)):
            parts.append(part)
            size -= len(part)
    except OSError as error:
        raise file_changed(file, error.strerror or str(error)) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check(file: LocalFile, size: int, md5: bytes) -> None:
    if size != file.size:
        more = "has grown" if size > file.size else f"has shrunk to {size} bytes"
        raise file_changed(file, f"its size was {file.size} bytes in the plan, and it {more} since")
    if md5 != file.md5:
        raise file_changed(file, "its content has changed")


def _settings(file: LocalFile) -> ContentSettings:
    return ContentSettings(content_type=file.content_type, content_md5=bytearray(file.md5))


def _block_id(index: int, data: bytes) -> str:
    """The id of a block: its index, its size and its MD5.

    The SDK encodes it. All block ids of a blob must have the same length, including those of
    uncommitted blocks of other clients: 48 characters, as in uploads of the SDK
    (azure-storage-blob 12.28).
    """
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return f"{index:06d}-{len(data):08x}-{md5}"


# Names of blobs, checked before a request is sent. Storage refuses some names late and without a
# clear message, and accepts others that cannot be read: Azurite stores a control character and
# answers every later listing with 500, HTTP clients remove a `..` segment, and Azure replaces a
# backslash with a slash.

LONGEST = 1024
DEEPEST = 254

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ufffe\uffff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def check_blob_name(name: str) -> None:
    """Raise SpecError ``blob-name`` if a blob cannot have this name."""
    reason = _invalid_name(name)
    if reason:
        shown = name.encode("unicode_escape", "backslashreplace").decode("ascii")
        raise SpecError(
            Diagnostic(
                "blob-name",
                f"a blob cannot have the name {shown[:200]!r}: {reason}",
                fix="Rename the file, or set another `path`",
            )
        )


def _invalid_name(name: str) -> str:
    segments = name.split("/")
    reasons = (
        (not name, "it is empty"),
        (len(name) > LONGEST, f"it has {len(name)} characters, and the limit is {LONGEST}"),
        (_SURROGATE.search(name), "it is not valid Unicode"),
        (_CONTROL.search(name), "it contains a control character"),
        ("\\" in name, "it contains a backslash"),
        ("." in segments or ".." in segments, "a segment is . or .."),
        (len(segments) > DEEPEST, f"it has {len(segments)} segments, and the limit is {DEEPEST}"),
    )
    return next((reason for applies, reason in reasons if applies), "")
