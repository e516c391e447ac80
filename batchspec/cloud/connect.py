"""Sets up the clients of the Azure SDKs, and probes the services. Importing it imports the SDKs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.batch.aio import BatchClient
from azure.core.credentials import AzureKeyCredential, AzureNamedKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError
from azure.storage.blob.aio import BlobServiceClient

from batchspec.cloud.account import API_VERSION, PUBLIC, AnyAccount, AzureAccount, AzureCloud
from batchspec.cloud.account_facts import Images, Quotas
from batchspec.cloud.client import AccountClient
from batchspec.cloud.control_plane import (
    ControlPlane,
    LocalTokenPolicy,
    local_token,
    management_client,
)
from batchspec.cloud.errors import no_manager_credential, translate
from batchspec.cloud.jobs import Jobs, JobSchedules
from batchspec.cloud.packages import Applications
from batchspec.cloud.pipeline import (
    USER_AGENT,
    NormalizeUrlPolicy,
    Notice,
    RetryPolicy,
    transport,
)
from batchspec.cloud.pools import Nodes, Pools
from batchspec.cloud.rest import BatchConnection
from batchspec.cloud.sas import SasSigner
from batchspec.cloud.sign_in import create_credential
from batchspec.cloud.storage import Blobs, Containers
from batchspec.cloud.tasks import Tasks
from batchspec.cloud.timing import Limits, RateLimiter, ServiceTime, Timing
from batchspec.cloud.transfer import BLOCK
from batchspec.diagnostics import Diagnostic, Secret, ServiceError
from batchspec.frozen import frozen

if TYPE_CHECKING:
    from azure.mgmt.batch.aio import BatchManagementClient


class Clients:
    """Creates the clients of one account; ``stack`` closes them, and the credential.

    ``batch``, ``storage`` and ``manager`` are the rate limiter and the clock of each service: one
    service can be busy while the others are not. See :func:`batchspec.cloud.open_account` for the
    other arguments.
    """

    def __init__(
        self,
        account: AnyAccount,
        *,
        limits: Limits,
        timing: Timing,
        now: Callable[[], datetime],
        notice: Notice,
        credential: Callable[[], AsyncTokenCredential] | None,
        ca_file: Path | None,
        stopped: Callable[[], Diagnostic | None],
        stack: AsyncExitStack,
    ) -> None:
        self._account, self._limits, self._timing = account, limits, timing
        self._notice, self._stopped = notice, stopped
        self._credential, self._stack = credential, stack
        self._verify: bool | str = str(ca_file) if ca_file else True
        self._token: AsyncTokenCredential | None = None
        self.batch, self.storage, self.manager = (
            (RateLimiter(limits, timing), ServiceTime(timing.monotonic, now)) for _ in range(3)
        )

    async def connect(self) -> AccountClient:
        """Set up the clients of the account; sends no request."""
        # The SDKs log URLs, and a traceback for each error without a body, such as any HEAD that
        # fails (azure.batch._utils.model_base).
        logging.getLogger("azure").setLevel(logging.CRITICAL + 1)
        account, limits, timing = self._account, self._limits, self._timing
        if not self.has_own_credential(account.batch_key, account.batch_url) or (
            not self.has_own_credential(account.blob_key, account.blob_url)
        ):
            await self.sign_in()
        batch_limiter, batch_time = self.batch
        client = await self._stack.enter_async_context(self.batch_client())
        service = await self._stack.enter_async_context(self.blob_service())
        blob_limiter, blob_time = self.storage
        signer = SasSigner(account, service, blob_time.now)
        batch = BatchConnection(client, signer, batch_limiter, limits, timing, batch_time)
        pools = Pools(batch)
        control_plane = ControlPlane(account, self.connect_manager, batch, pools.get)
        return AccountClient(
            names=account.names,
            longest_sas=signer.longest,
            control_plane=control_plane,
            pools=pools,
            nodes=Nodes(batch),
            jobs=Jobs(batch),
            job_schedules=JobSchedules(batch),
            tasks=Tasks(batch),
            images=Images(batch),
            applications=Applications(batch, control_plane, self.blob_options),
            quotas=Quotas(batch),
            containers=Containers(service, limits, timing),
            blobs=Blobs(service, self.retry_policy(self.storage), blob_limiter, timing),
            connection=batch,
            service=service,
            storage_time=blob_time,
        )

    def has_own_credential(self, key: Secret | None, url: str) -> bool:
        """Whether the service at ``url`` needs no Microsoft Entra credential."""
        return (key or local_token(self._account, url)) is not None

    async def sign_in(self) -> None:
        """Create the Microsoft Entra credential; a second call has no effect."""
        if self._token is None:
            create = self._credential or (lambda: create_credential(_cloud(self._account)))
            self._token = await self._stack.enter_async_context(create())

    def retry_policy(self, service: tuple[RateLimiter, ServiceTime], **options: Any) -> RetryPolicy:
        """A retry policy for one client of a service; ``options`` are further arguments."""
        limiter, time = service
        return RetryPolicy(
            limiter,
            self._limits,
            self._timing,
            time,
            self._notice,
            stopped=self._stopped,
            cloud=_cloud(self._account).cli_name,
            **options,
        )

    def batch_client(self) -> BatchClient:
        account = self._account
        return BatchClient(
            account.batch_url,
            **_batch_credential(account, self._token),
            base_user_agent=USER_AGENT,
            api_version=API_VERSION,
            credential_scopes=[f"{_cloud(account).audience}/.default"],
            per_call_policies=[NormalizeUrlPolicy()],
            retry_policy=self.retry_policy(self.batch),
            transport=transport(account.batch_url, self._limits, self._verify),
        )

    def blob_service(self) -> BlobServiceClient:
        account = self._account
        return BlobServiceClient(
            account.blob_url,
            **_blob_credential(account, self._token, account.blob_url),
            base_user_agent=USER_AGENT,
            retry_policy=self.retry_policy(self.storage),
            transport=transport(account.blob_url, self._limits, self._verify),
            max_single_put_size=BLOCK,
        )

    def blob_options(self, url: str) -> dict[str, Any]:
        """The options of a blob client for ``url``, which can have a SAS."""
        options = {
            "base_user_agent": USER_AGENT,
            "retry_policy": self.retry_policy(self.storage),
            "transport": transport(url, self._limits, self._verify),
        }
        if not urlsplit(url).query:  # without a SAS, Batch and clients sign in to the storage
            options |= _blob_credential(self._account, self._token, url)
        return options

    async def connect_manager(self, subscription: str) -> BatchManagementClient:
        """Open the client of the control plane; the first one signs in if necessary."""
        account = self._account
        if not self.has_own_credential(None, account.manager_url):
            await self.sign_in()
        return await self._stack.enter_async_context(
            management_client(
                account,
                subscription,
                credential=self._token,
                retry=self.retry_policy(self.manager, no_token=no_manager_credential),
                transport=transport(account.manager_url, self._limits, self._verify),
            )
        )


def _batch_credential(account: AnyAccount, token: Any) -> dict[str, Any]:
    """The options of the client of the Batch service that authenticate it."""
    if account.batch_key is not None:
        key = AzureNamedKeyCredential(account.batch_account, account.batch_key.reveal())
        return {"credential": key}
    if local := local_token(account, account.batch_url):
        # The client requires a credential, and ignores it if there is a policy.
        unused = AzureKeyCredential(local.reveal())
        return {"credential": unused, "authentication_policy": LocalTokenPolicy(local)}
    return {"credential": token}


def _blob_credential(account: AnyAccount, token: Any, url: str) -> dict[str, Any]:
    """The options of a client of the Storage account at ``url`` that authenticate it.

    Application packages may be in another Storage account, for which the key is not valid.
    """
    same = urlsplit(url).netloc.lower() == urlsplit(account.blob_url).netloc.lower()
    if account.blob_key is not None and same:
        name, key = account.blob_account, account.blob_key.reveal()
        return {"credential": {"account_name": name, "account_key": key}}
    if local := local_token(account, url):
        # The client of the SDK refuses a credential with tokens for an http URL.
        return {"headers": {"Authorization": f"Bearer {local.reveal()}"}}
    return {"credential": token}


def _cloud(account: AnyAccount) -> AzureCloud:
    return account.cloud if isinstance(account, AzureAccount) else PUBLIC


@frozen
class Probe:
    """The response of a service to one cheap request, for ``batchspec doctor``.

    ``seconds`` is the duration; ``ahead`` is how far the clock of the service is ahead of the local
    clock, in whole seconds (``None`` without a ``Date``); ``problem`` is the error, if there is
    one.
    """

    seconds: float
    ahead: timedelta | None = None
    problem: Diagnostic | None = None


async def probe_batch(account: AccountClient, now: Callable[[], datetime]) -> Probe:
    """Read one supported image from the Batch service."""

    async def send(hook: Callable[[Any], None]) -> None:
        images = account.connection.client.list_supported_images(
            max_results=1, raw_response_hook=hook
        )
        async for _ in images.by_page():
            return

    return await _probe(send, account.connection.timing.monotonic, now)


async def probe_storage(account: AccountClient, now: Callable[[], datetime]) -> Probe:
    """Read one container from the Storage service."""

    async def send(hook: Callable[[Any], None]) -> None:
        async for _ in account.service.list_containers(
            results_per_page=1, raw_response_hook=hook
        ).by_page():
            return

    return await _probe(send, account.connection.timing.monotonic, now)


async def probe_signing(account: AccountClient, now: Callable[[], datetime]) -> Probe:
    """Request a user delegation key, if URLs of the Storage account are signed with one.

    It requires a role on the Storage account; lists and blobs require a role on a container only.
    """

    async def send(_: Callable[[Any], None]) -> None:
        await account.connection.signer.for_lifetime(timedelta(hours=1))

    return await _probe(send, account.connection.timing.monotonic, now)


async def _probe(
    send: Callable[[Callable[[Any], None]], Awaitable[None]],
    monotonic: Callable[[], float],
    now: Callable[[], datetime],
) -> Probe:
    ahead: timedelta | None = None

    def read_date(response: Any) -> None:
        nonlocal ahead
        date = response.http_response.headers.get("date")
        if date:
            ahead = parsedate_to_datetime(date) - now()

    began, problem = monotonic(), None
    try:
        await send(read_date)
    except AzureError as error:
        problem = translate(error, "").problems[0]
    except ServiceError as error:
        problem = error.problems[0]
    return Probe(monotonic() - began, ahead, problem)
