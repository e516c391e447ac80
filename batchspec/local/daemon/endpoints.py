"""Where the running service is reached, for clients; and the file that tells them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from batchspec.local.conditions import REAL, Asked, Conditions
from batchspec.local.daemon.account import Account
from batchspec.local.daemon.home import Home, write_private


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
    conditions: Conditions = REAL

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
    conditions: Conditions = REAL
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


def announce(home: Home, announcement: Announcement) -> None:
    """Write the announcement, whole or not at all."""
    conditions = announcement.conditions
    data = {name: getattr(announcement, name) for name in Announcement.__slots__} | {
        "started": announcement.started.isoformat(),
        "conditions": {
            "speed": conditions.speed,
            "allocation": conditions.allocation_text,
            "chaos": conditions.chaos.text,
            "seed": conditions.chaos.seed,
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
            "conditions": Conditions.read({}, Asked(**data.get("conditions", {}))),
            "ahead": timedelta(seconds=data.get("ahead", 0.0)),
        }
        return Announcement(**(data | read))
    except (OSError, ValueError, TypeError, KeyError):
        return None
