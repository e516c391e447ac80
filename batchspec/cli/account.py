"""The one place that knows there is a choice of account."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from batchspec import local
from batchspec.cli.options import Target
from batchspec.cli.screen import Notices
from batchspec.cloud import AccountClient, AnyAccount, LocalAccount, account_from, open_account
from batchspec.diagnostics import Diagnostic, Secret, ServiceError, UsageError, conceal
from batchspec.render.local import LocalSimulation, phase_text, simulation_notice

_NAMED = ("AZURE_BATCH_ACCOUNT", "AZURE_BATCH_ENDPOINT")


def chosen_target(target: Target | None, environ: Mapping[str, str]) -> Target:
    """The account to work on: the one asked for, else azure if one is named, else local."""
    if target is not None:
        return target
    return Target.AZURE if any(environ.get(name) for name in _NAMED) else Target.LOCAL


def account_of(target: Target | None, environ: Mapping[str, str]) -> AnyAccount:
    """The account to open; the embedded service is started if it is the one and does not run.

    Raises:
        UsageError: the environment names no Azure account, or half of one.
        ServiceError: the embedded service could not be started.
    """
    azure = chosen_target(target, environ) is Target.AZURE
    account = account_from(environ) if azure else local_account(_noticed(started()))
    conceal(*(key for key in (account.batch_key, account.blob_key) if key is not None))
    return account


def local_account(endpoints: local.Endpoints) -> LocalAccount:
    """The account of the embedded service at these endpoints."""
    return LocalAccount(
        batch_url=endpoints.batch_url,
        batch_account=endpoints.batch_account,
        batch_key=Secret(endpoints.batch_key),
        blob_url=endpoints.blob_url,
        blob_account=endpoints.blob_account,
        blob_key=Secret(endpoints.blob_key),
    )


def day_of(simulation: local.Simulation) -> LocalSimulation:
    """The simulation options of the embedded service, for display."""
    return LocalSimulation(
        speed=simulation.speed,
        allocation=simulation.allocation_text,
        chaos=simulation.faults.text,
        seed=simulation.faults.seed,
    )


def _noticed(endpoints: local.Endpoints) -> local.Endpoints:
    """The endpoints; whoever uses a service that rehearses is told so, lest they be fooled."""
    if notice := simulation_notice(day_of(endpoints.simulation)):
        print(notice, file=sys.stderr, flush=True)
    return endpoints


def started(
    *, port: int = 0, options: local.SimulationOptions = local.NO_OPTIONS
) -> local.Endpoints:
    """The embedded service's endpoints; it is started if it does not run.

    Raises:
        ServiceError: it could not be started; the problem says how to mend that.
    """

    def say(phase: local.StartupPhase) -> None:
        print(phase_text(phase.value), file=sys.stderr, flush=True)

    with translated():
        return local.start(port=port, notify=say, options=options)


class translated:  # noqa: N801 - a context manager, named as it reads
    """Turns the embedded service's own errors into problems, since it knows nothing of ours."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        if isinstance(error, local.LocalError):
            lines = [*(f"| {line}" for line in error.lines), *_log(error)]
            problem = Diagnostic(error.code, error.summary, "\n".join(lines), fix=error.fix)
            if error.code.endswith("-unreadable"):
                raise UsageError(problem) from error
            raise ServiceError(problem, code=error.code) from error


def _log(error: local.LocalError) -> list[str]:
    return [f"log: {error.log}"] if error.log else []


@asynccontextmanager
async def opened(
    target: Target | None, environ: Mapping[str, str], notices: Notices | None = None
) -> AsyncIterator[AccountClient]:
    """The account, open for reading and changing; ``notices`` hears of what keeps us waiting."""
    account = account_of(target, environ)
    async with open_account(account, notice=notices or Notices()) as cloud:
        yield cloud
