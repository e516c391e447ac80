"""The status of the service: its addresses, and the announcement of the daemon."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, field, fields
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from batchspec.frozen import frozen
from batchspec.local.daemon.home import Account, Home, write_private
from batchspec.local.former_clients import FormerClient, read_former_clients
from batchspec.local.process import Process, is_locked
from batchspec.local.settings import REAL_TIME, Simulation, SimulationOptions, TrustFiles
from batchspec.local.startup import LocalError
from batchspec.local.task_users import ALL_AS_SERVICE, Separation, UserIds


@frozen
class HttpsEndpoints:
    """The https addresses of a service, and the files by which clients trust its certificate."""

    batch_url: str
    blob_url: str
    trust: TrustFiles


@frozen
class Endpoints:
    """Addresses and credentials of the Batch service and its storage; keys are base64.

    ``https`` are the addresses for clients that require https, if the service has them. ``token``
    replaces a sign-in with Microsoft Entra ID; :attr:`token_file` contains it.
    """

    batch_url: str
    batch_account: str
    batch_key: str = field(repr=False)
    blob_url: str
    blob_account: str
    blob_key: str = field(repr=False)
    pid: int
    data: Path
    simulation: Simulation = REAL_TIME
    https: HttpsEndpoints | None = None
    token: str = field(repr=False, default="")

    @property
    def token_file(self) -> Path:
        """The file with ``token``, which only its owner can read."""
        return Home(self.data).token

    @property
    def connection_string(self) -> str:
        """The connection string of the storage account, including the key."""
        return connection_string(self.blob_url, self.blob_account, self.blob_key)

    @property
    def blob_host_url(self) -> str:
        """The storage account's address with the account in the host name, as in Azure.

        Some machines do not resolve names below ``localhost``.
        """
        url = urlsplit(self.https.blob_url if self.https else self.blob_url)
        return f"{url.scheme}://{self.blob_account}.blob.localhost:{url.port}"


def connection_string(url: str, account: str, key: str) -> str:
    """The connection string of a storage account for Azure's clients."""
    protocol = urlsplit(url).scheme
    return (
        f"DefaultEndpointsProtocol={protocol};AccountName={account};AccountKey={key};"
        f"BlobEndpoint={url};"
    )


@frozen
class Announcement:
    """The facts that the daemon publishes about itself while it is ready, without keys.

    ``ahead`` is the difference of the service's time to real time at ``started``. ``separation``
    are the users of tasks.
    """

    batch_url: str
    blob_url: str
    pid: int
    started: datetime
    version: str
    simulation: Simulation = REAL_TIME
    ahead: timedelta = timedelta()
    https: HttpsEndpoints | None = None
    separation: Separation = ALL_AS_SERVICE

    def endpoints(self, account: Account, home: Home) -> Endpoints:
        """The endpoints: this announcement and the keys."""
        return Endpoints(
            batch_url=self.batch_url,
            batch_account=account.batch_account,
            batch_key=account.batch_key,
            blob_url=self.blob_url,
            blob_account=account.blob_account,
            blob_key=account.blob_key,
            pid=self.pid,
            data=home.root,
            simulation=self.simulation,
            https=self.https,
            token=account.token,
        )


def write_announcement(home: Home, announcement: Announcement) -> None:
    """Write the announcement atomically."""
    simulation = announcement.simulation
    data = {each.name: getattr(announcement, each.name) for each in fields(announcement)} | {
        "started": announcement.started.isoformat(),
        "simulation": {
            "speed": simulation.speed,
            "allocation": simulation.allocation_text,
            "chaos": simulation.faults.text,
            "seed": simulation.faults.seed,
            "auth": simulation.auth,
        },
        "ahead": announcement.ahead.total_seconds(),
        "https": announcement.https and asdict(announcement.https),
        "separation": asdict(announcement.separation),
    }
    write_private(home.endpoints, json.dumps(data, indent=1, default=os.fspath) + "\n")


def read_announcement(home: Home) -> Announcement | None:
    """The announcement in ``home``; ``None`` if the file is missing or damaged.

    The announcement is valid only while the daemon has its lock: the file of a killed daemon stays.
    """
    try:
        data = json.loads(home.endpoints.read_text())
        return Announcement(
            batch_url=data["batch_url"],
            blob_url=data["blob_url"],
            pid=data["pid"],
            started=datetime.fromisoformat(data["started"]),
            version=data["version"],
            # Older versions do not write simulation options.
            simulation=Simulation.read({}, _read(SimulationOptions, data.get("simulation", {}))),
            ahead=timedelta(seconds=data.get("ahead", 0.0)),
            https=_read_https(data.get("https")),
            separation=_read_separation(data.get("separation", {})),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


_Value = TypeVar("_Value", SimulationOptions, TrustFiles, UserIds)


def _read_https(data: dict[str, Any] | None) -> HttpsEndpoints | None:
    if data is None:
        return None
    trust = _read(TrustFiles, {name: Path(path) for name, path in data["trust"].items()})
    return HttpsEndpoints(data["batch_url"], data["blob_url"], trust)


def _read_separation(data: dict[str, Any]) -> Separation:
    ids = data.get("ids")
    return Separation(_read(UserIds, ids) if ids else None, data.get("reason", ""))


def _read(cls: type[_Value], data: dict[str, Any]) -> _Value:
    """A value without the fields that newer versions write."""
    known = {each.name for each in fields(cls)}
    return cls(**{name: value for name, value in data.items() if name in known})


class State(StrEnum):
    """The state of the service."""

    RUNNING = "running"
    BUSY = "busy"
    """The service is starting or stopping."""
    STOPPED = "stopped"
    STALE = "stale"
    """The service was killed; ``start`` and ``stop`` clean up its files and processes."""


@frozen
class Status:
    """The status of the service.

    ``endpoints``, ``started``, ``version``, ``simulation`` and the pids are set only while it runs.
    ``ahead`` is the difference of the service's time to real time at its start. ``former_clients``
    use an api-version that Azure Batch will retire. ``separation`` are the users of tasks.
    ``failure`` is the error that ended the service, unless it was stopped or killed.
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
    former_clients: tuple[FormerClient, ...] = ()
    separation: Separation = ALL_AS_SERVICE
    failure: LocalError | None = field(default=None, compare=False)

    def time(self, now: datetime) -> datetime | None:
        """The time of the service at the real time ``now``; ``None`` if it is not running."""
        if self.started is None or self.simulation is None:
            return None
        return now + self.ahead + (now - self.started) * (self.simulation.speed - 1)


def read_status(home: Home) -> Status:
    """The status of the service of ``home``.

    Raises:
        LocalError: the folder or the account cannot be read.
    """
    with home.disk_errors():
        daemon = Process.read(home.daemon_lock) if is_locked(home.daemon_lock) else None
        announcement = read_announcement(home)
        azurite = Process.read(home.azurite_lock) if is_locked(home.azurite_lock) else None
        former = read_former_clients(home.batch)
    if daemon is None:
        state = State.STALE if announcement or azurite else State.STOPPED
        return Status(state, home.root, home.log, failure=home.read_failure())
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
        former_clients=former,
        separation=announcement.separation,
    )
