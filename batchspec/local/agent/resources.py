"""Resource files: fetched into the working directory of a task, before it starts.

What lives here: which blob becomes which file, and what its failure is called. What may not: HTTP
(``storage``), descriptors and links (``inside``).
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchspec.local.agent.failures import failure, without_query
from batchspec.local.agent.inside import (
    OutsideError,
    directory_inside,
    new_file_inside,
    parts_of,
)
from batchspec.local.agent.launch import Failure
from batchspec.local.agent.storage import (
    Grants,
    Storage,
    StorageError,
    StorageTimeoutError,
    blob_url,
)

_MODE = "0770"
_AT_ONCE = 8
_DENIED = {401, 403}


class ResourceError(Exception):
    """A resource file is not there as it should be; ``failure`` is the task's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class _File:
    url: str
    path: str
    mode: int


async def fetch_all(
    resources: Sequence[Mapping[str, Any]], into: Path, storage: Storage, grants: Grants
) -> None:
    """Bring all ``resources`` (in wire form) into the directory ``into``, a few at a time.

    Raises:
        ResourceError: one of them failed; the others may be there or not.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    fetches: set[asyncio.Task[None]] = set()
    try:
        for resource in resources:
            async for file in _files(resource, storage, grants):
                await gate.acquire()
                fetch = asyncio.create_task(_fetch(file, into, storage))
                fetch.add_done_callback(lambda _: gate.release())
                fetches.add(fetch)
                # A failure ends the rest at once.
                for done in [task for task in fetches if task.done()]:
                    fetches.remove(done)
                    done.result()
        await asyncio.gather(*fetches)
    finally:
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)


async def _files(
    resource: Mapping[str, Any], storage: Storage, grants: Grants
) -> AsyncIterator[_File]:
    """The single files that one resource stands for."""
    mode = int(resource.get("fileMode") or _MODE, 8) & 0o7777
    identified = "identityReference" in resource
    if url := resource.get("httpUrl"):
        yield _File(grants.identity(url) if identified else url, resource["filePath"], mode)
        return
    name = resource.get("autoStorageContainerName")
    container = grants.container(name) if name else resource["storageContainerUrl"]
    if container is None:
        raise ResourceError(failure("ResourceContainerListMiscError", ContainerName=name or ""))
    if identified:
        container = grants.identity(container)
    folder = resource.get("filePath") or ""
    prefix = resource.get("blobPrefix") or ""
    try:
        async for blob in storage.list_blobs(container, prefix):
            if not blob.endswith("/"):  # the mark of an empty directory, in other tools
                path = f"{folder}/{blob}" if folder else blob
                yield _File(blob_url(container, blob), path, mode)
    except StorageError as error:
        raise ResourceError(_listing_failure(container, error)) from None


async def _fetch(file: _File, into: Path, storage: Storage) -> None:
    try:
        parts = parts_of(file.path)
    except OutsideError:
        raise ResourceError(
            failure(
                "ResourceFileCreateFailed",
                FilePath=file.path,
                Message="The path leaves the working directory of the task.",
            )
        ) from None
    code = "ResourceDirectoryCreateFailed"
    try:
        with directory_inside(into, parts[:-1]) as directory:
            code = "ResourceFileCreateFailed"
            with new_file_inside(directory, parts[-1], file.mode) as target:
                code = "ResourceFileWriteFailed"
                await storage.download(file.url, target)
                code = "ResourceFileCreateFailed"
    except StorageError as error:
        raise ResourceError(_download_failure(file, error)) from None
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            code = "DiskFull"
        raise ResourceError(
            failure(code, FilePath=file.path, Message=error.strerror or "")
        ) from None


def _download_failure(file: _File, error: StorageError) -> Failure:
    if isinstance(error, StorageTimeoutError):
        code = "BlobDownloadTimedOut"
    elif error.status in _DENIED or error.code == "PublicAccessNotPermitted":
        code = "BlobAccessDenied"
    elif error.status == 404:
        code = "BlobNotFound"
    else:
        code = "BlobDownloadMiscError"
    return failure(code, FilePath=file.path, BlobSource=without_query(file.url), Message=str(error))


def _listing_failure(container: str, error: StorageError) -> Failure:
    denied = error.status in _DENIED or error.code == "PublicAccessNotPermitted"
    code = "ResourceContainerAccessDenied" if denied else "ResourceContainerListMiscError"
    return failure(code, ContainerUrl=without_query(container), Message=str(error))
