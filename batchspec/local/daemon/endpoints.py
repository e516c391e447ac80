"""Account names and keys, the addresses of the running service, and variables for clients."""

from __future__ import annotations

import base64
import json
import secrets
import shlex
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, Self

from batchspec.local.daemon.home import Home, is_private, write_private
from batchspec.local.error import LocalError
from batchspec.local.settings import REAL_TIME, Simulation, SimulationOptions

_NAME = "batchspeclocal"
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
        account = cls(batch_account=_NAME, batch_key=_key(), blob_account=_NAME, blob_key=_key())
        with home.disk_errors():
            write_private(home.account, json.dumps(asdict(account), indent=1) + "\n")
        return account


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses and credentials of the Batch service and its storage; keys are base64."""

    batch_url: str
    batch_account: str
    batch_key: str = field(repr=False)
    blob_url: str
    blob_account: str
    blob_key: str = field(repr=False)
    pid: int
    data: Path
    simulation: Simulation = REAL_TIME

    @property
    def connection_string(self) -> str:
        """The connection string of the storage account, including the key."""
        return connection_string(self.blob_url, self.blob_account, self.blob_key)


def connection_string(url: str, account: str, key: str) -> str:
    """The connection string of a storage account for Azure's clients."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={url};"
    )


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the daemon publishes about itself while it is ready; it contains no key.

    ``ahead`` is the difference of its time to real time when it ``started``.
    """

    batch_url: str
    blob_url: str
    pid: int
    started: datetime
    version: str
    simulation: Simulation = REAL_TIME
    ahead: timedelta = timedelta()

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
    }
    write_private(home.endpoints, json.dumps(data, indent=1) + "\n")


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
        )
    except (OSError, ValueError, TypeError, KeyError):
        return None


Format = Literal["sh", "powershell", "dotenv", "json"]


def variables(endpoints: Endpoints) -> dict[str, str]:
    """Environment variables for clients, with the names that the Azure CLI and SDKs read."""
    return {
        "AZURE_BATCH_ACCOUNT": endpoints.batch_account,
        "AZURE_BATCH_ENDPOINT": endpoints.batch_url,
        "AZURE_BATCH_ACCESS_KEY": endpoints.batch_key,
        "AZURE_STORAGE_ACCOUNT": endpoints.blob_account,
        "AZURE_STORAGE_KEY": endpoints.blob_key,
        "AZURE_STORAGE_CONNECTION_STRING": endpoints.connection_string,
    }


def env(endpoints: Endpoints, format: Format) -> str:  # noqa: A002  the option's name
    """:func:`variables` as text in ``format``, one variable per line, including the keys."""
    pairs = variables(endpoints)
    match format:
        case "sh":
            lines = [f"export {name}={shlex.quote(value)}" for name, value in pairs.items()]
        case "powershell":
            lines = [
                f"$env:{name} = '{value.replace(chr(39), chr(39) * 2)}'"
                for name, value in pairs.items()
            ]
        case "dotenv":
            # Quoted, since a connection string contains semicolons; no character needs escaping.
            lines = [f'{name}="{value}"' for name, value in pairs.items()]
        case "json":
            lines = [json.dumps(pairs, indent=2)]
    return "\n".join(lines) + "\n"
