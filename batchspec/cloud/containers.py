"""The containers of the Storage account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError

from batchspec.account import ContainerProperties
from batchspec.cloud.errors import transition_timeout, translate, translated
from batchspec.cloud.pipeline import track_attempts
from batchspec.cloud.rate_limiter import Limits, Timing, Transition
from batchspec.cloud.rest import error_code

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
        """The container's metadata, or ``None`` if there is no such container."""
        client = self._service.get_container_client(container)
        try:
            found = await client.get_container_properties()
        except AzureError as error:
            if absent(error):
                return None
            raise translate(error, f"container {container}") from None
        return dict(found.metadata or {})

    async def list(self) -> AsyncIterator[ContainerProperties]:
        """Every container of the account."""
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
                # After a lost answer, it can be the one that this request created.
                return attempts.unconfirmed and await self.get_metadata(container) == dict(metadata)
            if refusal.code != "ContainerBeingDeleted":
                raise refusal from None
            if not await transition.pause():
                raise transition_timeout(refusal, transition.waited) from None

    async def set_metadata(self, container: str, metadata: Mapping[str, str]) -> None:
        """Replace the metadata of a container."""
        client = self._service.get_container_client(container)
        with translated(f"container {container}"):
            await client.set_container_metadata(dict(metadata))

    async def delete(self, container: str) -> bool:
        """Delete a container; ``False`` if it does not exist."""
        try:
            with track_attempts() as attempts:
                await self._service.get_container_client(container).delete_container()
        except AzureError as error:
            if not absent(error):
                raise translate(error, f"container {container}") from None
            return attempts.unconfirmed or error_code(error) == "ContainerBeingDeleted"
        return True


def absent(error: AzureError) -> bool:
    """Whether a container or blob does not exist, or is being deleted."""
    return error_code(error) in _ABSENT
