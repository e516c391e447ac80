"""Upload of a file to a blob. The file is hashed while it is read and compared with the plan.

A small file is one request. A larger one is sent in blocks, which are committed as a blob only if
the hash of the whole file is right, so that a file that has changed does not replace the blob.

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
from collections.abc import Callable
from io import FileIO
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, ContentSettings

from batchspec.apply import Cancellation, RunCancelled
from batchspec.cloud.errors import error_response
from batchspec.cloud.thread import SMALL, in_thread
from batchspec.diagnostics import Diagnostic, SpecError, StalePlanError
from batchspec.plan.observed import LocalFile

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobServiceClient

BLOCK = 8 * 1024 * 1024
"""In bytes. A file of up to this size is one request; a larger one has blocks of at least it."""

MOST_BLOCKS = 50_000
"""The highest number of blocks of a blob."""

_IN_FLIGHT = 8


class Uploads:
    """Uploads to one account. At most eight blocks of all files together are in memory."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._slots = asyncio.Semaphore(_IN_FLIGHT)

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancellation: Cancellation,
    ) -> None:
        """Upload a file; ``moved`` is called with the number of bytes of each completed part.

        Raises:
            RunCancelled: cancellation was requested; the blocks that were being sent have arrived.
        """
        check_blob_name(file.blob)
        client = self._service.get_blob_client(container, file.blob)
        source = await in_thread(file.size, _open, file)
        try:
            if file.size <= BLOCK:
                await self._upload_at_once(client, file, source)
                moved(file.size)
            else:
                await self._upload_blocks(client, file, source, moved, cancellation)
        finally:
            source.close()

    async def _upload_at_once(self, client: BlobClient, file: LocalFile, source: FileIO) -> None:
        async with self._slots if file.size > SMALL else contextlib.nullcontext():
            # One byte more than expected, to detect that the file has grown.
            data = await in_thread(file.size, _read, file, source, file.size + 1)
            md5 = hashlib.md5(usedforsecurity=False)
            await in_thread(len(data), md5.update, data)
            _check(file, len(data), md5.digest())
            await client.upload_blob(
                data,
                length=len(data),
                overwrite=True,
                validate_content=True,
                content_settings=_settings(file),
            )

    async def _upload_blocks(
        self,
        client: BlobClient,
        file: LocalFile,
        source: FileIO,
        moved: Callable[[int], None],
        cancellation: Cancellation,
    ) -> None:
        """Read the blocks in order, stage them concurrently, and commit them.

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
                ids = await self._stage_all(file, source, stage, cancellation)
        except BaseExceptionGroup as failures:
            # The first failure; it cancelled the others.
            raise failures.exceptions[0] from None
        if ids is None:
            raise RunCancelled
        await client.commit_block_list(
            [BlobBlock(block_id) for block_id in ids],
            content_settings=_settings(file),
            validate_content=True,
        )

    async def _stage_all(
        self,
        file: LocalFile,
        source: FileIO,
        stage: Callable[[str, bytes], asyncio.Task[None] | None],
        cancellation: Cancellation,
    ) -> list[str] | None:
        """Read the file and ``stage`` each block, which returns a task if the block is sent.

        Returns:
            The ids of all blocks; ``None`` if cancellation was requested before the end.
        """
        block_size = max(BLOCK, -(-file.size // MOST_BLOCKS))
        md5 = hashlib.md5(usedforsecurity=False)
        ids: list[str] = []
        size = 0
        while size <= file.size:
            await self._slots.acquire()
            staging: asyncio.Task[None] | None = None
            try:
                if cancellation.requested:
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
        return file.path.open("rb", buffering=0)
    except OSError as error:
        raise _changed(file, error.strerror or str(error)) from None


def _read(file: LocalFile, source: FileIO, size: int) -> bytes:
    parts: list[bytes] = []
    try:
        while size > 0 and (part := source.read(size)):
            parts.append(part)
            size -= len(part)
    except OSError as error:
        raise _changed(file, error.strerror or str(error)) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check(file: LocalFile, size: int, md5: bytes) -> None:
    if size != file.size:
        more = "has grown" if size > file.size else f"has shrunk to {size} bytes"
        raise _changed(file, f"its size was {file.size} bytes in the plan, and it {more} since")
    if md5 != file.md5:
        raise _changed(file, "its content has changed")


def _changed(file: LocalFile, why: str) -> StalePlanError:
    return StalePlanError(
        Diagnostic(
            "file-moved",
            f"{file.path} changed after the plan was made: {why}",
            fix="run the command again; it makes a new plan",
        )
    )


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
                fix="rename the file, or set another `path`",
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
        ("." in segments or ".." in segments, "a segment of it is . or .."),
        (len(segments) > DEEPEST, f"it has {len(segments)} segments, and the limit is {DEEPEST}"),
    )
    return next((reason for applies, reason in reasons if applies), "")
