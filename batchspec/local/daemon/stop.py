"""Stop the daemon with all its processes, and reset its state."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import time
from pathlib import Path

from batchspec.local.azurite import STOP_SECONDS
from batchspec.local.daemon.home import Home
from batchspec.local.daemon.start import exclusive
from batchspec.local.error import LocalError, last_lines
from batchspec.local.lock import Lock, held, wait_free
from batchspec.local.process import Process, kill_orphans
from batchspec.local.startup_phase import Notify

_TIMEOUT = 45.0
"""Seconds for a graceful stop: those of the service and of Azurite together."""
_POLL = 0.01


def stop_daemon(home: Home, *, notify: Notify) -> bool:
    """Stop the service, the processes of its tasks and Azurite; return when they have ended.

    Returns whether anything ran, including what a killed service left behind.

    Raises:
        LocalError: it could not be stopped.
    """
    if not home.daemon_lock.exists():
        return False
    with exclusive(home, notify):
        return _end(home)


def reset_daemon(home: Home, *, notify: Notify) -> None:
    """Stop the service and delete its state and its blobs; the account keeps its keys.

    The state folders are renamed first and then deleted, so that the next reset completes an
    interrupted one.

    Raises:
        LocalError: it could not be stopped, or something could not be deleted.
    """
    if not home.root.exists():
        return
    home.create()
    with exclusive(home, notify):
        _end(home)
        with home.disk_errors():
            for folder in home.set_state_aside():
                _delete(folder)


def _end(home: Home) -> bool:
    ran = held(home.daemon_lock)
    if ran:
        # Before the signal, so that no client gets the address of a stopping service.
        home.endpoints.unlink(missing_ok=True)
    for number, patience in ((signal.SIGTERM, _TIMEOUT), (signal.SIGKILL, 5.0)):
        if _signal(home, number, patience):
            break
    lock = Lock.take(home.daemon_lock)
    if lock is None:
        raise LocalError(
            "stop-failed",
            "The local service does not stop.",
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
    while held(home.daemon_lock):
        # A starting daemon has the lock shortly before it writes its pid.
        if not sent and (daemon := Process.read(home.daemon_lock)):
            sent = daemon.signal(number)
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)
    return True


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except PermissionError:
        # A task may leave folders without permissions for their owner.
        for parent, names, _ in os.walk(folder):
            for name in names:
                inner = Path(parent, name)
                if not inner.is_symlink():
                    inner.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def end_orphans(home: Home) -> bool:
    """End the processes that a killed daemon left behind; whether there were any.

    The kernel usually ends Azurite with its daemon, and the host of the tasks ends when its pipe
    closes; this covers all other cases. Call it with ``home.daemon_lock`` and without
    ``home.azurite_lock``.

    Raises:
        LocalError: the process with Azurite's lock cannot be ended (``data-locked``).
    """
    stale = home.endpoints.exists()
    tasks = kill_orphans(home.batch)
    azurite = _end_azurite(home)
    home.endpoints.unlink(missing_ok=True)
    return stale or bool(tasks) or azurite


def _end_azurite(home: Home) -> bool:
    if not held(home.azurite_lock):
        return False
    azurite = Process.read(home.azurite_lock)
    for number, patience in ((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, 5.0)):
        # Linux sent it SIGTERM when the daemon ended. After a second SIGTERM it would exit at once
        # and lose its last writes.
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
