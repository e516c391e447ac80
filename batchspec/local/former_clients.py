"""Clients that use an api-version that Azure Batch will retire.

Each client is logged once and listed in a file of the data folder for ``batchspec local status``.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchspec.frozen import frozen

_LOG = logging.getLogger("batchspec.local.http")
_FILE = "former-clients.json"
_MOST = 50
"""Maximum number of recorded clients."""

# The products in user agents of known clients, from the most to the least specific.
_PRODUCTS = (
    r"AZURECLI/[\w.]+",
    r"apache-airflow/[\w.]+",
    r"(?:@azure/)?[\w-]*batch[\w-]*/[\w.]+",
    r"[!-~]+/[\w.]+",
)


@frozen
class FormerClient:
    """A client, named by the product in its user agent, and its api-version."""

    name: str
    version: str


@dataclass(slots=True)
class FormerClients:
    """The clients of one run of the service; their file is in the data folder ``data``."""

    data: Path
    _seen: dict[tuple[str, str], FormerClient] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.data / _FILE).unlink(missing_ok=True)

    def note(self, headers: Mapping[str, str], version: str) -> None:
        """Record the client of a request with ``headers`` (lower-case names) and ``version``."""
        agent = headers.get("user-agent") or headers.get("x-ms-useragent") or ""
        key = (agent[:512], version)
        if key in self._seen or len(self._seen) >= _MOST:
            return
        client = FormerClient(product(agent), version)
        known = client in self._seen.values()
        self._seen[key] = client
        if not known:
            _LOG.warning(
                "%s uses api-version %s, which Azure Batch will retire", client.name, version
            )
            try:
                self._write()
            except OSError as error:  # a full disk must not fail the request
                _LOG.warning("%s cannot be written: %s", _FILE, error)

    def _write(self) -> None:
        found = dict.fromkeys(self._seen.values())
        rows = [{"name": client.name, "api_version": client.version} for client in found]
        temporary = self.data / f"{_FILE}.new"
        temporary.write_text(json.dumps(rows), encoding="utf-8")
        temporary.replace(self.data / _FILE)


def product(agent: str) -> str:
    """The name and version of the client in a user agent, such as ``azure-batch/8.0.0``."""
    for pattern in _PRODUCTS:
        if found := re.search(pattern, agent[:512], re.ASCII | re.IGNORECASE):
            return found[0][:80]
    return "a client without a name"


def read_former_clients(data: Path) -> tuple[FormerClient, ...]:
    """The clients that the service of the data folder ``data`` has recorded since its start.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        rows: list[dict[str, Any]] = json.loads((data / _FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    return tuple(FormerClient(str(row["name"]), str(row["api_version"])) for row in rows)
