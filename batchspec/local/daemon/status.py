"""One look at the daemon of a data folder; changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from batchspec.local.daemon.endpoints import Account, Endpoints, read_announcement
from batchspec.local.daemon.home import Home
from batchspec.local.lock import held
from batchspec.local.process import Process
from batchspec.local.simulation import Simulation


class State(StrEnum):
    """How it is with the service."""

    RUNNING = "running"
    BUSY = "busy"
    """It is starting or ending at this moment."""
    STOPPED = "stopped"
    STALE = "stale"
    """It was killed: traces of it are there; ``start`` and ``stop`` clear them away."""


@dataclass(frozen=True, slots=True)
class Status:
    """What is known; ``endpoints``, ``started``, ``version``, ``conditions`` and pids only while it
    runs. ``ahead`` is how far its time was ahead of the wall's when it started.
    """

    state: State
    data: Path
    log: Path
    endpoints: Endpoints | None = None
    started: datetime | None = None
    version: str | None = None
    pid: int | None = None
    azurite_pid: int | None = None
    conditions: Simulation | None = None
    ahead: timedelta = timedelta()

    def uptime(self, now: datetime) -> timedelta | None:
        """How long it has been ready at the aware moment ``now``."""
        return now - self.started if self.started else None

    def time(self, now: datetime) -> datetime | None:
        """What the service's own clock shows at the aware moment ``now``."""
        if self.started is None or self.conditions is None:
            return None
        return now + self.ahead + (now - self.started) * (self.conditions.speed - 1)


def read_status(home: Home) -> Status:
    """The status of the service of ``home``.

    Raises:
        LocalError: the folder or the account cannot be read.
    """
    with home.disk_errors():
        daemon = Process.read(home.daemon_lock) if held(home.daemon_lock) else None
        told = read_announcement(home)
        azurite = Process.read(home.azurite_lock) if held(home.azurite_lock) else None
    if daemon is None:
        state = State.STALE if told or azurite else State.STOPPED
        return Status(state, home.root, home.log)
    account = Account.read(home)
    if told is None or told.pid != daemon.pid or account is None:
        return Status(State.BUSY, home.root, home.log, pid=daemon.pid)
    return Status(
        State.RUNNING,
        home.root,
        home.log,
        endpoints=told.endpoints(account, home),
        started=told.started,
        version=told.version,
        pid=daemon.pid,
        azurite_pid=azurite.pid if azurite else None,
        conditions=told.conditions,
        ahead=told.ahead,
    )
