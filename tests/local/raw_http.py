"""Requests over a plain socket, as no client library would send them, and what comes back."""

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
class Got:
    """The first answer on a connection; status 0 when it was closed without one."""

    status: int = 0
    headers: Mapping[str, str] | None = None
    body: bytes = b""


def exchange(service: Service, *pieces: bytes, half_close: bool = False) -> Got:
    """Send the pieces, and read the answer. Fails when neither it nor a close comes."""
    parts = urlsplit(service.url)
    with socket.create_connection((str(parts.hostname), parts.port), timeout=30) as connection:
        received = b""
        bare = pieces[0].startswith(b"HEAD ")
        try:
            for piece in pieces:
                connection.sendall(piece)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
        except OSError:  # it was closed before all was sent; what was said until then counts
            pass
        try:
            while not _whole(received, bare=bare) and (more := connection.recv(65536)):
                received += more
        except ConnectionResetError:
            pass
    return _read(received)


def _whole(received: bytes, *, bare: bool) -> bool:
    """Whether an answer is there to its end; ``bare`` is one to HEAD."""
    head, found, body = received.partition(b"\r\n\r\n")
    if found and head.startswith(b"HTTP/1.1 100 "):
        return _whole(body, bare=bare)
    if bare or re.match(rb"HTTP/1\.1 (204|304) ", head):
        return bool(found)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(found and length) and len(body) >= int(length[1] if length else 0)


def _read(received: bytes) -> Got:
    if not received:
        return Got()
    head, _, body = received.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    found = re.fullmatch(r"HTTP/1\.1 (\d{3}) .*", status)
    assert found, received[:200]
    if found[1] == "100":
        return _read(body)
    pairs = (line.partition(":") for line in lines)
    return Got(int(found[1]), {name.lower(): value.strip() for name, _, value in pairs}, body)


@dataclass(slots=True)
class Onlooker:
    """Sees from outside whether anything was written, and that the service still answers."""

    service: Service
    connection: sqlite3.Connection

    def version(self) -> int:
        found: int = self.connection.execute("PRAGMA data_version").fetchone()[0]
        return found

    def alive(self) -> bool:
        return self.service.request("GET", "/applications").status == 200


@contextmanager
def onlooker(service: Service) -> Iterator[Onlooker]:
    connection = sqlite3.connect(service.data / "batch.db", check_same_thread=False)
    try:
        yield Onlooker(service, connection)
    finally:
        connection.close()


def signed(
    method: str, target: bytes, headers: list[tuple[str, str]], *, key: str = KEY, days: int = 0
) -> bytes:
    """The lines of a request and its headers, signed as the service reads them."""
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
