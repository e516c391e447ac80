"""One file to one blob. The file is hashed while it is read: what arrives is what was planned.

Small files go in one request. Larger ones go in blocks that become a blob only when the last byte
was read and the hash agrees, so that a file that changed meanwhile does not replace the blob.

The id of a block says what is in it (its place, size and MD5), and the service has checked the MD5
of each block that it stored. Blocks that an interrupted upload left uncommitted are therefore used
where the file still has the same bytes; the service deletes the others when the list of blocks is
committed, or after a week (REST reference, Put Block, "Remarks").
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from io import FileIO
from typing import TYPE_CHECKING

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobBlock, ContentSettings

from batchspec.apply.halt import Halt, Halted
from batchspec.cloud.aside import SMALL, aside
from batchspec.cloud.errors import fault
from batchspec.cloud.names import check_blob_name
from batchspec.diagnostics import Diagnostic, StalePlanError
from batchspec.plan.observed import LocalFile

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobClient, BlobServiceClient

BLOCK = 8 * 1024 * 1024
"""A file of up to this size goes in one request; larger ones in blocks of it, at least."""

MOST_BLOCKS = 50_000
"""The service's limit of blocks of one blob."""

_IN_FLIGHT = 8


class Uploads:
    """Uploads to one account. At most eight blocks are in memory, of all files together."""

    def __init__(self, service: BlobServiceClient) -> None:
        self._service = service
        self._room = asyncio.Semaphore(_IN_FLIGHT)

    async def upload(
        self, container: str, file: LocalFile, moved: Callable[[int], None], halt: Halt
    ) -> None:
        """Upload one file; ``moved`` is called with the numbers of bytes that have arrived.

        Raises:
            Halted: ``halt`` was asked for; the blocks that were in flight have arrived.
        """
        check_blob_name(file.blob)
        client = self._service.get_blob_client(container, file.blob)
        source = await aside(file.size, _open, file)
        try:
            if file.size <= BLOCK:
                await self._whole(client, file, source)
                moved(file.size)
            else:
                await self._blocks(client, file, source, moved, halt)
        finally:
            source.close()

    async def _whole(self, client: BlobClient, file: LocalFile, source: FileIO) -> None:
        async with self._room if file.size > SMALL else contextlib.nullcontext():
            # One byte more than there should be, to see whether the file has grown.
            data = await aside(file.size, _read, file, source, file.size + 1)
            md5 = hashlib.md5(usedforsecurity=False)
            await aside(len(data), md5.update, data)
            _check(file, len(data), md5.digest())
            await client.upload_blob(
                data,
                length=len(data),
                overwrite=True,
                validate_content=True,
                content_settings=_settings(file),
            )

    async def _blocks(
        self,
        client: BlobClient,
        file: LocalFile,
        source: FileIO,
        moved: Callable[[int], None],
        halt: Halt,
    ) -> None:
        """Stage blocks side by side, read in order; commit them when all is as planned.

        Not the SDK's ``upload_blob``: cancelled, or failing in one block, it leaves the others
        running.
        """
        staged = await _uncommitted(client)
        group = asyncio.TaskGroup()

        def stage(block: str, data: bytes) -> asyncio.Task[None] | None:
            if block not in staged:
                return group.create_task(_stage(client, block, data, moved))
            moved(len(data))
            return None

        try:
            async with group:
                ids = await self._stage_all(file, source, stage, halt)
        except BaseExceptionGroup as failures:
            # One is enough to report; the others were cancelled for it.
            raise failures.exceptions[0] from None
        if ids is None:
            raise Halted
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
        halt: Halt,
    ) -> list[str] | None:
        """Read the file to its end and ``stage`` each block, as a task if it has to be sent.

        The ids of all blocks; ``None`` if ``halt`` was asked for before the end of the file.
        """
        block_size = max(BLOCK, -(-file.size // MOST_BLOCKS))
        md5 = hashlib.md5(usedforsecurity=False)
        ids: list[str] = []
        seen = 0
        while seen <= file.size:
            await self._room.acquire()
            staging: asyncio.Task[None] | None = None
            try:
                if halt.asked:
                    return None
                data = await aside(block_size, _read, file, source, block_size)
                block = await aside(len(data), _block_id, len(ids), data)
                await aside(len(data), md5.update, data)
                seen += len(data)
                if not data:
                    break
                ids.append(block)
                staging = stage(block, data)
                if staging is not None:
                    # A block keeps its place in memory until its task is over, even if it was
                    # cancelled before it began.
                    staging.add_done_callback(lambda _: self._room.release())
            finally:
                if staging is None:
                    self._room.release()
        _check(file, seen, md5.digest())
        return ids


async def _uncommitted(client: BlobClient) -> frozenset[str]:
    """The ids of the blocks that were sent for a blob and are not part of it."""
    try:
        _, blocks = await client.get_block_list("uncommitted")
    except HttpResponseError as error:
        if fault(error).status == 404:
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
        raise _moved(file, error.strerror or str(error)) from None


def _read(file: LocalFile, source: FileIO, size: int) -> bytes:
    parts: list[bytes] = []
    try:
        while size > 0 and (part := source.read(size)):
            parts.append(part)
            size -= len(part)
    except OSError as error:
        raise _moved(file, error.strerror or str(error)) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _check(file: LocalFile, size: int, md5: bytes) -> None:
    if size != file.size:
        more = "grew" if size > file.size else f"has {size} bytes"
        raise _moved(file, f"it had {file.size} bytes when the plan was made and {more} since")
    if md5 != file.md5:
        raise _moved(file, "its content is not what it was when the plan was made")


def _moved(file: LocalFile, why: str) -> StalePlanError:
    return StalePlanError(
        Diagnostic(
            "file-moved",
            f"{file.path} changed after the plan was made: {why}",
            fix="Give the same command again: a new plan sees the file as it is.",
        )
    )


def _settings(file: LocalFile) -> ContentSettings:
    return ContentSettings(content_type=file.content_type, content_md5=bytearray(file.md5))


def _block_id(index: int, data: bytes) -> str:
    """The id of a block: its place in the blob, its size and its MD5, which the service checks.

    The SDK encodes it. All ids of a blob must be equally long, those of uncommitted blocks that
    other clients left included: these have 48 characters, as those of the SDK's own uploads
    (azure-storage-blob 12.28).
    """
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return f"{index:06d}-{len(data):08x}-{md5}"
