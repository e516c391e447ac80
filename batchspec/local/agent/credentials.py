"""Access of nodes to the storage of the account, made from the key of its storage account.

This stands in for auto-storage keys and managed identities. A container of the account's own
storage is granted by a service SAS; a URL of other storage stays as it is. The key is never shown.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

_VERSION = "2021-12-02"
_LIFETIME = timedelta(days=7)
_ALL = "racwl"


def _now() -> datetime:
    return datetime.now(UTC)


class StorageAccess(Protocol):
    """What the account grants its nodes: URLs with a credential."""

    def container(self, name: str) -> str | None:
        """A container of the auto-storage account, to read, list and write; ``None`` without
        one.
        """

    def identity(self, url: str) -> str:
        """``url`` as the managed identity of the nodes may use it."""


@dataclass(frozen=True, slots=True)
class NoAutoStorage:
    """Access of an account without a storage account."""

    def container(self, name: str) -> str | None:  # noqa: ARG002  the protocol's
        """``None``: there is no auto-storage account."""
        return None

    def identity(self, url: str) -> str:
        """The URL as it is."""
        return url


@dataclass(frozen=True, slots=True)
class StorageAccount:
    """A storage account and its key. ``endpoint`` is its blob endpoint, without a final slash."""

    name: str
    endpoint: str
    key: str = field(repr=False)
    now: Callable[[], datetime] = field(default=_now, repr=False)

    @classmethod
    def read(cls, connection_string: str) -> Self:
        """The account of a connection string, which must have a ``BlobEndpoint``.

        Raises:
            ValueError: a part is missing; the message does not contain the string.
        """
        parts: Mapping[str, str] = dict(
            entry.split("=", 1) for entry in connection_string.split(";") if "=" in entry
        )
        try:
            name, key = parts["AccountName"], parts["AccountKey"]
            return cls(name, parts["BlobEndpoint"].rstrip("/"), key)
        except KeyError as error:
            raise ValueError(f"the connection string has no {error.args[0]}") from None

    def container(self, name: str) -> str | None:
        """The URL of a container of this account, with a SAS to read, list and write."""
        return f"{self.endpoint}/{name}?{self._sas(name)}"

    def identity(self, url: str) -> str:
        """``url`` with a SAS, if it is in this account and has none."""
        parts = urlsplit(url)
        if not url.startswith(self.endpoint + "/") or parts.query:
            return url
        below = url[len(self.endpoint) + 1 :]
        return urlunsplit(parts._replace(query=self._sas(below.partition("/")[0])))

    def _sas(self, container: str) -> str:
        # String to sign of the service SAS for a container, version 2020-12-06 and later.
        expiry = (self.now() + _LIFETIME).strftime("%Y-%m-%dT%H:%M:%SZ")
        place = f"/blob/{self.name}/{container}"
        text = [_ALL, "", expiry, place, "", "", "", _VERSION, "c", "", "", "", "", "", "", ""]
        digest = hmac.new(base64.b64decode(self.key), "\n".join(text).encode(), hashlib.sha256)
        signature = base64.b64encode(digest.digest()).decode()
        return urlencode({"sv": _VERSION, "sr": "c", "sp": _ALL, "se": expiry, "sig": signature})
