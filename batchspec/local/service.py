"""The embedded Batch service, wired together: store, engine, door.

``serve`` runs it until it is cancelled. A second service on the same data folder is the caller's
to prevent (the daemon holds a lock).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from batchspec.local.agent.clock import Ahead, Clock
from batchspec.local.agent.containers import Containers
from batchspec.local.agent.grants import NoGrants, StorageAccount
from batchspec.local.agent.leftovers import mark
from batchspec.local.api.context import Context
from batchspec.local.chaos.dose import NO_CHAOS, Chaos
from batchspec.local.engine.engine import Engine as ProcessEngine
from batchspec.local.engine.environment import Site
from batchspec.local.engine.fates import Fates, absence_of
from batchspec.local.engine.state import Delays
from batchspec.local.http.app import Door
from batchspec.local.http.server import serving
from batchspec.local.loopback import listen, url_of
from batchspec.local.settings import NO_LIMITS, Limits
from batchspec.local.store.applications import Applications
from batchspec.local.store.store import Store


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a service is started with.

    ``data`` is a folder of its own. ``key`` is the account's key in base64, which is never shown.
    ``applications`` is the folder of the application packages that users put there, ``limits`` are
    those of every task.
    ``storage`` is the connection string of the account's storage, for
    ``autoStorageContainerName``; ``None`` when there is none. ``speed`` is how much faster than the
    wall's the service's time passes, ``allocation`` how much of that time a node takes to come up,
    ``chaos`` what goes wrong on purpose.
    """

    data: Path
    account: str
    key: str = field(repr=False)
    storage: str | None = field(default=None, repr=False)
    speed: float = 1.0
    allocation: timedelta = timedelta()
    chaos: Chaos = NO_CHAOS
    applications: Path | None = None
    limits: Limits = NO_LIMITS


class Engine(Protocol):
    """What makes happen what the store says is wanted."""

    async def run(self) -> None:
        """Work until cancelled; then end all processes and return."""


MakeEngine = Callable[[Store, ServiceConfig, str, Clock], Engine]
"""Makes the engine of a service; the text is its URL."""


def make_engine_of(store: Store, config: ServiceConfig, url: str, clock: Clock) -> Engine:
    """The engine that runs tasks as processes of this machine."""
    grants = NoGrants() if config.storage is None else StorageAccount.read(config.storage)
    site = Site(config.account, url, applications=applications_of(config), limits=config.limits)
    containers = Containers(os.environ, mark(config.data))
    return ProcessEngine(
        store,
        config.data,
        site,
        grants,
        clock=clock,
        containers=containers,
        delays=Delays(allocation=config.allocation, absence=absence_of(config.chaos)),
        fates=Fates(config.chaos) if config.chaos else None,
    )


def applications_of(config: ServiceConfig) -> Applications:
    """The account's applications; by default in a folder in its data folder."""
    return Applications(config.applications or config.data / "applications")


async def serve(
    config: ServiceConfig,
    ready: Callable[[str], None],
    *,
    listening: socket.socket | None = None,
    make_engine: MakeEngine | None = make_engine_of,
) -> None:
    """Run the service until cancelled; call ``ready`` with its URL once it answers.

    It is asked at ``listening``, by default at a free port of this machine.

    When cancelled: requests on their way are finished, the process groups of all tasks are ended,
    the state is saved. Without an engine (``None``) nothing that is wanted happens; that is for
    tests.

    Raises:
        OSError: the data folder cannot be written.
        RuntimeError: the data folder was written by a newer version.
    """
    config.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    time = Ahead(config.data)
    clock = Clock(config.speed, time.read())
    listening = listening or listen()
    with contextlib.closing(listening), contextlib.closing(Store(_database(config))) as store:
        url = url_of(listening)
        agent = f"batchspec {version('batchspec')}"
        context = Context(
            store,
            config.account,
            url,
            config.data,
            agent,
            applications_of(config),
            Containers(os.environ),
        )
        # Signatures are dated by the wall, whatever time the service lives in.
        door = Door(context, config.key, now=clock.now, wall=_wall)
        engine = None if make_engine is None else make_engine(store, config, url, clock)
        async with (
            time.keeping(clock),
            _working(engine) as working,
            serving(door, listening, config.chaos) as http,
        ):
            ready(url)
            await _until_one_ends({http, *working}, besides=http)


@contextlib.asynccontextmanager
async def _working(engine: Engine | None) -> AsyncIterator[set[asyncio.Task[None]]]:
    """The task of ``engine``, if there is one, which has taken its first step.

    So what an earlier life has left is seen to before anybody can ask about it.
    """
    if engine is None:
        yield set()
        return
    task = asyncio.create_task(engine.run(), name="batch-engine")
    try:
        await asyncio.sleep(0)
        yield {task}
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until_one_ends(working: set[asyncio.Task[None]], besides: asyncio.Task[None]) -> None:
    """Wait for one of the tasks to fail, or to be cancelled; end the others but ``besides``."""
    try:
        ended, _ = await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()
    finally:
        others = working - {besides}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


def _database(config: ServiceConfig) -> Path:
    return config.data / "batch.db"


def _wall() -> datetime:
    return datetime.now(UTC)
