"""Requests over a plain socket, which no client library would send, and their replies."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from urllib.parse import urlsplit

from batchspec.local.wire import SignedRequest, strings_to_sign
from tests.local.running import ACCOUNT, KEY, Service

VERSION = b"api-version=2025-06-01"


@dataclass(frozen=True, slots=True)
class RawReply:
    """The first reply on a connection; status 0 if it was closed without a reply."""

    status: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""


def exchange(service: Service, *pieces: bytes, half_close: bool = False) -> RawReply:
    """Send the pieces and read the reply; fails if there is neither a reply nor a close."""
    parts = urlsplit(service.url)
    with socket.create_connection((str(parts.hostname), parts.port), timeout=30) as connection:
        received = b""
        bare = pieces[0].startswith(b"HEAD ")
        try:
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # closed before everything was sent; the reply so far counts
            pass
        try:
            while not _whole(received, bare=bare) and (more := connection.recv(65536)):
                received += more
        except ConnectionResetError:
            pass
    return _read(received)


def _whole(received: bytes, *, bare: bool) -> bool:
    """Whether the reply is complete; ``bare`` is a reply to HEAD."""
    head, found, body = received.partition(b"\r\n\r\n")
    if found and head.startswith(b"HTTP/1.1 100 "):
        return _whole(body, bare=bare)
    if bare or re.match(rb"HTTP/1\.1 (204|304) ", head):
        return bool(found)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(found and length) and len(body) >= int(length[1] if length else 0)


def _read(received: bytes) -> RawReply:
    if not received:
        return RawReply()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", status)
    assert found, received[:200]
    if found[1] == "100":
        return _read(body)
    pairs = (line.partition(":") for line in lines)
    return RawReply(int(found[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


@dataclass(slots=True)
class Observer:
    """Detects writes to the database, and checks that the service still answers."""

    service: Service
    connection: sqlite3.Connection

    def version(self) -> int:
        found: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return found

    def alive(self) -> bool:
        return self.service.request("GET", "/applications").status == 200


@contextmanager
def observer(service: Service) -> Iterator[Observer]:
    connection = sqlite3.connect(service.data / "batch.db", check_same_thread=False)
    try:
        yield Observer(service, connection)
    finally:
        connection.close()


def signed(
    method: str, target: bytes, headers: list[tuple[str, str]], *, key: str = KEY, days: int = 0
) -> bytes:
    """A signed request as bytes."""
    sent = [
        ("ocp-date", format_datetime(datetime.now(UTC) + timedelta(days), usegmt=True)),
        *headers,
    ]
    seen: dict[str, str] = {}
    for name, value in sent:
        seen[name] = f"{seen[name]},{value.strip()}" if name in seen else value.strip()
    path, _, query = target.decode().partition("?")
    text = next(strings_to_sign(SignedRequest(method, path, query, seen), ACCOUNT))
    mac = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    sent.append(("authorization", f"SharedKey {ACCOUNT}:{base64.b64encode(mac).decode()}"))
    return lines_of(method, target, sent)


def lines_of(method: str, target: bytes, headers: list[tuple[str, str]]) -> bytes:
    lines = [f"{name}: {value}".encode() for name, value in [("host", "x"), *headers]]
    return b"\r\n".join([method.encode() + b" " + target + b" HTTP/1.1", *lines, b"", b""])
