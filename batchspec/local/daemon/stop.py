"""Ending the daemon and all that belongs to it, and deleting its state."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import time
from pathlib import Path

from batchspec.local.azurite.server import STOP_SECONDS
from batchspec.local.daemon.home import Home
from batchspec.local.daemon.start import exclusive
from batchspec.local.error import LocalError, last_lines
from batchspec.local.lock import Lock, held, wait_free
from batchspec.local.orphans import kill_orphans
from batchspec.local.process import Process
from batchspec.local.startup_phase import Notify

_PATIENCE = 45.0
"""A clean end takes the service's own patience and Azurite's together at most."""
_POLL = 0.01


def stop_daemon(home: Home, *, notify: Notify) -> bool:
    """End the service, the processes of its tasks and Azurite; return when they are gone.

    Returns whether anything ran, or was left by a service that was killed.

    Raises:
        LocalError: it could not be ended.
    """
    if not home.daemon_lock.exists():
        return False
    with exclusive(home, notify):
        return _end(home)


def reset_daemon(home: Home, *, notify: Notify) -> None:
    """End the service and delete its state and its blobs; the account keeps its keys.

    The state is set aside at once and deleted then, so that a reset which is interrupted is either
    not begun or carried to its end by the next one.

    Raises:
        LocalError: it could not be ended, or something could not be deleted.
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
        # Before the signal, so that nobody is given the address of a service on its way out.
        home.endpoints.unlink(missing_ok=True)
    for number, patience in ((signal.SIGTERM, _PATIENCE), (signal.SIGKILL, 5.0)):
        if _signal(home, number, patience):
            break
    lock = Lock.take(home.daemon_lock)
    if lock is None:
        raise LocalError(
            "stop-failed",
            "The local service does not end.",
            hint=f"End the process that holds {home.daemon_lock} (fuser names it)",
            log=home.log,
            lines=last_lines(home.log),
        )
    with lock:  # so that nobody starts one while we look for what the old one left
        lock.note("")
        return end_orphans(home) or ran


def _signal(home: Home, number: signal.Signals, patience: float) -> bool:
    """Send a signal to the daemon, and wait until it is gone; false if that takes too long."""
    until = time.monotonic() + patience
    told = False
    while held(home.daemon_lock):
        # One that has just begun holds the lock a moment before it has written who it is.
        if not told and (daemon := Process.read(home.daemon_lock)):
            told = daemon.signal(number)
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)
    return True


def _delete(folder: Path) -> None:
    try:
        shutil.rmtree(folder)
    except PermissionError:
        # A task may leave folders that even their owner cannot change.
        for parent, names, _ in os.walk(folder):
            for name in names:
                inner = Path(parent, name)
                if not inner.is_symlink():
                    inner.chmod(stat.S_IRWXU)
        shutil.rmtree(folder)


def end_orphans(home: Home) -> bool:
    """End the processes of an earlier daemon; whether there was anything to clear away.

    To be called while holding ``home.daemon_lock``, and by nobody who holds ``home.azurite_lock``.

    Raises:
        LocalError: somebody keeps Azurite's lock and cannot be ended (``data-locked``).
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
        # Linux has told it when the daemon ended. Told twice, it ends at once, and what it was
        # given last is lost.
        told = number == signal.SIGTERM and sys.platform == "linux"
        if azurite and not told:
            azurite.signal(number)
        if wait_free(home.azurite_lock, patience):
            return True
    raise LocalError(
        "data-locked",
        f"Another Azurite works on {home.blobs} and cannot be ended.",
        hint=f"End the process that holds {home.azurite_lock} (fuser names it)",
        log=home.azurite_log,
    )
