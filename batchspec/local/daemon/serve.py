"""The daemon: one process that runs the Batch service and keeps Azurite beside it.

What lives here: the order of things at the start and at the end. What may not: how either of the
two works. Blobs come first and go last, since tasks that are ended may still be writing some.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
import os
import signal
import socket
from collections.abc import Coroutine
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NoReturn
from urllib.parse import urlsplit

from batchspec.local.azurite.install import install
from batchspec.local.azurite.nodejs import find_nodejs
from batchspec.local.azurite.server import LaunchOptions
from batchspec.local.daemon.endpoints import (
    Account,
    Announcement,
    connection_string,
    write_announcement,
)
from batchspec.local.daemon.home import Home, write_private
from batchspec.local.daemon.readiness import ReadinessReporter
from batchspec.local.daemon.stop import end_orphans
from batchspec.local.daemon.supervisor import AzuriteSupervisor
from batchspec.local.error import LocalError
from batchspec.local.lock import Lock
from batchspec.local.loopback import listen
from batchspec.local.process import Process
from batchspec.local.settings import Settings

_PATIENCE = 20.0
_LOOK_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the two listen; 0 is any free port."""

    batch: int = 0
    blob: int = 0


def run_daemon(settings: Settings, *, port: int, reporter: ReadinessReporter) -> None:
    """Be the daemon of ``settings.data`` until SIGTERM or SIGINT; this process is for nothing else.

    Raises:
        LocalError: it runs already (``already-running``), or cannot be started or kept running.
    """
    os.umask(0o077)
    home = Home(settings.data)
    home.create()
    with home.disk_errors():
        running = Lock.take(home.daemon_lock)
    if running is None:
        raise LocalError(
            "already-running",
            f"The local service of {home.root} runs already.",
            log=home.log,
        )
    # Never released: the end of this process frees it, so that a free lock means that it is gone.
    running.note(str(Process.of(os.getpid())))
    try:
        _hold_blobs(settings, home, running, port, reporter)
    except LocalError as error:
        reporter.failed(error)
        raise


def _hold_blobs(
    settings: Settings, home: Home, running: Lock, port: int, reporter: ReadinessReporter
) -> None:
    end_orphans(home)
    account = Account.read(home) or Account.create(home)
    node = find_nodejs(settings)
    installed = install(
        node,
        settings.cache,
        search_path=settings.path,
        environ=dict(os.environ),
        notify=lambda _: None,
    )
    last = _last_ports(home)
    # Listening from now on: a port that is only looked at may be somebody else's a moment later.
    listening = _listening(port, last.batch)
    with home.disk_errors():
        home.azurite_log.unlink(missing_ok=True)
        for folder in (home.batch, home.blobs, home.applications):
            folder.mkdir(exist_ok=True)
        storing = Lock.take(home.azurite_lock)
    if storing is None:
        raise LocalError("data-locked", f"Another process works on {home.blobs}.")
    with storing, listening:
        launch = LaunchOptions(
            node=node,
            installed=installed,
            account=account.blob_account,
            key=account.blob_key,
            log=home.azurite_log,
            location=home.blobs,
            port=last.blob,
            inherit=(storing.fileno,),
        )
        keeper = AzuriteSupervisor(launch, storing)
        work = _work(home, settings, account, keeper, listening=listening, reporter=reporter)
        asyncio.run(_live(home, running, keeper, work))


async def _live(
    home: Home, running: Lock, keeper: AzuriteSupervisor, work: Coroutine[Any, Any, None]
) -> None:
    """Work until told to end, until the work fails, or until nobody could find us any more."""
    loop = asyncio.get_running_loop()
    told_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_end.set)
    ending = asyncio.create_task(told_to_end.wait())
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_watch_folder(home, running))
    try:
        await _until_one_ends(working, watching, ending)
    finally:
        _log.info("ending")
        home.endpoints.unlink(missing_ok=True)
        ending.cancel()
        watching.cancel()
        await _cancel(working)
        await keeper.stop()
        _log.info("ended")


async def _watch_folder(home: Home, running: Lock) -> NoReturn:
    """Raise when the data folder was deleted: no ``stop`` would ever reach this process."""
    while running.is_in_place():  # noqa: ASYNC110  nothing tells of a deletion
        await asyncio.sleep(_LOOK_SECONDS)
    raise LocalError("data-gone", f"The data folder {home.root} was deleted.")


async def _work(
    home: Home,
    settings: Settings,
    account: Account,
    keeper: AzuriteSupervisor,
    *,
    listening: socket.socket,
    reporter: ReadinessReporter,
) -> None:
    # Imported while Azurite starts: it takes as long.
    from batchspec.local.clock import ClockOffset  # noqa: PLC0415
    from batchspec.local.service import ServiceConfig, serve  # noqa: PLC0415

    blob_port = await keeper.ready()
    blob_url = f"http://127.0.0.1:{blob_port}/{account.blob_account}"
    conditions, ahead = settings.conditions, ClockOffset(home.batch).read()

    def ready(batch_url: str) -> None:
        announcement = Announcement(
            batch_url=batch_url,
            blob_url=blob_url,
            pid=os.getpid(),
            started=datetime.now(UTC),
            version=version("batchspec"),
            conditions=conditions,
            ahead=ahead,
        )
        ports = Ports(batch=urlsplit(batch_url).port or 0, blob=blob_port)
        write_private(home.ports, json.dumps(asdict(ports)) + "\n")
        write_announcement(home, announcement)
        reporter.ready()
        _log.info("ready: Batch at %s, blobs at %s; %s", batch_url, blob_url, conditions.text)

    config = ServiceConfig(
        data=home.batch,
        account=account.batch_account,
        key=account.batch_key,
        storage=connection_string(blob_url, account.blob_account, account.blob_key),
        applications=home.applications,
        limits=settings.limits,
        speed=conditions.speed,
        allocation=conditions.allocation,
        faults=conditions.faults,
    )
    keeping = asyncio.create_task(keeper.keep())
    serving = asyncio.create_task(_serve(serve(config, ready, listening=listening), home))
    try:
        await _until_one_ends(keeping, serving)
    finally:
        await _cancel(keeping)
        await _cancel(serving)


async def _serve(service: Coroutine[Any, Any, None], home: Home) -> NoReturn:
    try:
        await service
    except Exception as error:
        _log.exception("the Batch service failed")
        raise LocalError(
            "service-failed",
            f"The Batch service failed: {type(error).__name__}.",
            log=home.log,
            lines=str(error).splitlines()[-3:],
        ) from error
    raise LocalError("service-failed", "The Batch service ended by itself.", log=home.log)


async def _until_one_ends(*tasks: asyncio.Task[Any]) -> None:
    """Wait for the first of ``tasks`` that ends; raise what it raised."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    _, late = await asyncio.wait({task}, timeout=_PATIENCE)
    if late:
        _log.error("the Batch service did not end within %.0f s", _PATIENCE)


def _last_ports(home: Home) -> Ports:
    """The ports of the last run, so that a client that knows an address can go on."""
    try:
        return Ports(**json.loads(home.ports.read_text()))
    except (OSError, ValueError, TypeError):
        return Ports()  # a wish, and no more: without it any free port will do


def _listening(asked: int, last: int) -> socket.socket:
    """At the port that is asked for; else at that of the last run, or at any if that was taken.

    Raises:
        LocalError: the port that is asked for cannot be had.
    """
    if not asked:
        with contextlib.suppress(OSError):
            return listen(last)
        return listen()
    try:
        return listen(asked)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise LocalError(
            "port-taken",
            f"Another program listens on port {asked}."
            if taken
            else f"Port {asked} cannot be listened on: {error.strerror}.",
            hint="Port 0 takes a free one",
        ) from error
