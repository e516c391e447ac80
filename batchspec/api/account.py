"""Selects the account, starts the embedded service when it is used, and opens the account."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol

from batchspec import local
from batchspec.api.options import Target
from batchspec.cloud import (
    AccountClient,
    AnyAccount,
    AzureAccount,
    LocalAccount,
    account_from,
    check_sign_in,
    is_readable_file,
    open_account,
)
from batchspec.diagnostics import Diagnostic, Secret, ServiceError, UsageError, conceal
from batchspec.spec import Spec

if TYPE_CHECKING:
    from batchspec.apply.events import Waiting

_AZURE_VARIABLES = ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT")


class Notices(Protocol):
    """What an operation reports outside a run: what it has done so far, and what it waits for."""

    def loaded(self, spec: Spec) -> None:
        """The spec is read, and its secrets are redacted in every output."""
        ...

    def starting(self, phase: local.StartupPhase) -> None:
        """The embedded service is being started."""
        ...

    def started(self, simulation: local.Simulation) -> None:
        """The embedded service runs, perhaps with another clock or with injected faults."""
        ...

    def working(self, subject: str, detail: str = "") -> None:
        """What the operation does now, and how far it is: ``listing blobs of input``, ``2,000``."""
        ...

    def waiting(self, wait: Waiting) -> None:
        """A service delays requests, or no longer does."""
        ...


class NoNotices:
    """Ignores all notices."""

    def loaded(self, spec: Spec) -> None:
        """Ignore it."""

    def starting(self, phase: local.StartupPhase) -> None:
        """Ignore it."""

    def started(self, simulation: local.Simulation) -> None:
        """Ignore it."""

    def working(self, subject: str, detail: str = "") -> None:
        """Ignore it."""

    def waiting(self, wait: Waiting) -> None:
        """Ignore it."""


def select_target(target: Target | None, environ: Mapping[str, str]) -> Target:
    """``target`` if given, else azure if the environment names an account, else local."""
    if target is not None:
        return target
    named = any(environ.get(name) for name in _AZURE_VARIABLES)
    return Target.AZURE if named else Target.LOCAL


@asynccontextmanager
async def open_target(
    target: Target | None, environ: Mapping[str, str], notices: Notices
) -> AsyncIterator[AccountClient]:
    """The client of the selected account. The embedded service is started if necessary.

    Raises:
        UsageError: the environment names no Azure account, or only a part of one.
        SignInError: settings of the sign-in are wrong.
        ServiceError: the embedded service could not be started.
    """
    account: AnyAccount
    stopped: Callable[[], Diagnostic | None] = _never_stopped
    if select_target(target, environ) is Target.AZURE:
        account = azure_account(environ)
    else:
        endpoints = start_service(notices.starting)
        notices.started(endpoints.simulation)
        account = local_account(endpoints)
        stopped = partial(stopped_service, endpoints)
    notices.working(f"reading the account {account.names.batch}")
    secrets = (account.batch_key, account.blob_key, account.token)
    conceal(*(each for each in secrets if each is not None))
    async with open_account(account, notice=notices.waiting, stopped=stopped) as client:
        yield client


def _never_stopped() -> Diagnostic | None:
    """The services of Azure may be out of reach, and answer again."""
    return None


def stopped_service(endpoints: local.Endpoints) -> Diagnostic | None:
    """The error if the embedded service at ``endpoints`` has stopped; ``None`` while it runs.

    Raises:
        ServiceError: its folder cannot be read.
    """
    with service_errors():
        status = local.status(endpoints.data)
    if status.state in {local.State.STOPPED, local.State.STALE}:
        detail = f"log: {status.log}"
    elif status.endpoints is not None and status.endpoints.batch_url != endpoints.batch_url:
        detail = f"it was started again at {status.endpoints.batch_url}"
    else:
        return None
    return Diagnostic(
        "local-stopped",
        "the embedded service has stopped",
        detail,
        fix="Start it with `batchspec local start`, and run the command again",
    )


def azure_account(environ: Mapping[str, str]) -> AzureAccount:
    """The account that the environment names; without keys, its sign-in settings are checked.

    Raises:
        UsageError: the environment names no account, or only a part of one.
        SignInError: settings of the sign-in are wrong.
    """
    account = account_from(environ)
    if account.batch_key is None or account.blob_key is None:
        check_sign_in(environ, is_readable_file)
    return account


def local_account(endpoints: local.Endpoints) -> LocalAccount:
    """The account of the embedded service at these endpoints; without keys if it refuses them."""
    keys = not endpoints.simulation.entra_only
    return LocalAccount(
        batch_url=endpoints.batch_url,
        batch_account=endpoints.batch_account,
        batch_key=Secret(endpoints.batch_key) if keys else None,
        blob_url=endpoints.blob_url,
        blob_account=endpoints.blob_account,
        blob_key=Secret(endpoints.blob_key) if keys else None,
        token=Secret(endpoints.token),
    )


def start_service(
    notify: local.Notify,
    *,
    port: int = 0,
    options: local.SimulationOptions = local.NO_OPTIONS,
    https: bool = False,
) -> local.Endpoints:
    """The endpoints of the embedded service, which is started if it is not running.

    Raises:
        ServiceError: it could not be started.
    """
    with service_errors():
        return local.start(port=port, notify=notify, options=options, https=https)


@contextmanager
def service_errors() -> Iterator[None]:
    """Convert the errors of the embedded service, which does not know this project's diagnostics.

    Raises:
        UsageError: one of its settings is invalid.
        ServiceError: every other error of it.
    """
    try:
        yield
    except local.LocalError as error:
        lines = [f"| {line}" for line in error.lines]
        if error.log:
            lines.append(f"log: {error.log}")
        diagnostic = Diagnostic(error.code, error.summary, "\n".join(lines), fix=error.fix)
        if error.code.endswith("-unreadable"):
            raise UsageError(diagnostic) from error
        raise ServiceError(diagnostic, code=error.code) from error
