"""The names and keys of the local accounts: made on the first start, kept for good."""

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
from batchspec.local.simulation import REAL_TIME, Simulation, SimulationOptions

_NAME = "batchspeclocal"
_KEY_BYTES = 64  # as long as Azure's


@dataclass(frozen=True, slots=True)
class Account:
    """A Batch account and a storage account; keys are base64."""

    batch_account: str
    batch_key: str = field(repr=False)
    blob_account: str
    blob_key: str = field(repr=False)

    @classmethod
    def read(cls, home: Home) -> Self | None:
        """The account of ``home``; ``None`` if none was made yet.

        Raises:
            LocalError: the file is damaged, or others can read it (``account-damaged``,
                ``account-exposed``).
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
                f"Others can read or write the account key in {path}.",
                hint=f"rm {path} for a new key, or chmod 600 {path} if it was never seen",
            )
        try:
            account = cls(**json.loads(data))
            base64.b64decode(account.batch_key, validate=True)
            base64.b64decode(account.blob_key, validate=True)
        except (TypeError, ValueError):
            # Without the cause: its text could hold the key.
            raise LocalError(
                "account-damaged",
                f"The file with the account's key, {path}, is damaged.",
                hint=f"rm {path} for a new key; the state stays",
            ) from None
        return account

    @classmethod
    def create(cls, home: Home) -> Self:
        """A new account with keys of its own, saved in ``home``."""
        account = cls(batch_account=_NAME, batch_key=_key(), blob_account=_NAME, blob_key=_key())
        with home.disk_errors():
            write_private(home.account, json.dumps(asdict(account), indent=1) + "\n")
        return account


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All that a client of the Batch service and of its storage needs. Keys are base64."""

    batch_url: str
    batch_account: str
    batch_key: str = field(repr=False)
    blob_url: str
    blob_account: str
    blob_key: str = field(repr=False)
    pid: int
    data: Path
    conditions: Simulation = REAL_TIME

    @property
    def connection_string(self) -> str:
        """The storage account in the form that Azure's storage clients take. Holds the key."""
        return connection_string(self.blob_url, self.blob_account, self.blob_key)


def connection_string(url: str, account: str, key: str) -> str:
    """A storage account in the form that Azure's clients take."""
    return (
        f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};BlobEndpoint={url};"
    )


@dataclass(frozen=True, slots=True)
class Announcement:
    """What the daemon tells about itself while it is ready; it holds no key.

    ``ahead`` is how far its time was ahead of the wall's when it ``started``.
    """

    batch_url: str
    blob_url: str
    pid: int
    started: datetime
    version: str
    conditions: Simulation = REAL_TIME
    ahead: timedelta = timedelta()

    def endpoints(self, account: Account, home: Home) -> Endpoints:
        """The announcement together with the keys."""
        return Endpoints(
            batch_url=self.batch_url,
            batch_account=account.batch_account,
            batch_key=account.batch_key,
            blob_url=self.blob_url,
            blob_account=account.blob_account,
            blob_key=account.blob_key,
            pid=self.pid,
            data=home.root,
            conditions=self.conditions,
        )


def write_announcement(home: Home, announcement: Announcement) -> None:
    """Write the announcement, whole or not at all."""
    conditions = announcement.conditions
    data = {name: getattr(announcement, name) for name in Announcement.__slots__} | {
        "started": announcement.started.isoformat(),
        "conditions": {
            "speed": conditions.speed,
            "allocation": conditions.allocation_text,
            "chaos": conditions.faults.text,
            "seed": conditions.faults.seed,
        },
        "ahead": announcement.ahead.total_seconds(),
    }
    write_private(home.endpoints, json.dumps(data, indent=1) + "\n")


def read_announcement(home: Home) -> Announcement | None:
    """The announcement in ``home``; ``None`` if there is none that can be read.

    It is only true while the daemon's lock is held: a killed daemon leaves it behind.
    """
    try:
        data = json.loads(home.endpoints.read_text())
        read = {
            "started": datetime.fromisoformat(data["started"]),
            # One of before there was a choice says nothing of them.
            "conditions": Simulation.read({}, SimulationOptions(**data.get("conditions", {}))),
            "ahead": timedelta(seconds=data.get("ahead", 0.0)),
        }
        return Announcement(**(data | read))
    except (OSError, ValueError, TypeError, KeyError):
        return None


Format = Literal["sh", "powershell", "dotenv", "json"]


def variables(endpoints: Endpoints) -> dict[str, str]:
    """The environment of a client, with the names that the Azure CLI and the SDKs read."""
    return {
        "AZURE_BATCH_ACCOUNT": endpoints.batch_account,
        "AZURE_BATCH_ENDPOINT": endpoints.batch_url,
        "AZURE_BATCH_ACCESS_KEY": endpoints.batch_key,
        "AZURE_STORAGE_ACCOUNT": endpoints.blob_account,
        "AZURE_STORAGE_KEY": endpoints.blob_key,
        "AZURE_STORAGE_CONNECTION_STRING": endpoints.connection_string,
    }


def env(endpoints: Endpoints, format: Format) -> str:  # noqa: A002  the option's name
    """:func:`variables` as text that ``format`` reads, one variable a line. Holds the keys."""
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
            # Quoted, since a connection string has semicolons; nothing in it needs an escape.
            lines = [f'{name}="{value}"' for name, value in pairs.items()]
        case "json":
            lines = [json.dumps(pairs, indent=2)]
    return "\n".join(lines) + "\n"
