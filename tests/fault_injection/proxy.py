"""A proxy between a client and its services that injects one fault into one chosen request.

It is in front of both services, forwards all bytes unchanged (signatures cover method, path, query
and headers, and stay valid), and counts the requests of the client. Requests of nodes and tasks
are forwarded without faults and not counted: they use signed URLs and no signature header.

Not here: anything of batchspec. The proxy knows HTTP and the form of Azure's errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit


class Kind(StrEnum):
    """A kind of fault. "Done" means that the service carries the request out."""

    CUT = "cut"
    """The connection is reset before the service receives the request."""
    LOST = "lost"
    """Done; the connection is reset instead of an answer."""
    TORN = "torn"
    """Done; the connection is reset in the middle of the answer."""
    BUSY = "429"
    BUSY_AFTER = "429-after"
    """429 with Retry-After."""
    FAILED = "500"
    FAILED_DONE = "500-done"
    """Done, and answered 500."""
    AWAY = "503"
    AWAY_AFTER = "503-after"
    AWAY_DONE = "503-done"
    SLOW = "slow"
    """Done; the answer arrives after the time-out of the client."""
    LATE = "late"
    """The client times out; done later, when the client may have sent the request again."""
    KILL = "kill"
    """The client is killed; the service does not receive the request."""
    KILL_DONE = "kill-done"
    """Done; the client is killed before the answer."""


DONE = frozenset(
    {
        *(Kind.LOST, Kind.TORN, Kind.FAILED_DONE, Kind.AWAY_DONE),
        *(Kind.SLOW, Kind.LATE, Kind.KILL_DONE),
    }
)
"""The kinds for which the service carries the request out."""

KILLS = frozenset({Kind.KILL, Kind.KILL_DONE})
PATIENT = frozenset({Kind.SLOW, Kind.LATE})
"""The kinds that end with a time-out of the client."""

_STATUS = {
    Kind.BUSY: (429, "TooManyRequests"),
    Kind.BUSY_AFTER: (429, "TooManyRequests"),
    Kind.FAILED: (500, "InternalError"),
    Kind.FAILED_DONE: (500, "InternalError"),
    Kind.AWAY: (503, "ServerBusy"),
    Kind.AWAY_AFTER: (503, "ServerBusy"),
    Kind.AWAY_DONE: (503, "ServerBusy"),
}
_AFTER = frozenset({Kind.BUSY_AFTER, Kind.AWAY_AFTER})
_LATER = 0.5
"""Seconds by which what is late comes after the client gave up: its next attempt comes sooner."""

_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault and the number of the request, from 1."""

    kind: Kind
    number: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request as it was received: the head including its empty line, and the body."""

    head: bytes
    body: bytes

    @property
    def line(self) -> str:
        """Method, path and query."""
        return self.head.split(b"\r\n", 1)[0].rpartition(b" ")[0].decode("latin-1")

    @property
    def method(self) -> str:
        return self.line.partition(" ")[0]

    @property
    def path(self) -> str:
        return urlsplit(self.line.partition(" ")[2]).path

    def header(self, name: str) -> str:
        """The value of a header, or an empty string."""
        return _header(self.head, name)


@dataclass(slots=True)
class Proxy:
    """Serves inside ``async with``; ``url`` is its address, and both services are paths of it.

    ``kill`` is called to kill the client, and returns when it has ended.
    """

    batch: str
    blob: str
    fault: Fault | None = None
    kill: Callable[[], Awaitable[None]] | None = None
    count: int = 0
    hit: str = ""
    """The request with the fault."""
    url: str = ""
    seen: list[str] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _busy: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def blob_url(self) -> str:
        """The URL of the storage account."""
        return self.url + urlsplit(self.blob).path

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Proxy]:
        """Listen on a free port of the loopback interface."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for writer in self._open:
                writer.transport.abort()
            await server.wait_closed()

    async def settled(self) -> None:
        """Wait until no request is in progress."""
        while self._busy:
            self._idle.clear()
            await self._idle.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while (request := await _read_request(reader, writer)) is not None:
                self._busy += 1
                try:
                    keep = await self._answer(request, reader, writer)
                finally:
                    self._busy -= 1
                    if not self._busy:
                        self._idle.set()
                if not keep:
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            # The client was killed.
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer a request; return whether the connection stays open."""
        fault = self._due(request)
        if fault is None:
            reply = await self._forward(request)
            writer.write(reply)
            await writer.drain()
            return _framed(request, reply)
        self.hit = request.line
        match fault:
            case Kind.LATE:
                await _until_closed(reader)
                await asyncio.sleep(_LATER)
                await self._forward(request)
                return False
            case Kind.KILL | Kind.KILL_DONE:
                if fault in DONE:
                    await self._forward(request)
                assert self.kill is not None
                await self.kill()
                return False
            case Kind.SLOW:
                await self._forward(request)
                await _until_closed(reader)
                return False
            case Kind.CUT | Kind.LOST | Kind.TORN:
                reply = b"" if fault is Kind.CUT else await self._forward(request)
                if fault is Kind.TORN:
                    writer.write(reply[: _middle(reply)])
                    await writer.drain()
                _reset(writer)
                return False
            case _:
                if fault in DONE:
                    await self._forward(request)
                writer.write(_error(fault, request, storage=self._is_blob(request)))
                await writer.drain()
                return True

    def _due(self, request: Request) -> Kind | None:
        """Count a request of the client and return the fault for it."""
        if not request.header("authorization").startswith(("SharedKey ", "Bearer ")):
            return None
        self.count += 1
        self.seen.append(request.line)
        due = self.fault is not None and self.fault.number == self.count
        return self.fault.kind if self.fault is not None and due else None

    def _is_blob(self, request: Request) -> bool:
        return (request.path + "/").startswith(urlsplit(self.blob).path.rstrip("/") + "/")

    async def _forward(self, request: Request) -> bytes:
        """The complete reply of the service, on a new connection for each request."""
        address = urlsplit(self.blob if self._is_blob(request) else self.batch)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(_with_connection(request.head, b"close") + request.body)
            await writer.drain()
            return _with_connection(await reader.read(-1), b"keep-alive")
        finally:
            writer.close()


async def _read_request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Request | None:
    """The next request of a connection; ``None`` if there is none."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    if _header(head, "expect").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = _without(head, b"expect")
    if _header(head, "transfer-encoding").lower() == "chunked":
        return Request(head, await _chunks(reader))
    return Request(head, await reader.readexactly(int(_header(head, "content-length") or 0)))


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A chunked body in its encoded form."""
    body = b""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        body += line + await reader.readexactly(size + 2)
        if not size:
            return body


def _header(head: bytes, name: str) -> str:
    wanted = name.lower().encode() + b":"
    for line in head.split(b"\r\n")[1:]:
        if line.lower().startswith(wanted):
            return line.partition(b":")[2].strip().decode("latin-1")
    return ""


def _without(message: bytes, name: bytes) -> bytes:
    head, end, body = message.partition(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(name + b":")]
    return b"\r\n".join(lines) + end + body


def _with_connection(message: bytes, value: bytes) -> bytes:
    first, end, rest = _without(message, b"connection").partition(b"\r\n")
    return first + end + b"Connection: " + value + b"\r\n" + rest


def _framed(request: Request, reply: bytes) -> bool:
    """Whether the end of a reply is known without closing the connection."""
    head = reply.partition(b"\r\n\r\n")[0]
    status = head.split(b" ", 2)[1:2]
    return (
        request.method == "HEAD"
        or status in ([b"204"], [b"304"])
        or bool(_header(head, "content-length") or _header(head, "transfer-encoding"))
    )


def _middle(reply: bytes) -> int:
    """Half of the body, or half of the head of a reply without a body."""
    head, _, body = reply.partition(b"\r\n\r\n")
    return len(head) + 4 + len(body) // 2 if body else len(head) // 2


async def _until_closed(reader: asyncio.StreamReader) -> None:
    """Wait until the client has closed its connection."""
    with contextlib.suppress(ConnectionError):
        while await reader.read(1 << 16):
            pass


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a reset."""
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()


def _error(kind: Kind, request: Request, *, storage: bool) -> bytes:
    """An error reply in the form of the service."""
    status, code = _STATUS[kind]
    if storage:
        text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}.</Message></Error>"
        headers = ["Content-Type: application/xml", f"x-ms-error-code: {code}"]
    else:
        text = json.dumps({"code": code, "message": {"lang": "en-US", "value": f"{code}."}})
        headers = ["Content-Type: application/json;odata=minimalmetadata"]
    headers += ["Retry-After: 1"] if kind in _AFTER else []
    body = b"" if request.method == "HEAD" else text.encode()
    headers += [f"Content-Length: {len(body)}", "Connection: keep-alive"]
    return "\r\n".join([f"HTTP/1.1 {status} {code}", *headers, "", ""]).encode() + body
