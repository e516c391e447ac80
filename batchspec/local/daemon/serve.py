"""The daemon: one process that runs the Batch service and keeps Azurite running.

The daemon defines the order of start and stop: Azurite starts first and stops last, since tasks can
still write blobs while the service ends them.
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
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, NoReturn, Self
from urllib.parse import urlsplit

from batchspec.local.azurite import (
    AzuriteServer,
    HttpsListener,
    LaunchOptions,
    find_nodejs,
    install,
)
from batchspec.local.daemon.client_access import Certificate
from batchspec.local.daemon.control import ReadinessReporter, end_orphans
from batchspec.local.daemon.home import Account, Home, write_private
from batchspec.local.daemon.status import (
    Announcement,
    HttpsEndpoints,
    connection_string,
    write_announcement,
)
from batchspec.local.http import HttpsSocket, TlsFiles, listen
from batchspec.local.process import Lock, Process
from batchspec.local.settings import FULL_ACCESS, IdentityRights, Settings, TrustFiles
from batchspec.local.startup import LocalError, last_lines
from batchspec.local.task_users import Separation, separate_users

_TIMEOUT = 20.0
_CHECK_SECONDS = 2.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the two services, for http and for https; 0 is any free port."""

    batch: int = 0
    blob: int = 0
    batch_https: int = 0
    blob_https: int = 0


@dataclass(frozen=True, slots=True)
class Listeners:
    """The sockets of the Batch service; ``trust`` are the files for clients of ``https``."""

    batch: socket.socket
    https: HttpsSocket | None = None
    trust: TrustFiles | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.batch.close()
        if self.https:
            self.https.listening.close()


def run_daemon(settings: Settings, *, port: int, reporter: ReadinessReporter) -> None:
    """Run the daemon of ``settings.data`` until SIGTERM or SIGINT; changes process-wide settings.

    Raises:
        LocalError: the daemon is already running (``already-running``), cannot start, or failed.
    """
    os.umask(0o077)
    home = Home(settings.data)
    home.create()
    with home.disk_errors():
        running = Lock.take(home.daemon_lock)
    if running is None:
        raise LocalError(
            "already-running",
            f"The embedded service of {home.root} is already running.",
            fix="Show its address: batchspec local status",
            log=home.log,
        )
    # The lock is never released explicitly: a free lock means that this process has ended.
    running.note(str(Process.of(os.getpid())))
    try:
        with home.disk_errors():
            home.reserve_failure()
        _run_locked(settings, home, running, port, reporter)
    except LocalError as error:
        home.save_failure(error)
        reporter.failed(error)
        raise
    home.failure.unlink(missing_ok=True)


def _run_locked(
    settings: Settings, home: Home, running: Lock, port: int, reporter: ReadinessReporter
) -> None:
    end_orphans(home)
    account = Account.open(home)
    node = find_nodejs(settings)
    installed = install(
        node,
        settings.cache,
        search_path=settings.path,
        environ=dict(os.environ),
        notify=lambda _: None,
    )
    last = _last_ports(home)
    certificate = Certificate.of(home, account.blob_account) if settings.https else None
    # Listen now: another program could take a port that is only checked.
    listeners = _listen(port, last, certificate)
    separation = _prepare_folders(home, settings, certificate)
    with _take_azurite_lock(home) as azurite_lock, listeners:
        launch = LaunchOptions(
            node=node,
            installed=installed,
            account=account.blob_account,
            key=account.blob_key,
            log=home.azurite_log,
            location=home.blobs,
            token=account.token,
            entra_only=settings.simulation.entra_only,
            port=last.blob,
            inherit=(azurite_lock.fileno,),
            https=HttpsListener(
                certificate.certificate,
                certificate.key,
                certificate.trust.authority,
                last.blob_https,
            )
            if certificate
            else None,
        )
        supervisor = AzuriteSupervisor(launch, azurite_lock)
        work = _work(
            home,
            settings,
            account,
            supervisor,
            listeners=listeners,
            separation=separation,
            reporter=reporter,
        )
        _run(_run_until_stopped(home, running, supervisor, work))


def _listen(port: int, last: Ports, certificate: Certificate | None) -> Listeners:
    listeners = Listeners(_listening(port, last.batch))
    if certificate is None:
        return listeners
    tls = TlsFiles(certificate.certificate, certificate.key)
    https = HttpsSocket(_listening(0, last.batch_https), tls)
    return replace(listeners, https=https, trust=certificate.trust)


def _prepare_folders(home: Home, settings: Settings, certificate: Certificate | None) -> Separation:
    """Create the folders of the service, and grant the users of tasks access to them."""
    with home.disk_errors():
        home.azurite_log.unlink(missing_ok=True)
        for folder in (home.batch, home.blobs, home.applications):
            folder.mkdir(exist_ok=True)
        folders = (home.root, *([home.certificates] if certificate else ()), home.batch)
        bundle = certificate.trust.bundle if certificate else None
        return separate_users(home.batch, folders, bundle, wanted=settings.task_users)


def _take_azurite_lock(home: Home) -> Lock:
    with home.disk_errors():
        lock = Lock.take(home.azurite_lock)
    if lock is None:
        raise LocalError(
            "data-locked",
            f"Another process uses {home.blobs}.",
            fix=f"Find the process that has the lock and end it: fuser {home.azurite_lock}",
        )
    return lock


def _run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main``; on uvloop, if installed, tasks take a quarter less processor time."""
    try:
        import uvloop  # noqa: PLC0415  not on every system
    except ImportError:
        asyncio.run(main)
    else:
        uvloop.run(main)


async def _run_until_stopped(
    home: Home, running: Lock, supervisor: AzuriteSupervisor, work: Coroutine[Any, Any, None]
) -> None:
    """Run ``work`` until a signal arrives, the work fails, or the data folder is deleted."""
    loop = asyncio.get_running_loop()
    stop_requested = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop_requested.set)
    ending = asyncio.create_task(stop_requested.wait())
    working = asyncio.create_task(work)
    watching = asyncio.create_task(_watch_folder(home, running))
    try:
        await _until_one_ends(working, watching, ending)
    finally:
        _log.info("stopping")
        home.endpoints.unlink(missing_ok=True)
        ending.cancel()
        watching.cancel()
        await _cancel(working)
        await supervisor.stop()
        _log.info("stopped")


async def _watch_folder(home: Home, running: Lock) -> NoReturn:
    """Raise when the data folder is deleted, since ``stop`` could not find this process then."""
    while running.is_in_place():  # noqa: ASYNC110  the system does not notify of a deletion
        await asyncio.sleep(_CHECK_SECONDS)
    raise LocalError("data-gone", f"The data folder {home.root} was deleted.")


async def _work(
    home: Home,
    settings: Settings,
    account: Account,
    supervisor: AzuriteSupervisor,
    *,
    listeners: Listeners,
    separation: Separation,
    reporter: ReadinessReporter,
) -> None:
    # Imported during the start of Azurite, which takes as long.
    from batchspec.local.service import ServiceConfig, serve  # noqa: PLC0415

    await supervisor.ready()
    blob_url, *aliases = _blob_urls("http", account.blob_account, supervisor.port)
    https = None
    if listeners.https and listeners.trust and supervisor.https_port:
        secure_url, *more = _blob_urls("https", account.blob_account, supervisor.https_port)
        https = HttpsEndpoints(listeners.https.url, secure_url, listeners.trust)
        aliases += [secure_url, *more]
    simulation, ahead = settings.simulation, _time_ahead(home)

    def ready(batch_url: str) -> None:
        announcement = Announcement(
            batch_url=batch_url,
            blob_url=blob_url,
            pid=os.getpid(),
            started=datetime.now(UTC),
            version=version("batchspec"),
            simulation=simulation,
            ahead=ahead,
            https=https,
            separation=separation,
        )
        _save_ports(home, announcement)
        write_announcement(home, announcement)
        reporter.ready()
        _log.info("ready: Batch at %s, blobs at %s; %s", batch_url, blob_url, simulation.text)

    config = ServiceConfig(
        data=home.batch,
        account=account.batch_account,
        key=account.batch_key,
        token=account.token,
        storage=connection_string(blob_url, account.blob_account, account.blob_key),
        storage_aliases=tuple(aliases),
        applications=home.applications,
        identities=read_identities(home),
        limits=settings.limits,
        speed=simulation.speed,
        allocation=simulation.allocation,
        release=simulation.release,
        faults=simulation.faults,
        entra_only=simulation.entra_only,
        trust=listeners.trust,
        users=separation.ids,
        fuse=settings.fuse,
    )
    keeping = asyncio.create_task(supervisor.keep())
    service = serve(config, ready, listening=listeners.batch, https=listeners.https)
    serving = asyncio.create_task(_serve(service, home))
    try:
        await _until_one_ends(keeping, serving)
    finally:
        await _cancel(keeping)
        await _cancel(serving)


def _time_ahead(home: Home) -> timedelta:
    """The offset of the service's clock at its last stop.

    Raises:
        LocalError: the file with the offset is damaged.
    """
    from batchspec.local.clock import ClockOffset, DamagedClockError  # noqa: PLC0415

    try:
        return ClockOffset(home.batch).read()
    except DamagedClockError as error:
        raise LocalError(
            "state-damaged",
            f"{error}.",
            fix=f"Continue at real time: rm {error.path}",
        ) from error


def _save_ports(home: Home, announcement: Announcement) -> None:
    """Write the ports, which the next start uses again."""
    ports = replace(
        _last_ports(home),
        batch=_port(announcement.batch_url),
        blob=_port(announcement.blob_url),
    )
    if https := announcement.https:
        ports = replace(ports, batch_https=_port(https.batch_url), blob_https=_port(https.blob_url))
    write_private(home.ports, json.dumps(asdict(ports)) + "\n")


def read_identities(home: Home) -> IdentityRights:
    """The rights of managed identities that the user has registered.

    Raises:
        LocalError: the file is not valid (``identities-unreadable``).
    """
    try:
        return IdentityRights.parse(home.identities.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return FULL_ACCESS
    except (OSError, ValueError) as error:
        raise LocalError(
            "identities-unreadable",
            f"The rights of managed identities in {home.identities} cannot be read: {error}.",
            fix="Write one identity per line: NAME = CONTAINER:read, CONTAINER:write",
        ) from error


async def _serve(service: Coroutine[Any, Any, None], home: Home) -> NoReturn:
    # Imported here, so that the import of this module stays quick.
    from batchspec.local.store import (  # noqa: PLC0415
        DamagedStateError,
        NewerStateError,
        is_refused_by_disk,
    )

    try:
        await service
    except NewerStateError as error:
        raise LocalError(
            "state-newer",
            f"A newer version of batchspec has written the state in {home.batch}: {error}.",
            fix="Install that version, or delete pools, jobs, tasks and blobs: "
            "batchspec local reset",
        ) from error
    except DamagedStateError as error:
        raise LocalError(
            "state-damaged",
            f"The state in {home.batch} is damaged: {error}.",
            fix="Restore the folder, or delete pools, jobs, tasks and blobs: batchspec local reset",
            log=home.log,
        ) from error
    except Exception as error:
        _log.exception("the Batch service failed")
        if is_refused_by_disk(error):
            raise home.unusable(error) from error
        raise LocalError(
            "service-failed",
            f"The Batch service failed: {type(error).__name__}.",
            log=home.log,
            lines=str(error).splitlines()[-3:],
        ) from error
    raise LocalError("service-failed", "The Batch service ended unexpectedly.", log=home.log)


def _blob_urls(scheme: str, account: str, port: int) -> tuple[str, ...]:
    """The addresses of the storage account on a port; the service uses the first one."""
    return (
        f"{scheme}://127.0.0.1:{port}/{account}",
        f"{scheme}://localhost:{port}/{account}",
        f"{scheme}://{account}.blob.localhost:{port}",
        f"{scheme}://{account}.blob.core.localhost:{port}",
    )


def _port(url: str) -> int:
    return urlsplit(url).port or 0


async def _until_one_ends(*tasks: asyncio.Task[Any]) -> None:
    """Wait until one of ``tasks`` ends; raise its exception, if any."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    _, late = await asyncio.wait({task}, timeout=_TIMEOUT)
    if late:
        _log.error("the Batch service did not stop within %.0f s", _TIMEOUT)


def _last_ports(home: Home) -> Ports:
    """The ports of the last run, so that the addresses of the service stay the same."""
    try:
        return Ports(**json.loads(home.ports.read_text()))
    except (OSError, ValueError, TypeError):
        return Ports()


def _listening(requested: int, last: int) -> socket.socket:
    """Listen on port ``requested``; if it is 0, on the port of the last run or any free port.

    Raises:
        LocalError: port ``requested`` is not available.
    """
    if not requested:
        with contextlib.suppress(OSError):
            return listen(last)
        return listen()
    try:
        return listen(requested)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise LocalError(
            "port-taken",
            f"Another program listens on port {requested}."
            if taken
            else f"The embedded service cannot listen on port {requested}: {error.strerror}.",
            fix="Use --port 0 for any free port.",
        ) from error


RESTARTS = 3
"""Maximum number of restarts within :data:`WINDOW` seconds."""
WINDOW = 60.0


class AzuriteSupervisor:
    """Runs Azurite, and restarts it on its port when it ends.

    ``lock`` is the lock of the blob folder. Each Azurite inherits it, so that no other process uses
    the folder before the last Azurite has ended, even if this process is killed. Create the
    supervisor and call :meth:`keep` in the main thread: the kernel ends Azurite with the thread
    that started it.
    """

    def __init__(
        self, launch: LaunchOptions, lock: Lock, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._launch = launch
        self._lock = lock
        self._monotonic = monotonic
        self._ends: deque[float] = deque(maxlen=RESTARTS)
        self.port = launch.port
        self.https_port = launch.https.port if launch.https else None
        self._server = self._spawn()

    @property
    def pid(self) -> int:
        """The pid of the current process."""
        return self._server.process.pid

    async def ready(self) -> None:
        """Wait until Azurite is ready on ``port``, and on ``https_port`` if it is set.

        If a port of the last run is in use, Azurite gets other ports.

        Raises:
            LocalError: Azurite did not become ready.
        """
        try:
            self.port = await asyncio.to_thread(self._server.wait_ready)
        except LocalError as error:
            if error.code != "azurite-port-taken" or not (self.port or self.https_port):
                raise
            self.port, self.https_port = 0, self.https_port and 0
            self._server = self._spawn()
            self.port = await asyncio.to_thread(self._server.wait_ready)
        self.https_port = self._server.https_port

    async def keep(self) -> NoReturn:
        """Restart Azurite whenever it ends.

        Raises:
            LocalError: Azurite ends repeatedly (``azurite-keeps-ending``).
        """
        while True:
            code = await asyncio.to_thread(self._server.process.wait)
            now = self._monotonic()
            _log.error("Azurite ended unexpectedly (exit code %d); see %s", code, self._launch.log)
            if len(self._ends) == RESTARTS and now - self._ends[0] < WINDOW:
                raise LocalError(
                    "azurite-keeps-ending",
                    f"Azurite ended {RESTARTS + 1} times within {WINDOW:.0f} seconds.",
                    log=self._launch.log,
                    lines=last_lines(self._launch.log),
                )
            self._ends.append(now)
            self._server = self._spawn()
            try:
                await asyncio.to_thread(self._server.wait_ready)
            except LocalError as error:
                _log.warning("Azurite could not be restarted: %s", error.code)
            else:
                _log.warning("Azurite was restarted on port %d", self.port)

    async def stop(self) -> None:
        """Stop Azurite gracefully, with all acknowledged writes on disk."""
        if not await asyncio.to_thread(self._server.stop):
            _log.error("Azurite did not stop and was killed; up to 5 s of writes may be lost")

    def _spawn(self) -> AzuriteServer:
        launch = self._launch
        if launch.https and self.https_port is not None:
            launch = replace(launch, https=replace(launch.https, port=self.https_port))
        server = AzuriteServer.spawn(launch, port=self.port)
        self._lock.note(str(Process.of(server.process.pid) or ""))
        return server
