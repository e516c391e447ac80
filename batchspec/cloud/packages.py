"""The application packages of an account.

The data plane lists them; only the control plane creates, reads and deletes versions. A version is
a blob, and the control plane returns a signed URL for it. The service does not check the blob when
it activates a version, so batchspec compares size and MD5 before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import ContentSettings
from azure.storage.blob.aio import BlobClient

from batchspec.cloud.control_plane import ControlPlane
from batchspec.cloud.errors import error_response, translate, translated
from batchspec.cloud.rest import BatchConnection, json_of, list_items
from batchspec.cloud.transfer import BLOCK
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.observed import LocalFile, StoredPackage

if TYPE_CHECKING:
    from batchspec.cloud.facts import Json

CONTENT = "batchspec_content"
"""The metadata of the blob with the digest of the files in the package."""


class Applications:
    """Implements :class:`batchspec.account.Applications`."""

    def __init__(
        self,
        connection: BatchConnection,
        control_plane: ControlPlane,
        options: Callable[[str], Mapping[str, Any]],
    ) -> None:
        """``options`` are those of the client of a blob at a URL."""
        self._connection = connection
        self._control_plane = control_plane
        self._options = options

    async def list(self) -> Mapping[str, tuple[str, ...]]:
        with translated("applications"):
            return {
                body["id"]: tuple(body.get("versions") or ())
                async for body in list_items(self._connection.client, "/applications")
            }

    async def get_package(self, name: str, version: str) -> StoredPackage | None:
        """A version of an application package, or ``None``.

        Raises:
            ServiceError: refused; the account has no control plane that can be reached.
        """
        resource = await self._control_plane.resource()
        subject = _subject(name, version)
        try:
            body: Json = await resource.client.application_package.get(
                resource.group, resource.name, name, version, cls=json_of
            )
        except AzureError as error:
            if _absent(error):
                return None
            raise translate(error, subject) from None
        properties = body.get("properties") or {}
        if str(properties.get("state", "")).lower() != "active":
            return StoredPackage(active=False)
        url = str(properties.get("storageUrl") or "")
        if not url:
            return StoredPackage(active=True)
        try:
            async with self._blob(url) as client:
                found = await client.get_blob_properties()
        except AzureError as error:
            if _absent(error):
                # Another client deleted the archive of a version that is active.
                return StoredPackage(active=True)
            raise translate(error, subject) from None
        md5 = found.content_settings.content_md5
        content = (found.metadata or {}).get(CONTENT, "")
        return StoredPackage(True, content, bytes(md5) if md5 else None, found.size)

    async def upload_package(
        self,
        name: str,
        version: str,
        archive: LocalFile,
        content: str,
        moved: Callable[[int], None],
    ) -> None:
        """Create or complete a version of an application, and make it the default version.

        Raises:
            ServiceError: refused; ``package-damaged`` if the blob is not the archive.
        """
        resource = await self._control_plane.resource()
        at = (resource.group, resource.name, name)
        client, subject = resource.client, _subject(name, version)
        with translated(f"application {name}"):
            if name.lower() not in {each.lower() for each in await self.list()}:
                await client.application.create(*at, {}, cls=json_of)
        with translated(subject):
            body: Json = await client.application_package.create(*at, version, {}, cls=json_of)
            url = str((body.get("properties") or {}).get("storageUrl") or "")
            if not url:
                raise _no_storage(resource.name)
            await self._upload(url, archive, content, moved, subject)
            await client.application_package.activate(*at, version, {"format": "zip"}, cls=json_of)
        with translated(f"application {name}"):
            await client.application.update(
                *at, {"properties": {"defaultVersion": version}}, cls=json_of
            )

    async def delete_package(self, name: str, version: str) -> bool:
        """Delete a version; ``False`` if it did not exist.

        If it is the default version, the application has no default version afterwards.

        Raises:
            ServiceError: refused.
        """
        if await self.get_package(name, version) is None:
            return False
        resource = await self._control_plane.resource()
        at = (resource.group, resource.name, name)
        with translated(_subject(name, version)):
            await resource.client.application_package.delete(*at, version)
        return True

    async def _upload(
        self,
        url: str,
        archive: LocalFile,
        content: str,
        moved: Callable[[int], None],
        subject: str,
    ) -> None:
        """Upload the archive in blocks, and compare what the service has stored."""
        last = 0

        async def progress(current: int, _total: int | None) -> None:
            nonlocal last
            moved(current - last)
            last = current

        settings = ContentSettings(
            content_type=archive.content_type, content_md5=bytearray(archive.md5)
        )
        async with self._blob(url) as client:
            with archive.path.open("rb") as source:
                await client.upload_blob(
                    source,
                    length=archive.size,
                    overwrite=True,
                    metadata={CONTENT: content},
                    content_settings=settings,
                    validate_content=True,
                    progress_hook=progress,
                )
            found = await client.get_blob_properties()
        stored = found.content_settings.content_md5
        if found.size != archive.size or bytes(stored or b"") != archive.md5:
            raise _damaged(subject)

    def _blob(self, url: str) -> BlobClient:
        return BlobClient.from_blob_url(
            url, max_single_put_size=BLOCK, max_block_size=BLOCK, **self._options(url)
        )


def _subject(name: str, version: str) -> str:
    return f"version {version} of application {name}"


def _absent(error: AzureError) -> bool:
    return isinstance(error, HttpResponseError) and error_response(error).status == 404


def _no_storage(account: str) -> ServiceError:
    problem = Diagnostic(
        "no-auto-storage",
        f"the Batch account {account} cannot store application packages",
        "Packages are blobs of the Storage account that is linked to the Batch account.",
        fix="Link one: `az batch account set --resource-group GROUP --name NAME"
        " --storage-account ID`",
    )
    return ServiceError(problem, code="no-auto-storage")


def _damaged(subject: str) -> ServiceError:
    problem = Diagnostic(
        "package-damaged",
        f"{subject}: the stored archive differs from the one that was uploaded",
        "The version was not activated.",
        fix="Run the command again.",
    )
    return ServiceError(problem, code="package-damaged")
