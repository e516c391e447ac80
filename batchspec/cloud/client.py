"""An open account. Opening an account imports the Azure SDKs; importing this module does not."""

from __future__ import annotations

import asyncio
import gc
import random as random_module
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchspec.cloud.account import AnyAccount
from batchspec.cloud.timing import Limits, Timing
from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan.observed import AccountNames

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.storage.blob.aio import BlobServiceClient

    from batchspec.apply.events import Waiting
    from batchspec.cloud.account_facts import Images, Quotas
    from batchspec.cloud.control_plane import ControlPlane
    from batchspec.cloud.jobs import Jobs, JobSchedules
    from batchspec.cloud.packages import Applications
    from batchspec.cloud.pools import Nodes, Pools
    from batchspec.cloud.rest import BatchConnection
    from batchspec.cloud.storage import Blobs, Containers
    from batchspec.cloud.tasks import Tasks
    from batchspec.cloud.timing import ServiceTime


@frozen
class AccountClient:
    """An open account. Implements :class:`batchspec.account.Account`.

    ``longest_sas`` is the longest validity that a SAS of the account can have; ``None``: no limit.
    ``connection``, ``service`` (the client of the SDK) and ``storage_time`` are for this package.
    """

    names: AccountNames
    longest_sas: timedelta | None
    control_plane: ControlPlane
    pools: Pools
    nodes: Nodes
    jobs: Jobs
    job_schedules: JobSchedules
    tasks: Tasks
    images: Images
    applications: Applications
    quotas: Quotas
    containers: Containers
    blobs: Blobs
    connection: BatchConnection
    service: BlobServiceClient
    storage_time: ServiceTime

    def now(self) -> datetime:
        """The time at the Batch service (UTC), by its latest responses."""
        return self.connection.time.now()

    def storage_now(self) -> datetime:
        """The time at the Storage account (UTC), by its latest responses."""
        return self.storage_time.now()


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Import without garbage collection.

    The SDKs create 76,000 objects that stay. Looking for garbage among them takes 8 % of the
    processor time of ``batchspec plan``.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if gc.get_freeze_count() == 0:
            # All objects move to the old generation; otherwise, the next collection would visit
            # each of them.
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()


_load_certificates = ssl.SSLContext.set_default_verify_paths


class _LazyContext(ssl.SSLContext):
    """A context that loads the certificate authorities of the system at its first connection."""

    def _load(self) -> None:
        _load_certificates(self)
        self.__class__ = ssl.SSLContext  # type: ignore[assignment]

    def wrap_bio(self, *args: Any, **options: Any) -> ssl.SSLObject:
        self._load()
        return self.wrap_bio(*args, **options)

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self._load()
        return self.wrap_socket(*args, **options)


def _load_later(context: ssl.SSLContext) -> None:
    if type(context) is ssl.SSLContext:
        context.__class__ = _LazyContext
    else:
        _load_certificates(context)


@contextmanager
def _certificates_later() -> Iterator[None]:
    """Import without loading the certificate authorities of the system.

    ``aiohttp.connector`` creates two contexts when it is imported, and loads them twice: 7 % of
    the processor time of ``batchspec plan``. The embedded service needs none.
    """
    ssl.SSLContext.set_default_verify_paths = _load_later  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ssl.SSLContext.set_default_verify_paths = _load_certificates  # type: ignore[method-assign]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _ignore(_: Waiting) -> None:
    return None


def _never() -> Diagnostic | None:
    return None


@asynccontextmanager
async def open_account(
    account: AnyAccount,
    *,
    limits: Limits | None = None,
    now: Callable[[], datetime] = _utc_now,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    random: Callable[[], float] = random_module.random,
    notice: Callable[[Waiting], None] = _ignore,
    credential: Callable[[], AsyncTokenCredential] | None = None,
    ca_file: Path | None = None,
    stopped: Callable[[], Diagnostic | None] = _never,
) -> AsyncIterator[AccountClient]:
    """Open an account and close its connections at the end. Opening sends no request.

    Args:
        account: which account, with its keys.
        limits: how long to retry and to wait.
        now: the time of this machine (UTC), until the first response of a service.
        monotonic: seconds that only increase.
        sleep: waits for a number of seconds.
        random: a number in [0, 1), for jitter.
        notice: is called when a service makes requests wait, and when it answers again.
        credential: creates the credential for an account without keys; ``DefaultAzureCredential``
            by default.
        ca_file: the certificates to trust, instead of the default ones.
        stopped: the error if a service that does not answer has stopped.
    """
    with _collector_paused(), _certificates_later():
        from batchspec.cloud.connect import Clients  # noqa: PLC0415 - imports the Azure SDKs

    async with AsyncExitStack() as stack:
        clients = Clients(
            account,
            limits=limits or Limits(),
            timing=Timing(monotonic, sleep, random),
            now=now,
            notice=notice,
            credential=credential,
            ca_file=ca_file,
            stopped=stopped,
            stack=stack,
        )
        yield await clients.connect()
