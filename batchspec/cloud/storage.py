"""The containers and blobs of the Storage account. :mod:`.transfer` transfers their content."""

from __future__ import annotations

import base64
import functools
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError
from azure.storage.blob import ContentSettings

from batchspec.account import ContainerProperties, FilePart
from batchspec.cloud.blob_requests import BlobRequests
from batchspec.cloud.errors import transition_timeout, translate, translated
from batchspec.cloud.pipeline import RetryPolicy, track_attempts
from batchspec.cloud.rest import error_code
from batchspec.cloud.timing import Limits, RateLimiter, Timing, Transition
from batchspec.cloud.transfer import Downloads, Uploads
from batchspec.plan.metadata import STAMP
from batchspec.plan.observed import Blob, LocalFile

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_ABSENT = frozenset(
    {"ContainerNotFound", "ResourceNotFound", "ContainerBeingDeleted", "BlobNotFound"}
)


class Containers:
    """Implements :class:`batchspec.account.Containers`."""

    def __init__(self, service: BlobServiceClient, limits: Limits, timing: Timing) -> None:
        self._service = service
        self._limits = limits
        self._timing = timing

    async def get_metadata(self, container: str) -> Mapping[str, str] | None:
        client = self._service.get_container_client(container)
        try:
            found = await client.get_container_properties()
        except AzureError as error:
            if _absent(error):
                return None
            raise translate(error, f"container {container}") from None
        return dict(found.metadata or {})

    async def list(self) -> AsyncIterator[ContainerProperties]:
        with translated("containers"):
            async for found in self._service.list_containers(include_metadata=True):
                yield ContainerProperties(
                    found.name, dict(found.metadata or {}), found.last_modified
                )

    async def create(
        self, container: str, metadata: Mapping[str, str], public_access: str | None
    ) -> bool:
        """Create a container; ``False`` if it exists.

        While a container with this name is being deleted, the creation is repeated.

        Raises:
            ServiceError: refused; ``ContainerBeingDeleted`` if it is still being deleted after
                ``Limits.transition``.
        """
        client = self._service.get_container_client(container)
        transition = Transition(self._limits, self._timing)
        while True:
            try:
                with track_attempts() as attempts:
                    await client.create_container(
                        metadata=dict(metadata) or None, public_access=public_access
                    )
                return True
            except AzureError as error:
                refusal = translate(error, f"container {container}")
            if refusal.code == "ContainerAlreadyExists":
                # After a lost reply, this can be the container that the request created.
                return attempts.unconfirmed and await self.get_metadata(container) == dict(metadata)
            if refusal.code != "ContainerBeingDeleted":
                raise refusal from None
            if not await transition.pause():
                raise transition_timeout(refusal, transition.waited) from None

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        client = self._service.get_container_client(container)
        with translated(f"container {container}"):
            await client.set_container_metadata(dict(metadata))

    async def delete(self, container: str) -> bool:
        try:
            with track_attempts() as attempts:
                await self._service.get_container_client(container).delete_container()
        except AzureError as error:
            if not _absent(error):
                raise translate(error, f"container {container}") from None
            return attempts.unconfirmed or error_code(error) == "ContainerBeingDeleted"
        return True


def _absent(error: AzureError) -> bool:
    """Whether a container or blob does not exist, or is being deleted."""
    return error_code(error) in _ABSENT


_DIRECTORY = "hdi_isfolder"


def _never() -> bool:
    return False


class Blobs:
    """Implements :class:`batchspec.account.Blobs`."""

    def __init__(
        self, service: BlobServiceClient, retry: RetryPolicy, limiter: RateLimiter, timing: Timing
    ) -> None:
        self._service = service
        self._requests = BlobRequests(service, retry)
        self._uploads = Uploads(service, self._requests)
        self._downloads = Downloads(self._requests, timing, limiter.backoff)

    async def list(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; none if the container does not exist.

        An account with a hierarchical namespace lists its directories as empty blobs with the
        resource type ``directory``. In other accounts, clients create directories as empty blobs
        with special metadata (azure-sdk-for-python#34734). The directories are left out.
        """
        try:
            async for found in self._requests.list(container, prefix):
                if found.directory or _is_directory(found.metadata):
                    continue
                yield Blob(
                    name=found.name,
                    size=found.size,
                    md5=base64.b64decode(found.md5) or None,
                    modified=_time(found.modified) if found.modified else None,
                    work=found.metadata.get(STAMP, ""),
                    archived=found.tier == "Archive",
                )
        except AzureError as error:
            if not _absent(error):
                raise translate(error, f"container {container}") from None

    async def put(self, container: str, blob: str, data: bytes) -> None:
        settings = ContentSettings(content_type="text/plain; charset=utf-8")
        with translated(f"{container}/{blob}"):
            await self._service.get_blob_client(container, blob).upload_blob(
                data, length=len(data), overwrite=True, content_settings=settings
            )

    async def delete(self, container: str, blob: str) -> None:
        try:
            await self._service.get_blob_client(container, blob).delete_blob()
        except AzureError as error:
            if not _absent(error):
                raise translate(error, f"{container}/{blob}") from None

    async def get_part(self, container: str, blob: str, start: int, size: int) -> FilePart | None:
        client = self._service.get_blob_client(container, blob)
        try:
            length = int((await client.get_blob_properties()).size)
            if start >= length:
                return FilePart(b"", length)
            # Without decompression: offsets are those of the stored bytes.
            found = await client.download_blob(start, size, decompress=False)
            return FilePart(await found.readall(), length)
        except AzureError as error:
            if _absent(error):
                return None
            raise translate(error, f"{container}/{blob}") from None

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        cancelled: Callable[[], bool] = _never,
    ) -> bool:
        """Upload one file, checked in transit and at rest (MD5).

        Returns:
            ``False`` if ``cancelled`` was true before all blocks of the file were sent.

        Raises:
            StalePlanError: ``file-moved``: the file was deleted or changed after the plan was made.
            SpecError: ``blob-name``: a blob cannot have this name.
        """
        with translated(f"{container}/{file.blob}"):
            return await self._uploads.upload(container, file, moved, cancelled)

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        with translated(f"{container}/{blob.name}"):
            return await self._downloads.download(container, blob, part, moved)


@functools.lru_cache(maxsize=1024)
def _time(text: str) -> datetime:
    """The time of an HTTP date. Blobs that were written together often have the same date."""
    return parsedate_to_datetime(text)


def _is_directory(metadata: Mapping[str, str]) -> bool:
    # Clients that wrote directories before hierarchical namespaces use other cases.
    return any(key.lower() == _DIRECTORY and metadata[key] == "true" for key in metadata)
