"""Start, stop and reset the daemon from a client process.

The daemon reports readiness to the process that starts it, as one line of JSON over a pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from batchspec.frozen import frozen
from batchspec.local.daemon.home import Account, Home
from batchspec.local.daemon.status import Endpoints, read_announcement
from batchspec.local.fault_injection import check_operations
from batchspec.local.process import Lock, Process, is_locked, kill_orphans, unmount_below, wait_free
from batchspec.local.settings import Settings, Simulation
from batchspec.local.startup import LocalError, Notify, StartupPhase, last_lines

if TYPE_CHECKING:
    from batchspec.local.azurite import NodeJs


class ReadinessReporter:
    """The daemon's end of the pipe; sends only the first report, and none if it is ``None``."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def ready(self) -> None:
        """Report that the service accepts requests."""
        self._report({"ready": True})

    def failed(self, error: LocalError) -> None:
        """Report why the service does not start; without effect after :meth:`ready`."""
        self._report({"error": error.to_json()})

    def _report(self, message: dict[str, Any]) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # The service keeps running if the starting process has ended.
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)


def await_readiness(descriptor: int, seconds: float) -> bool:
    """Wait for the report; true if the daemon is ready, false if it ended without a report.

    Raises:
        LocalError: the error that the daemon reported.
        TimeoutError: no report arrived within ``seconds``.
    """
    until = time.monotonic() + seconds
    received = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            raise TimeoutError
        data = os.read(descriptor, 65_536)
        received += data
        if data and not received.endswith(b"\n"):
            continue
        if not received:
            return False
        message = json.loads(received)
        if "error" in message:
            raise LocalError.from_json(message["error"])
        return True


_START_TIMEOUT = 120.0
_FAILED_START_SECONDS = 15.0
_START_POLL = 0.02


@frozen
class Requirements:
    """The requirements on a service that is already running.

    ``port`` 0 accepts any port of the Batch service, ``simulation`` ``None`` any simulation
    options. ``https`` requires https ports.
    """

    port: int = 0
    simulation: Simulation | None = None
    https: bool = False


def start_daemon(settings: Settings, requirements: Requirements, *, notify: Notify) -> Endpoints:
    """The endpoints of the service of ``settings.data``; starts the service if necessary.

    Several processes can call this at the same time: one starts the service, the others wait.

    Raises:
        LocalError: the service cannot be started, or runs with other options.
    """
    home = Home(settings.data)
    if endpoints := _running(home, requirements):
        return endpoints
    _check_operations(settings.simulation)
    home.create()
    with exclusive(home, notify):
        if endpoints := _await_running(home, requirements):
            return endpoints
        # Imported here, since clients of a running service do not need it.
        from batchspec.local.azurite import find_nodejs, install  # noqa: PLC0415

        node = find_nodejs(settings)
        install(
            node,
            settings.cache,
            search_path=settings.path,
            environ=dict(os.environ),
            notify=notify,
        )
        notify(StartupPhase.STARTING)
        _spawn(home, settings, node, requirements.port)
        endpoints = _running(home, requirements)
        if endpoints is None:
            raise _start_failed(home)
        return endpoints


@contextmanager
def exclusive(home: Home, notify: Notify) -> Iterator[None]:
    """Exclude other processes from starting, stopping and resetting the service of ``home``.

    Raises:
        LocalError: another process has had the lock for two minutes (``start-busy``).
    """
    with home.disk_errors():
        lock = Lock.take(home.start_lock)
        if lock is None:
            notify(StartupPhase.WAITING)
            lock = Lock.take(home.start_lock, wait=_START_TIMEOUT)
    if lock is None:
        raise LocalError(
            "start-busy",
            f"Another process has been starting or stopping the embedded service for "
            f"{_START_TIMEOUT:.0f} seconds.",
            fix=f"Find that process, end it and try again: fuser {home.start_lock}",
            log=home.log,
        )
    with lock:
        yield


def _check_operations(simulation: Simulation) -> None:
    if any(rule.operation is not None for rule in simulation.faults.rules):
        # Imported here, since the table of operations takes as long to load as all other modules.
        from batchspec.local.api import ROUTES  # noqa: PLC0415
        from batchspec.local.control_plane import CONTROL_PLANE_ROUTES  # noqa: PLC0415

        known = (route.operation for route in (*ROUTES, *CONTROL_PLANE_ROUTES))
        check_operations(simulation.faults, known)


def _running(home: Home, requirements: Requirements) -> Endpoints | None:
    """The endpoints, if the daemon of ``home`` is ready.

    Raises:
        LocalError: the service does not meet the ``requirements``.
    """
    with home.disk_errors():
        daemon = Process.read(home.daemon_lock) if is_locked(home.daemon_lock) else None
    announcement = read_announcement(home)
    if daemon is None or daemon.ending:  # a killed process keeps its lock until it is gone
        return None
    if announcement is None or announcement.pid != daemon.pid:
        return None
    account = Account.read(home)
    if account is None:
        return None
    if requirements.port and not announcement.batch_url.endswith(f":{requirements.port}"):
        raise LocalError(
            "running-elsewhere",
            f"The embedded service runs at {announcement.batch_url},"
            f" not on port {requirements.port}.",
            fix="Stop it first: batchspec local stop",
        )
    simulation = requirements.simulation
    if simulation is not None and announcement.simulation != simulation:
        raise _other_options(f"with other options ({announcement.simulation.text})")
    if requirements.https and announcement.https is None:
        raise _other_options("without https")
    return announcement.endpoints(account, home)


def _other_options(how: str) -> LocalError:
    return LocalError(
        "running-otherwise",
        f"The embedded service runs {how}.",
        fix="Stop it first, since options are set at its start: batchspec local stop",
    )


def _await_running(home: Home, requirements: Requirements) -> Endpoints | None:
    """As :func:`_running`, but waits for a daemon that is starting or stopping."""
    until = time.monotonic() + _START_TIMEOUT
    while True:
        if endpoints := _running(home, requirements):
            return endpoints
        if not is_locked(home.daemon_lock):
            return None
        if time.monotonic() > until:
            raise LocalError(
                "start-timeout",
                f"The embedded service runs but was not ready after {_START_TIMEOUT:.0f} seconds.",
                fix="Stop it and try again: batchspec local stop",
                log=home.log,
                lines=last_lines(home.log),
            )
        time.sleep(_START_POLL)


def _spawn(home: Home, settings: Settings, node: NodeJs, port: int) -> None:
    """Start the daemon and return when it is ready."""
    reader, writer = os.pipe()
    command = [
        sys.executable,
        "-P",  # do not import modules from the current folder
        "-m",
        "batchspec.local",
        "serve",
        f"--data={home.root}",
        f"--cache={settings.cache}",
        f"--node={node.executable}",
        f"--port={port}",
        *settings.simulation.options(),
        *(["--https"] if settings.https else []),
        "--detach",
        f"--report={writer}",
    ]
    try:
        try:
            with home.disk_errors(), _new_log(home) as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    pass_fds=[writer],
                    start_new_session=True,
                )
        finally:
            os.close(writer)
        process.wait()  # the process forks the daemon and exits
        ready = await_readiness(reader, _START_TIMEOUT)
    except LocalError:
        # Report the error once the daemon has stopped.
        wait_free(home.daemon_lock, _FAILED_START_SECONDS)
        raise
    except TimeoutError:
        if daemon := Process.read(home.daemon_lock):
            daemon.signal(signal.SIGKILL)
        raise LocalError(
            "start-timeout",
            f"The embedded service was not ready after {_START_TIMEOUT:.0f} seconds.",
            log=home.log,
            lines=last_lines(home.log),
        ) from None
    finally:
        os.close(reader)
    if not ready:
        raise _start_failed(home)


@contextmanager
def _new_log(home: Home) -> Iterator[int]:
    if home.log.exists():
        home.log.replace(home.log.with_name(f"{home.log.name}.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW
    descriptor = os.open(home.log, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _start_failed(home: Home) -> LocalError:
    return LocalError(
        "start-failed",
        "The embedded service ended before it was ready.",
        log=home.log,
        lines=last_lines(home.log),
    )


_STOP_TIMEOUT = 45.0
"""Timeout in seconds of a graceful stop of the service and Azurite together."""
_STOP_POLL = 0.01


def stop_daemon(home: Home, *, notify: Notify) -> bool:
    """Stop the service, the processes of its tasks and Azurite; return when they have ended.

    Returns whether the service or processes of a killed service were running.

    Raises:
        LocalError: the service cannot be stopped.
    """
    with home.disk_errors():
        if not home.daemon_lock.exists():
            return False
    with exclusive(home, notify):
        return _stop(home)


def reset_daemon(home: Home, *, notify: Notify) -> None:
    """Stop the service and delete its state and its blobs; the account keeps its keys.

    The state folders are renamed first and then deleted, so that the next reset completes an
    interrupted reset.

    Raises:
        LocalError: the service cannot be stopped, or a file cannot be deleted.
    """
    with home.disk_errors():
        if not home.root.exists():
            return
    home.create()
    with exclusive(home, notify):
        _stop(home)
        with home.disk_errors():
            for folder in home.set_state_aside():
                _delete(folder)


def _stop(home: Home) -> bool:
    ran = is_locked(home.daemon_lock)
    if ran:
        # Before the signal, so that no client gets the address of a stopping service.
        home.endpoints.unlink(missing_ok=True)
    for number, patience in ((signal.SIGTERM, _STOP_TIMEOUT), (signal.SIGKILL, 5.0)):
        if _signal(home, number, patience):
            break
    lock = Lock.take(home.daemon_lock)
    if lock is None:
        raise LocalError(
            "stop-failed",
            "The embedded service does not stop.",
            fix=f"Find the process that has the lock and end it: fuser {home.daemon_lock}",
            log=home.log,
            lines=last_lines(home.log),
        )
    with lock:  # prevents a start during the cleanup
        lock.note("")
        return end_orphans(home) or ran


def _signal(home: Home, number: signal.Signals, patience: float) -> bool:
    """Send a signal to the daemon and wait until it has ended; false after ``patience`` seconds."""
    until = time.monotonic() + patience
    sent = False
    while is_locked(home.daemon_lock):
        # A starting daemon takes the lock shortly before it writes its pid.
        if not sent and (daemon := Process.read(home.daemon_lock)):
            sent = daemon.signal(number)
        if time.monotonic() >= until:
            return False
        time.sleep(_STOP_POLL)
    return True


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except PermissionError:
        # Tasks can create folders without permissions for their owner.
        for parent, names, _ in os.walk(folder):
            for name in names:
                inner = Path(parent, name)
                if not inner.is_symlink():
                    inner.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def end_orphans(home: Home) -> bool:
    """End the processes of a killed daemon; return whether it left processes or files.

    The kernel usually ends Azurite with its daemon, and the host of the tasks exits when its pipe
    closes; this function covers all other cases. Call it while holding ``home.daemon_lock`` and not
    ``home.azurite_lock``.

    Raises:
        LocalError: the process with Azurite's lock cannot be ended, or a file system of a node is
            still mounted (``data-locked``).
    """
    stale = home.endpoints.exists()
    tasks = kill_orphans(home.batch)
    if mounted := unmount_below(home.batch):
        raise LocalError(
            "data-locked",
            f"{mounted[0]} is still mounted.",
            fix=f"Unmount it: umount -l {mounted[0]}",
        )
    azurite = _end_azurite(home)
    home.endpoints.unlink(missing_ok=True)
    return stale or bool(tasks) or azurite


def _end_azurite(home: Home) -> bool:
    if not is_locked(home.azurite_lock):
        return False
    from batchspec.local.azurite import STOP_SECONDS  # noqa: PLC0415  as in start_daemon

    azurite = Process.read(home.azurite_lock)
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        # Linux sent SIGTERM to Azurite when the daemon ended. A second SIGTERM would end Azurite
        # immediately, with a loss of its last writes.
        sent = number == signal.SIGTERM and sys.platform == "linux"
        if azurite and not sent:
            azurite.signal(number)
        if wait_free(home.azurite_lock, patience):
            return True
    raise LocalError(
        "data-locked",
        f"Another Azurite uses {home.blobs} and cannot be stopped.",
        fix=f"Find the process that has the lock and end it: fuser {home.azurite_lock}",
        log=home.azurite_log,
    )
