"""The control plane of a service under test, for azure-mgmt-batch and plain requests."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import HeadersPolicy
from azure.mgmt.batch import BatchManagementClient

from batchspec import local
from tests.local.openapi import openapi_description
from tests.local.running import Answer

SUBSCRIPTION = "00000000-0000-0000-0000-000000000000"
GROUP = "batchspec"
API_VERSION = "2025-06-01"
MACHINE = {
    "virtualMachineConfiguration": {
        "imageReference": {
            "publisher": "canonical",
            "offer": "ubuntu-24_04-lts",
            "sku": "server",
        },
        "nodeAgentSkuId": "batch.node.ubuntu 24.04",
    }
}
"""The deployment configuration of a pool that the control plane accepts."""


class Place(Protocol):
    """The address of a control plane, and the token that it accepts."""

    @property
    def url(self) -> str: ...

    @property
    def account(self) -> str: ...

    @property
    def token(self) -> str: ...


class _NoCredential:
    """A credential that is never used, since the policy sets the header."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        raise AssertionError("the local control plane needs no token")


def management_client(place: Place, **options: Any) -> BatchManagementClient:
    """A client of azure-mgmt-batch for the control plane of ``place``."""
    return BatchManagementClient(
        _NoCredential(),
        SUBSCRIPTION,
        base_url=place.url,
        authentication_policy=HeadersPolicy({"Authorization": f"Bearer {place.token}"}),
        retry_total=0,
        polling_interval=0,
        **options,
    )


@dataclass(frozen=True, slots=True)
class Management:
    """Plain requests to the control plane of a service, below its account unless absolute."""

    place: Place

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: str = f"api-version={API_VERSION}",
        headers: Mapping[str, str] | None = None,
        token: str | None = None,
    ) -> Answer:
        """Send one request; ``path`` is below the account unless it starts with ``/``."""
        if not path.startswith("/"):
            path = f"{account_path(self.place)}/{path}".rstrip("/")
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        sent = {
            "authorization": f"Bearer {self.place.token if token is None else token}",
            **({"content-type": "application/json"} if content else {}),
            **(headers or {}),
        }
        parts = urlsplit(self.place.url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
        try:
            connection.request(method, f"{path}?{query}", content, sent)
            reply = connection.getresponse()
            got = {name.lower(): value for name, value in reply.getheaders()}
            answer = Answer(reply.status, got, reply.read())
        finally:
            connection.close()
        description = openapi_description(API_VERSION, control_plane=True)
        if description is not None and API_VERSION in query:
            url = f"{self.place.url}{path}?{query}"
            found = description.violations(method, url, content, answer.status, got, answer.body)
            assert found == []
        return answer


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """A service in a separate process."""

    endpoints: local.Endpoints

    @property
    def url(self) -> str:
        return self.endpoints.batch_url

    @property
    def account(self) -> str:
        return self.endpoints.batch_account

    @property
    def token(self) -> str:
        return self.endpoints.token


def attach_identities(place: Place, pool_id: str, *ids: str) -> None:
    """Set the managed identities of an existing pool."""
    assigned: dict[str, Any] = {name: {} for name in ids}
    identity = {"type": "UserAssigned", "userAssignedIdentities": assigned}
    answer = Management(place).request("PATCH", f"pools/{pool_id}", {"identity": identity})
    assert answer.status == 200, answer.body


def identity_id(name: str) -> str:
    """The resource id of a managed identity in the resource group of the service."""
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
        f"/providers/Microsoft.ManagedIdentity/userAssignedIdentities/{name}"
    )


def account_path(place: Place) -> str:
    """The resource id of the account."""
    return (
        f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
        f"/providers/Microsoft.Batch/batchAccounts/{place.account}"
    )
