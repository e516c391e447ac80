"""Start the daemon from the process that needs it.

The daemon reports readiness to the process that started it: one line of JSON over a pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from batchspec.local.azurite import NodeJs, find_nodejs, install
from batchspec.local.daemon.endpoints import Account, Endpoints, read_announcement
from batchspec.local.daemon.home import Home
from batchspec.local.error import LocalError, last_lines
from batchspec.local.fault_injection import check_operations
from batchspec.local.lock import Lock, held, wait_free
from batchspec.local.process import Process
from batchspec.local.settings import Settings, Simulation
from batchspec.local.startup_phase import Notify, StartupPhase


class ReadinessReporter:
    """The daemon's end of the pipe; only the first report is sent. ``None``: no report."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor
        if descriptor is not None:
            os.set_inheritable(descriptor, False)

    def ready(self) -> None:
        """Report that the service accepts requests."""
        self._report({"ready": True})

    def failed(self, error: LocalError) -> None:
        """Report why it does not start; without effect after :meth:`ready`."""
        self._report({"error": error.to_json()})

    def _report(self, message: dict[str, Any]) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is None:
            return
        # The service keeps running if the process that started it has ended.
        with contextlib.suppress(BrokenPipeError):
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)


def await_readiness(descriptor: int, seconds: float) -> bool:
    """Wait for the report; true if the daemon is ready, false if it ended without a report.

    Raises:
        LocalError: the error that the daemon reported.
        TimeoutError: there was no report for ``seconds``.
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


_TIMEOUT = 120.0
_STOP_SECONDS = 15.0
_POLL = 0.02


def start_daemon(
    settings: Settings, *, port: int, notify: Notify, simulation: Simulation | None = None
) -> Endpoints:
    """The running service of ``settings.data``; starts it if it does not run.

    Several processes may call this at the same time: one starts the service, the others wait. A
    running service must have the simulation options ``simulation``, if given.

    Raises:
        LocalError: it cannot be started, or runs with other options.
    """
    home = Home(settings.data)
    if endpoints := _running(home, port, simulation):
        return endpoints
    _check_operations(settings.simulation)
    home.create()
    with exclusive(home, notify):
        if endpoints := _await_running(home, port, simulation):
            return endpoints
        node = find_nodejs(settings)
        install(
            node,
            settings.cache,
            search_path=settings.path,
            environ=dict(os.environ),
            notify=notify,
        )
        notify(StartupPhase.STARTING)
        _spawn(home, settings, node, port)
        endpoints = _running(home, port, simulation)
        if endpoints is None:
            raise _ended(home)
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
            lock = Lock.take(home.start_lock, wait=_TIMEOUT)
    if lock is None:
        raise LocalError(
            "start-busy",
            f"Another process has been starting or stopping the local service for "
            f"{_TIMEOUT:.0f} seconds.",
            fix=f"Find that process, end it and try again: fuser {home.start_lock}",
            log=home.log,
        )
    with lock:
        yield


def _check_operations(simulation: Simulation) -> None:
    if any(rule.operation is not None for rule in simulation.faults.rules):
        # Imported only here: the table of operations takes as long to load as all else together.
        from batchspec.local.api import ROUTES  # noqa: PLC0415

        check_operations(simulation.faults, (route.operation for route in ROUTES))


def _running(home: Home, port: int, simulation: Simulation | None) -> Endpoints | None:
    """The endpoints, if the daemon of ``home`` runs and is ready."""
    with home.disk_errors():
        daemon = Process.read(home.daemon_lock) if held(home.daemon_lock) else None
    announcement = read_announcement(home)
    if daemon is None or daemon.ending:  # a killed process keeps its lock a moment longer
        return None
    if announcement is None or announcement.pid != daemon.pid:
        return None
    account = Account.read(home)
    if account is None:
        return None
    if port and not announcement.batch_url.endswith(f":{port}"):
        raise LocalError(
            "running-elsewhere",
            f"The local service runs at {announcement.batch_url}, not on port {port}.",
            fix="Stop it first: batchspec local stop",
        )
    if simulation is not None and announcement.simulation != simulation:
        raise LocalError(
            "running-otherwise",
            f"The local service runs with other options ({announcement.simulation.text}).",
            fix="Stop it first, since options are set at its start: batchspec local stop",
        )
    return announcement.endpoints(account, home)


def _await_running(home: Home, port: int, simulation: Simulation | None) -> Endpoints | None:
    """As :func:`_running`, but wait for a daemon that is starting or stopping."""
    until = time.monotonic() + _TIMEOUT
    while True:
        if endpoints := _running(home, port, simulation):
            return endpoints
        if not held(home.daemon_lock):
            return None
        if time.monotonic() > until:
            raise LocalError(
                "start-timeout",
                f"The local service runs but was not ready after {_TIMEOUT:.0f} seconds.",
                fix="Stop it and try again: batchspec local stop",
                log=home.log,
                lines=last_lines(home.log),
            )
        time.sleep(_POLL)


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
        process.wait()  # it forks the daemon and ends at once
        ready = await_readiness(reader, _TIMEOUT)
    except LocalError:
        # The daemon is stopping; it has ended when the error is reported.
        wait_free(home.daemon_lock, _STOP_SECONDS)
        raise
    except TimeoutError:
        if daemon := Process.read(home.daemon_lock):
            daemon.signal(signal.SIGKILL)
        raise LocalError(
            "start-timeout",
            f"The local service was not ready after {_TIMEOUT:.0f} seconds.",
            log=home.log,
            lines=last_lines(home.log),
        ) from None
    finally:
        os.close(reader)
    if not ready:
        raise _ended(home)


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


def _ended(home: Home) -> LocalError:
    return LocalError(
        "start-failed",
        "The local service ended before it was ready.",
        log=home.log,
        lines=last_lines(home.log),
    )
