"""The blob store of the embedded service for other clients: ``storage.py create|delete CONTAINER``.

A separate program, so that the process that measures imports nothing large: the memory of a
process counts as that of the processes it starts.
"""

from __future__ import annotations

import contextlib
import os
import sys
from datetime import UTC, datetime, timedelta


def create(name: str) -> None:
    """Create a container, unless it exists, and print its URL with a signature for a day."""
    from azure.core.exceptions import ResourceExistsError
    from azure.storage.blob import (
        BlobServiceClient,
        ContainerSasPermissions,
        generate_container_sas,
    )

    connection = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    client = BlobServiceClient.from_connection_string(connection).get_container_client(name)
    with contextlib.suppress(ResourceExistsError):
        client.create_container()
    signature = generate_container_sas(
        str(client.account_name),
        name,
        account_key=os.environ["AZURE_STORAGE_KEY"],
        permission=ContainerSasPermissions(
            read=True, add=True, create=True, write=True, delete=True, list=True
        ),
        expiry=datetime.now(UTC) + timedelta(days=1),
    )
    print(f"{client.url}?{signature}")


def delete(name: str) -> None:
    """Delete a container, if it exists."""
    from azure.core.exceptions import ResourceNotFoundError
    from azure.storage.blob import BlobServiceClient

    connection = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
    client = BlobServiceClient.from_connection_string(connection).get_container_client(name)
    with contextlib.suppress(ResourceNotFoundError):
        client.delete_container()


if __name__ == "__main__":
    {"create": create, "delete": delete}[sys.argv[1]](sys.argv[2])
