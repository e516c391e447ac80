"""The control plane: the Batch account as a resource of Azure Resource Manager.

The first request imports azure-mgmt-batch and creates a credential; only some specs and commands
send such requests. The client has the retry policy of the other services. It does not register
resource providers: the pipeline of the SDK does so by default, even after a read, and waits for the
end without a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.pipeline import policies

from batchspec.cloud.account import PUBLIC, AnyAccount, AzureAccount, LocalAccount, is_loopback
from batchspec.cloud.errors import translated
from batchspec.cloud.facts import Json, account_resource, vm_size
from batchspec.cloud.pipeline import USER_AGENT
from batchspec.cloud.pools import ArmPools
from batchspec.cloud.rest import BatchConnection, json_of, list_pages, path_segment
from batchspec.diagnostics import Diagnostic, Secret, ServiceError, counted
from batchspec.frozen import frozen
from batchspec.plan.capacity import AccountResource, VmSize
from batchspec.plan.observed import PoolFacts

if TYPE_CHECKING:
    from azure.mgmt.batch.aio import BatchManagementClient

Connect = Callable[[str], Awaitable["BatchManagementClient"]]
"""Creates the client of a subscription; empty: the paths of requests contain the subscription."""

API_VERSION = "2025-06-01"
"""The version of the Batch management API, as in azure-mgmt-batch 19."""

SUBSCRIPTIONS_VERSION = "2022-12-01"
"""The version of the Subscriptions API of Resource Manager."""

MOST_SUBSCRIPTIONS = 50
"""How many subscriptions are searched at most: far fewer than the limit for reads."""

_PARALLEL = 8
"""How many subscriptions are searched at a time."""


@frozen
class BatchResource:
    """A Batch account as a resource: the client of its subscription, its resource group and name.

    ``client`` is only for this package.
    """

    client: BatchManagementClient
    subscription: str
    group: str
    name: str

    @property
    def id(self) -> str:
        """The resource id."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.Batch/batchAccounts/{self.name}"
        )


class ControlPlane:
    """Implements :class:`batchspec.account.ControlPlane`. Creating it sends no request.

    ``pools`` are those with a managed identity; ``get_pool`` reads them from the Batch service.
    """

    def __init__(
        self,
        account: AnyAccount,
        connect: Connect,
        connection: BatchConnection,
        get_pool: Callable[[str], Awaitable[PoolFacts | None]],
    ) -> None:
        self.pools = ArmPools(self.resource, connection, get_pool)
        self._account = account
        self._connect = connect
        self._lock = asyncio.Lock()
        self._resource: BatchResource | None = None

    async def resource(self) -> BatchResource:
        """The account as a resource. The first call finds it.

        Without a resource group, the accounts of the subscription are listed; without a
        subscription, those of every subscription that the identity can read. The endpoint
        identifies the account, because names are unique only in a region.

        Raises:
            ServiceError: no subscription has an account with this endpoint (``account-not-found``),
                or the subscriptions or accounts cannot be listed.
        """
        async with self._lock:
            if self._resource is None:
                self._resource = await self._find()
        return self._resource

    @property
    def in_plans(self) -> bool:
        """Whether a plan reads the account: it has no Batch key, or its subscription is given.

        A client with keys may be unable to sign in, and an attempt takes seconds. The embedded
        service has no quotas.
        """
        account = self._account
        if isinstance(account, LocalAccount):
            return False
        return bool(account.subscription) or account.batch_key is None

    async def get_account(self) -> AccountResource:
        """The account with its quotas.

        Raises:
            ServiceError: the account is not found, or cannot be read.
        """
        resource = await self.resource()
        with translated(f"Batch account {resource.name}"):
            body: Json = await resource.client.batch_account.get(
                resource.group, resource.name, cls=json_of
            )
        return account_resource(body)

    async def list_vm_sizes(self, region: str) -> Mapping[str, VmSize]:
        """The VM sizes that Batch offers in a region, by name in lower case.

        Raises:
            ServiceError: they cannot be listed.
        """
        resource = await self.resource()
        location = path_segment(region)
        path = (
            f"/subscriptions/{path_segment(resource.subscription)}/providers/Microsoft.Batch"
            f"/locations/{location}/virtualMachineSkus"
        )
        with translated(f"VM sizes of region {region}"):
            found = [vm_size(body) async for body in _list(resource.client, path)]
        return {size.name.lower(): size for size in found}

    async def _find(self) -> BatchResource:
        account = self._account
        subscription, group, name = (
            account.subscription,
            account.resource_group,
            account.batch_account,
        )
        if not subscription:
            client = await self._connect("")
            subscription, group, name = await self._search(client)
        elif not group:
            client = await self._connect(subscription)
            place = await self._place(client, subscription)
            if place is None:
                raise _not_found(account, f"subscription {subscription} has")
            group, name = place
            return BatchResource(client, subscription, group, name)
        return BatchResource(await self._connect(subscription), subscription, group, name)

    async def _search(self, client: BatchManagementClient) -> tuple[str, str, str]:
        """Subscription, resource group and name of the account."""
        with translated("subscriptions of your identity"):
            path, version = "/subscriptions", SUBSCRIPTIONS_VERSION
            found = [
                str(each["subscriptionId"])
                async for each in _list(client, path, version=version)
                if each.get("subscriptionId")
                and str(each.get("state", "Enabled")).lower() != "disabled"
            ]
        if len(found) > MOST_SUBSCRIPTIONS:
            raise _too_many(len(found))
        unread: list[ServiceError] = []
        for start in range(0, len(found), _PARALLEL):
            batch = found[start : start + _PARALLEL]
            # A subscription that cannot be read does not hide an account in another one.
            places = await asyncio.gather(
                *(self._place(client, each) for each in batch), return_exceptions=True
            )
            for subscription, place in zip(batch, places, strict=True):
                if isinstance(place, tuple):
                    return (subscription, *place)
                if isinstance(place, ServiceError):
                    unread.append(place)
                elif isinstance(place, BaseException):
                    raise place
        count = len(found) - len(unread)
        read = counted(count, "subscription")
        searched = f"the {read} that your identity can read {'has' if count == 1 else 'have'}"
        raise _not_found(self._account, searched, unread)

    async def _place(
        self, client: BatchManagementClient, subscription: str
    ) -> tuple[str, str] | None:
        """Resource group and name of the account with the endpoint; ``None`` if there is none."""
        endpoint = urlsplit(self._account.batch_url).netloc.lower()
        path = (
            f"/subscriptions/{path_segment(subscription)}/providers/Microsoft.Batch/batchAccounts"
        )
        with translated(f"Batch accounts of subscription {subscription}"):
            async for body in _list(client, path):
                properties, name = body.get("properties"), body.get("name")
                # /subscriptions/SUBSCRIPTION/resourceGroups/GROUP/providers/...
                path_of_id = str(body.get("id", "")).split("/")
                if not isinstance(properties, dict) or not name or len(path_of_id) < 5:
                    continue
                if str(properties.get("accountEndpoint", "")).lower() == endpoint:
                    return path_of_id[4], str(name)
        return None


def _list(
    client: BatchManagementClient, path: str, *, version: str = API_VERSION
) -> AsyncIterator[Json]:
    """The elements of a list, page by page, as JSON."""
    return list_pages(client, f"{path}?api-version={version}", "nextLink")


_FIND = (
    "Set AZURE_SUBSCRIPTION_ID and AZURE_RESOURCE_GROUP to those of the account:"
    ' `az batch account list --query "[].[accountEndpoint,id]" --output tsv`'
)


def _not_found(
    account: AnyAccount, searched: str, unread: Sequence[ServiceError] = ()
) -> ServiceError:
    """The error without an account; ``unread`` are the refusals of other subscriptions."""
    endpoint = urlsplit(account.batch_url).netloc
    problem = Diagnostic(
        "account-not-found",
        f"{searched} no Batch account with the endpoint {endpoint}",
        "The lists contain the accounts that your identity may read: the role 'Reader' or 'Azure"
        " Batch Account Reader' on the account is enough."
        + (
            f"\n{len(unread)} more could not be read: {unread[0].problems[0].summary}"
            if unread
            else ""
        ),
        fix=_FIND,
    )
    return ServiceError(problem, code="account-not-found")


def _too_many(count: int) -> ServiceError:
    problem = Diagnostic(
        "account-not-found",
        f"your identity can read {count} subscriptions, and batchspec searches at most"
        f" {MOST_SUBSCRIPTIONS} for the Batch account",
        fix=_FIND,
    )
    return ServiceError(problem, code="account-not-found")


def local_token(account: AnyAccount, url: str) -> Secret | None:
    """The token of the embedded service for ``url``; ``None`` if it is another service."""
    return account.token if is_loopback(url) else None


class LocalTokenPolicy(policies.SansIOHTTPPolicy[Any, Any]):
    """Authentication at the embedded service.

    The policy of the SDK refuses to send a token over http, after 4.8 seconds of retries.
    """

    def __init__(self, token: Secret) -> None:
        super().__init__()
        self._token = token

    def on_request(self, request: Any) -> None:
        """Set the header."""
        request.http_request.headers["Authorization"] = f"Bearer {self._token.reveal()}"


def management_client(
    account: AnyAccount,
    subscription: str,
    *,
    credential: Any,
    retry: policies.AsyncHTTPPolicy[Any, Any],
    transport: Any,
) -> BatchManagementClient:
    """The client of a subscription at Resource Manager, or at the embedded service.

    Args:
        account: the account; it determines the address and the authentication of the requests.
        subscription: the subscription of the operations; empty: only ``send_request`` is used.
        credential: creates the tokens; ignored for the embedded service.
        retry: the retry policy of this project.
        transport: the connections.
    """
    # Imported with the first request: it takes 0.1 s.
    from azure.mgmt.batch.aio import BatchManagementClient  # noqa: PLC0415
    from azure.mgmt.core.policies import (  # noqa: PLC0415
        AsyncARMChallengeAuthenticationPolicy,
    )

    authentication: Any
    if token := local_token(account, account.manager_url):
        authentication = LocalTokenPolicy(token)
    else:
        cloud = account.cloud if isinstance(account, AzureAccount) else PUBLIC
        scope = f"{cloud.manager_audience}/.default"
        authentication = AsyncARMChallengeAuthenticationPolicy(credential, scope)
    pipeline: Sequence[Any] = (
        policies.RequestIdPolicy(),
        policies.HeadersPolicy(),
        policies.UserAgentPolicy(USER_AGENT),
        policies.ContentDecodePolicy(),
        retry,
        authentication,
        policies.CustomHookPolicy(),
    )
    return BatchManagementClient(
        credential if credential is not None else authentication,
        subscription,
        api_version=API_VERSION,
        base_url=account.manager_url,
        policies=list(pipeline),
        transport=transport,
    )
