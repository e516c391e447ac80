"""The SDKs' clients, set up and put behind the ports. Importing this imports Azure."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from azure.batch.aio import BatchClient
from azure.core.credentials import AzureNamedKeyCredential
from azure.core.credentials_async import AsyncTokenCredential
from azure.storage.blob.aio import BlobServiceClient

from batchspec.cloud.account import PUBLIC, AnyAccount, AzureAccount, AzureCloud
from batchspec.cloud.batch import BatchService
from batchspec.cloud.cloud import Cloud
from batchspec.cloud.download import RANGE
from batchspec.cloud.limiter import Limiter, Limits, Timing
from batchspec.cloud.pipeline import AsSent, Notice, Patience, transport
from batchspec.cloud.reader import AccountReader
from batchspec.cloud.service_time import ServiceTime
from batchspec.cloud.signing import Mint
from batchspec.cloud.storage import BlobStorage
from batchspec.cloud.upload import BLOCK
from batchspec.cloud.wire import API_VERSION


@asynccontextmanager
async def connect(
    account: AnyAccount,
    *,
    limits: Limits,
    timing: Timing,
    now: Callable[[], datetime],
    notice: Notice,
    credential: Callable[[], AsyncTokenCredential] | None,
    ca_file: Path | None,
) -> AsyncIterator[Cloud]:
    """Set up both clients of an account; see :func:`batchspec.cloud.open.open_account`."""
    # Nothing that the SDKs log is for our users: addresses, and a traceback for every error reply
    # without a body, which is any HEAD that is refused (azure.batch._utils.model_base).
    logging.getLogger("azure").setLevel(logging.CRITICAL + 1)
    verify: bool | str = str(ca_file) if ca_file else True
    # One limiter for each service, shared by everybody who talks to it: that the one is busy says
    # nothing of the other.
    batch_limiter, blob_limiter = Limiter(limits, timing), Limiter(limits, timing)
    batch_time, blob_time = (ServiceTime(timing.monotonic, now) for _ in range(2))
    async with AsyncExitStack() as stack:
        token: Any = None
        if account.batch_key is None or account.blob_key is None:
            token = await stack.enter_async_context(
                credential() if credential else _signed_in(_cloud(account))
            )
        client = await stack.enter_async_context(
            BatchClient(
                account.batch_url,
                _batch_credential(account, token),
                api_version=API_VERSION,
                credential_scopes=[f"{_cloud(account).audience}/.default"],
                per_call_policies=[AsSent()],
                retry_policy=Patience(batch_limiter, limits, timing, batch_time, notice),
                transport=transport(account.batch_url, limits, verify),
            )
        )
        service = await stack.enter_async_context(
            BlobServiceClient(
                account.blob_url,
                credential=_blob_credential(account, token),
                retry_policy=Patience(blob_limiter, limits, timing, blob_time, notice),
                transport=transport(account.blob_url, limits, verify),
                max_single_put_size=BLOCK,
                max_single_get_size=RANGE,
                max_chunk_get_size=RANGE,
            )
        )
        mint = Mint(account, service, blob_time.now)
        batch = BatchService(client, mint, batch_limiter, limits, timing, batch_time)
        storage = BlobStorage(service, blob_limiter, limits, timing, blob_time)
        yield Cloud(AccountReader(account.shown, batch, storage), storage, batch, mint.longest)


def _signed_in(cloud: AzureCloud) -> AsyncTokenCredential:
    # It takes as long to import as all the rest, and with keys it is not needed.
    from azure.identity.aio import DefaultAzureCredential  # noqa: PLC0415

    return DefaultAzureCredential(authority=cloud.authority)


def _batch_credential(account: AnyAccount, token: Any) -> Any:
    if account.batch_key is None:
        return token
    return AzureNamedKeyCredential(account.batch_account, account.batch_key.reveal())


def _blob_credential(account: AnyAccount, token: Any) -> Any:
    if account.blob_key is None:
        return token
    return {"account_name": account.blob_account, "account_key": account.blob_key.reveal()}


def _cloud(account: AnyAccount) -> AzureCloud:
    return account.cloud if isinstance(account, AzureAccount) else PUBLIC
