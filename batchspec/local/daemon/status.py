"""The status of the daemon of a data folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

from batchspec.local.daemon.endpoints import Account, Endpoints, read_announcement
from batchspec.local.daemon.home import Home
from batchspec.local.lock import held
from batchspec.local.process import Process
from batchspec.local.settings import Simulation


class State(StrEnum):
    """The state of the service."""

    RUNNING = "running"
    BUSY = "busy"
    """It is starting or stopping."""
    STOPPED = "stopped"
    STALE = "stale"
    """It was killed and left files or processes; ``start`` and ``stop`` clean them up."""


@dataclass(frozen=True, slots=True)
class Status:
    """The status of the service.

    ``endpoints``, ``started``, ``version``, ``simulation`` and the pids are set only while it runs.
    ``ahead`` is the difference of its time to real time when it started.
    """

    state: State
    data: Path
    log: Path
    endpoints: Endpoints | None = None
    started: datetime | None = None
    version: str | None = None
    pid: int | None = None
    azurite_pid: int | None = None
    simulation: Simulation | None = None
    ahead: timedelta = timedelta()

    def time(self, now: datetime) -> datetime | None:
        """The time of the service at the real time ``now``; ``None`` if it does not run."""
        if self.started is None or self.simulation is None:
            return None
        return now + self.ahead + (now - self.started) * (self.simulation.speed - 1)


def read_status(home: Home) -> Status:
    """The status of the service of ``home``.

    Raises:
        LocalError: the folder or the account cannot be read.
    """
    with home.disk_errors():
        daemon = Process.read(home.daemon_lock) if held(home.daemon_lock) else None
        announcement = read_announcement(home)
        azurite = Process.read(home.azurite_lock) if held(home.azurite_lock) else None
    if daemon is None:
        state = State.STALE if announcement or azurite else State.STOPPED
        return Status(state, home.root, home.log)
    account = Account.read(home)
    if announcement is None or announcement.pid != daemon.pid or account is None:
        return Status(State.BUSY, home.root, home.log, pid=daemon.pid)
    return Status(
        State.RUNNING,
        home.root,
        home.log,
        endpoints=announcement.endpoints(account, home),
        started=announcement.started,
        version=announcement.version,
        pid=daemon.pid,
        azurite_pid=azurite.pid if azurite else None,
        simulation=announcement.simulation,
        ahead=announcement.ahead,
    )
