"""Containers and lists of blobs: the Storage port, but for the transfers (upload, download)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import ContentSettings

from batchspec.apply.halt import Halt
from batchspec.cloud.download import Downloads
from batchspec.cloud.errors import fault, translate, translated
from batchspec.cloud.limiter import Limiter, Limits, Timing
from batchspec.cloud.pipeline import watched
from batchspec.cloud.service_time import ServiceTime
from batchspec.cloud.upload import Uploads
from batchspec.observe.ports import ContainerSeen, Part
from batchspec.plan.observed import Blob, LocalFile
from batchspec.plan.stamps import STAMP

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_ABSENT = frozenset(
    {"ContainerNotFound", "ResourceNotFound", "ContainerBeingDeleted", "BlobNotFound"}
)
_PAGE = 5000
_DIRECTORY = "hdi_isfolder"


class BlobStorage:
    """A storage account. Implements :class:`batchspec.apply.ports.Storage`.

    ``service`` is the SDK's client; it is for this room alone.
    """

    def __init__(
        self,
        service: BlobServiceClient,
        limiter: Limiter,
        limits: Limits,
        timing: Timing,
        time: ServiceTime,
    ) -> None:
        self.service = service
        self._time = time
        self._limits = limits
        self._timing = timing
        self._uploads = Uploads(service)
        self._downloads = Downloads(service, timing, limiter.delay)

    def now(self) -> datetime:
        """The time at the storage account (UTC), as its latest answers say."""
        return self._time.now()

    async def container(self, name: str) -> Mapping[str, str] | None:
        """The container's metadata, or ``None`` if there is no such container."""
        client = self.service.get_container_client(name)
        try:
            found = await client.get_container_properties()
        except AzureError as error:
            if _absent(error):
                return None
            raise translate(error, f"container {name}") from None
        return dict(found.metadata or {})

    async def containers(self) -> AsyncIterator[ContainerSeen]:
        """Every container of the account."""
        with translated("the containers"):
            async for found in self.service.list_containers(include_metadata=True):
                yield ContainerSeen(found.name, dict(found.metadata or {}), found.last_modified)

    async def create_container(
        self, name: str, metadata: Mapping[str, str], public_access: str | None
    ) -> bool:
        """Make a container; ``False`` if it was there. Waits out one that is being deleted."""
        client = self.service.get_container_client(name)
        began, tries = self._timing.monotonic(), 0
        while True:
            try:
                with watched() as attempts:
                    await client.create_container(
                        metadata=dict(metadata) or None, public_access=public_access
                    )
                return True
            except HttpResponseError as error:
                found = fault(error)
                if found.code == "ContainerAlreadyExists":
                    # After a lost reply it may well be the one that this call has made.
                    return attempts.lost and await self.container(name) == dict(metadata)
                waited = self._timing.monotonic() - began
                if found.code != "ContainerBeingDeleted" or waited > self._limits.settle:
                    raise translate(error, f"container {name}") from None
            except AzureError as error:
                raise translate(error, f"container {name}") from None
            tries += 1
            # Azure takes half a minute at least to let a name go.
            await self._timing.sleep(min(2.0**tries, 15.0))

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of a container."""
        client = self.service.get_container_client(container)
        with translated(f"container {container}"):
            await client.set_container_metadata(dict(metadata))

    async def delete_container(self, name: str) -> bool:
        """Delete a container; ``False`` if there was none."""
        try:
            with watched() as attempts:
                await self.service.get_container_client(name).delete_container()
        except AzureError as error:
            if not _absent(error):
                raise translate(error, f"container {name}") from None
            return attempts.lost or _code(error) == "ContainerBeingDeleted"
        return True

    async def blobs(self, container: str, prefix: str = "") -> AsyncIterator[Blob]:
        """Every blob of a container, streamed; nothing if the container is not there.

        Where an account has a hierarchical namespace, its directories are listed, too, as empty
        blobs; only their metadata tell (azure-sdk-for-python#34734). They are left out.
        """
        client = self.service.get_container_client(container)
        listed = client.list_blobs(
            name_starts_with=prefix or None, include=["metadata"], results_per_page=_PAGE
        )
        try:
            async for found in listed:
                metadata = found.metadata or {}
                if _is_directory(metadata):
                    continue
                md5 = found.content_settings.content_md5
                yield Blob(
                    name=found.name,
                    size=found.size,
                    md5=bytes(md5) if md5 else None,
                    modified=found.last_modified,
                    work=metadata.get(STAMP, ""),
                )
        except AzureError as error:
            if not _absent(error):
                raise translate(error, f"container {container}") from None

    async def put(self, container: str, blob: str, data: bytes) -> None:
        """Write a small blob of plain text; one of that name is replaced."""
        settings = ContentSettings(content_type="text/plain; charset=utf-8")
        with translated(f"{container}/{blob}"):
            await self.service.get_blob_client(container, blob).upload_blob(
                data, length=len(data), overwrite=True, content_settings=settings
            )

    async def delete_blob(self, container: str, blob: str) -> None:
        """Delete a blob, if it exists."""
        try:
            await self.service.get_blob_client(container, blob).delete_blob()
        except AzureError as error:
            if not _absent(error):
                raise translate(error, f"{container}/{blob}") from None

    async def blob_part(self, container: str, blob: str, start: int, most: int) -> Part | None:
        """At most ``most`` bytes of a blob from ``start`` on; ``None`` without a blob."""
        client = self.service.get_blob_client(container, blob)
        try:
            length = int((await client.get_blob_properties()).size)
            if start >= length:
                return Part(b"", length)
            # As stored: offsets are of the bytes that lie there.
            found = await client.download_blob(start, most, decompress=False)
            return Part(await found.readall(), length)
        except AzureError as error:
            if _absent(error):
                return None
            raise translate(error, f"{container}/{blob}") from None

    async def upload(
        self,
        container: str,
        file: LocalFile,
        moved: Callable[[int], None],
        halt: Halt | None = None,
    ) -> None:
        """Upload one file, checked in transit and at rest (MD5).

        Raises:
            StalePlanError: ``file-moved``: the file is gone, or is not what it was when the plan
                was made.
            SpecError: ``blob-name``: no blob can have its name.
            Halted: ``halt`` was asked for, and blocks of the file were not sent.
        """
        with translated(f"{container}/{file.blob}"):
            await self._uploads.upload(container, file, moved, halt or Halt())

    async def download(
        self, container: str, blob: Blob, part: Path, moved: Callable[[int], None]
    ) -> bytes:
        """Download one blob to the file ``part``, checked (length; MD5 where kept); its MD5."""
        with translated(f"{container}/{blob.name}"):
            return await self._downloads.download(container, blob, part, moved)


def _is_directory(metadata: Mapping[str, str]) -> bool:
    # Written in another case by some that made directories before there were any.
    return any(key.lower() == _DIRECTORY and metadata[key] == "true" for key in metadata)


def _code(error: AzureError) -> str:
    return fault(error).code if isinstance(error, HttpResponseError) else ""


def _absent(error: AzureError) -> bool:
    return _code(error) in _ABSENT
