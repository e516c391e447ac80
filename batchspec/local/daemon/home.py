"""The data folder: its paths, account, announcement and status of the service."""

from __future__ import annotations

import base64
import errno
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from batchspec.local.former_clients import FormerClient, read_former_clients
from batchspec.local.process import Process, held
from batchspec.local.settings import REAL_TIME, Simulation, SimulationOptions, TrustFiles
from batchspec.local.startup import LocalError
from batchspec.local.task_users import ALL_AS_SERVICE, Separation, UserIds, private_mode

_TRASH = "trash-"
_STATE_FOLDERS = ("batch", "blobs")


@dataclass(frozen=True, slots=True)
class Home:
    """The data folder of one local account; it contains all of its state."""

    root: Path

    @property
    def account(self) -> Path:
        """Names and keys of the two accounts; created once."""
        return self.root / "account.json"

    @property
    def endpoints(self) -> Path:
        """The addresses of the service; exists while it is ready."""
        return self.root / "endpoints.json"

    @property
    def ports(self) -> Path:
        """The ports of the last run; the next run uses them again if they are free."""
        return self.root / "ports.json"

    @property
    def log(self) -> Path:
        """The output of the daemon since its start; that of the last run is in ``daemon.log.1``."""
        return self.root / "daemon.log"

    @property
    def azurite_log(self) -> Path:
        """The output of Azurite since the daemon's start."""
        return self.root / "azurite.log"

    @property
    def batch(self) -> Path:
        """The state of the Batch service and the directories of its nodes."""
        return self.root / "batch"

    @property
    def blobs(self) -> Path:
        """Azurite's blobs."""
        return self.root / "blobs"

    @property
    def applications(self) -> Path:
        """Application packages, placed there by the user; ``reset`` keeps them."""
        return self.root / "applications"

    @property
    def identities(self) -> Path:
        """The rights of managed identities, written by the user; ``reset`` keeps the file."""
        return self.root / "identities"

    @property
    def certificates(self) -> Path:
        """The certificate for https and its private key; created once, kept by ``reset``."""
        return self.root / "certificates"

    @property
    def start_lock(self) -> Path:
        """The lock of a process that starts, stops or resets the service."""
        return self.root / "start.lock"

    @property
    def daemon_lock(self) -> Path:
        """The lock of the running daemon; the file contains its pid."""
        return self.root / "daemon.lock"

    @property
    def azurite_lock(self) -> Path:
        """The lock that Azurite inherits: two Azurites would destroy the blob folder."""
        return self.root / "azurite.lock"

    def create(self) -> None:
        """Create the folder with access only for its owner, and for tasks if they can enter it.

        Raises:
            LocalError: it cannot be created or written (``data-unwritable``), belongs to another
                user or contains other files (``data-foreign``), which ``reset`` would delete.
        """
        with self.disk_errors():
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = self.root.stat()
            foreign = found.st_uid != os.geteuid() or (
                not self.account.exists() and sorted(_strangers(self.root))
            )
            if foreign:
                raise LocalError(
                    "data-foreign",
                    f"The folder {self.root} was not created by the embedded service.",
                    fix="Set BATCHSPEC_LOCAL_HOME to an empty or new folder",
                )
            self.root.chmod(private_mode(found))
            check_writable(self.root)

    def check(self) -> None:
        """Raise ``data-unwritable`` if :meth:`create` could not create the folder; create nothing.

        Raises:
            LocalError: ``data-unwritable``.
        """
        with self.disk_errors():
            check_writable(self.root)

    def set_state_aside(self) -> tuple[Path, ...]:
        """Rename the state folders atomically, and return all folders to be deleted."""
        for name in _STATE_FOLDERS:
            state = self.root / name
            if state.is_dir():
                state.rename(self.root / f"{_TRASH}{name}-{secrets.token_hex(4)}")
        return tuple(self.root.glob(f"{_TRASH}*"))

    @contextmanager
    def disk_errors(self) -> Iterator[None]:
        """Convert an ``OSError`` in the folder to ``data-unwritable``."""
        try:
            yield
        except OSError as error:
            raise LocalError(
                "data-unwritable",
                f"The data folder {self.root} cannot be used: {error.strerror or error}.",
                fix="Fix its permissions, or use another folder:"
                " `export BATCHSPEC_LOCAL_HOME=FOLDER`",
            ) from error


def check_writable(folder: Path) -> None:
    """Raise ``OSError`` if the folder, or the nearest that exists above it, is not writable."""
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically and durably; only its owner can ever read it."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def is_private(path: Path) -> bool:
    """Whether a file belongs to this user and no other user can read or write it."""
    status = path.lstat()
    return (
        stat.S_ISREG(status.st_mode)
        and status.st_uid == os.geteuid()
        and not status.st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    )


def _strangers(root: Path) -> set[str]:
    home = Home(root)
    ours = {home.start_lock.name, home.daemon_lock.name, home.azurite_lock.name, home.log.name}
    # The user may fill these before the first start.
    ours |= {home.applications.name, home.identities.name}
    return {
        name
        for name in os.listdir(root)  # noqa: PTH208  names are enough
        if name not in ours and not name.startswith(".account.json.")
    }


_ACCOUNT_NAME = "batchspeclocal"
_KEY_BYTES = 64  # as long as Azure's


@dataclass(frozen=True, slots=True)
class Account:
    """Names and keys of the Batch account and the storage account; keys are base64.

    They are created at the first start and never change.
    """

    batch_account: str
    batch_key: str = field(repr=False)
    blob_account: str
    blob_key: str = field(repr=False)

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """The account of ``home``; ``None`` if it has not been created yet.

        Raises:
            LocalError: the file is damaged (``account-damaged``), or other users can read it
                (``account-exposed``).
        """
        path = home.account
        try:
            with home.disk_errors():
                data, private = path.read_bytes(), is_private(path)
        except LocalError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        if not private:
            raise LocalError(
                "account-exposed",
                f"Other users can read or write the account key in {path}.",
                fix=f"Run rm {path} to get a new key, or chmod 600 {path} if no one has read it",
            )
        try:
            account = cls(**json.loads(data))
            base64.b64decode(account.batch_key, validate=True)
            base64.b64decode(account.blob_key, validate=True)
        except (TypeError, ValueError):
            # Without the cause: its text could contain the key.
            raise LocalError(
                "account-damaged",
                f"The account key file {path} is damaged.",
                fix=f"Run rm {path} to get a new key; the state of the service is kept",
            ) from None
        return account

    @classmethod
    def create(cls, home: Home) -> Self:
        """Create an account with new keys and save it in ``home``."""
        account = cls(
            batch_account=_ACCOUNT_NAME,
            batch_key=_new_key(),
            blob_account=_ACCOUNT_NAME,
            blob_key=_new_key(),
        )
        with home.disk_errors():
            write_private(home.account, json.dumps(asdict(account), indent=1) + "\n")
        return account


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class HttpsEndpoints:
    """The https addresses of a service, and the files with which clients trust its certificate."""

    batch_url: str
    blob_url: str
    trust: TrustFiles


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses and credentials of the Batch service and its storage; keys are base64.

    ``https`` are the addresses for clients that insist on https, if the service has them.
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

    @property
    def connection_string(self) -> str:
        """The connection string of the storage account, including the key."""
        return connection_string(self.blob_url, self.blob_account, self.blob_key)

    @property
    def blob_host_url(self) -> str:
        """The storage account's address with the account in the host name, as in Azure.

        Not every machine resolves names below ``localhost``.
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


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the daemon publishes about itself while it is ready; it contains no key.

    ``ahead`` is the difference of its time to real time when it ``started``. ``separation`` are the
    users of tasks.
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
        )


def write_announcement(home: Home, announcement: Announcement) -> None:
    """Write the announcement atomically."""
    simulation = announcement.simulation
    data = {name: getattr(announcement, name) for name in Announcement.__slots__} | {
        "started": announcement.started.isoformat(),
        "simulation": {
            "speed": simulation.speed,
            "allocation": simulation.allocation_text,
            "chaos": simulation.faults.text,
            "seed": simulation.faults.seed,
        },
        "ahead": announcement.ahead.total_seconds(),
        "https": announcement.https and asdict(announcement.https),
        "separation": asdict(announcement.separation),
    }
    write_private(home.endpoints, json.dumps(data, indent=1, default=os.fspath) + "\n")


def read_announcement(home: Home) -> Announcement | None:
    """The announcement in ``home``; ``None`` if it is missing or not valid.

    It is valid only while the daemon has its lock: a killed daemon leaves the file behind.
    """
    try:
        data = json.loads(home.endpoints.read_text())
        return Announcement(
            batch_url=data["batch_url"],
            blob_url=data["blob_url"],
            pid=data["pid"],
            started=datetime.fromisoformat(data["started"]),
            version=data["version"],
            # Versions without simulation options do not write them.
            simulation=Simulation.read({}, SimulationOptions(**data.get("simulation", {}))),
            ahead=timedelta(seconds=data.get("ahead", 0.0)),
            https=_read_https(data.get("https")),
            separation=_read_separation(data.get("separation", {})),
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _read_https(data: dict[str, Any] | None) -> HttpsEndpoints | None:
    if data is None:
        return None
    trust = TrustFiles(**{name: Path(path) for name, path in data["trust"].items()})
    return HttpsEndpoints(data["batch_url"], data["blob_url"], trust)


def _read_separation(data: dict[str, Any]) -> Separation:
    ids = data.get("ids")
    return Separation(UserIds(**ids) if ids else None, data.get("reason", ""))


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
    ``ahead`` is the difference of its time to real time when it started. ``former_clients`` speak
    an api-version that Azure Batch will retire. ``separation`` are the users of tasks.
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
        former = read_former_clients(home.batch)
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
        former_clients=former,
        separation=announcement.separation,
    )
