"""Uploads of small blobs to a blob store on this machine over plain HTTP.

Each task of a run with logs uploads at least two small files. A request of aiohttp takes twice the
processor time of a request of this module, for what a request to this machine does not need: name
resolution, proxies, cookies, redirects, traces. httptools parses the responses.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

import aiohttp
import httptools

MAX_SIZE = 1 << 20
"""Maximum size in bytes of a blob."""
_CONNECTIONS = 32
_TIMEOUT, _CONNECT_TIMEOUT = 60.0, 15.0
"""Maximum seconds from the start of a request to its response, and of a connection."""
_URL = re.compile(
    r"http://((?:127\.0\.0\.1|[a-z0-9.-]+\.localhost)(?::(\d{1,5}))?)(/[!-~]*)", re.ASCII
)
_TEXT = re.compile(r"[!-~](?:[ -~]*[!-~])?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_FRAMING = {"content-length", "transfer-encoding", "connection", "expect", "host"}
_DEFAULTS = {"accept": "*/*", "content-type": "application/octet-stream"}
"""The headers that aiohttp adds; a server stores the type of the content."""


@dataclass(slots=True)
class Response:
    """A response; the names of ``headers`` are in lower case."""

    status: int = 0
    reason: str = ""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Request:
    """A PUT request to a port of this machine."""

    port: int
    content: bytes


def put_request(url: str, data: bytes, headers: Mapping[str, str]) -> Request | None:
    """The request that writes ``data`` to ``url``, or ``None`` if it needs another client.

    ``None`` for large data, other machines, HTTPS, and texts that aiohttp encodes or refuses.
    """
    found = _URL.fullmatch(url)
    if found is None or len(data) > MAX_SIZE or "#" in found[3]:
        return None
    sent = _DEFAULTS | {name.lower(): value for name, value in headers.items()}
    lines = [f"PUT {found[3]} HTTP/1.1", f"Host: {found[1]}", f"Content-Length: {len(data)}"]
    for name, value in sent.items():
        if name in _FRAMING or not (_NAME.fullmatch(name) and _TEXT.fullmatch(value)):
            return None
        lines.append(f"{name}: {value}")
    return Request(int(found[2] or 80), "\r\n".join((*lines, "", "")).encode("ascii") + data)


class LoopbackClient:
    """A pool of connections to this machine."""

    def __init__(self) -> None:
        self._idle: dict[int, list[_Connection]] = {}
        self._gate = asyncio.Semaphore(_CONNECTIONS)

    async def send(self, request: Request) -> Response | None:
        """Send a request, again if the server has closed an idle connection.

        Returns ``None`` if the connection cannot be opened.

        Raises:
            aiohttp.ClientError: the connection ended, or the response is not HTTP.
            TimeoutError: no response in time.
        """
        async with self._gate:
            idle = self._idle.setdefault(request.port, [])
            while idle:
                connection = idle.pop()
                if not connection.is_open:
                    continue
                try:
                    return await self._exchange(connection, request)
                except aiohttp.ServerDisconnectedError:
                    break
            loop = asyncio.get_running_loop()
            opening = loop.create_connection(_Connection, "127.0.0.1", request.port)
            try:
                _, connection = await asyncio.wait_for(opening, _CONNECT_TIMEOUT)
            except TimeoutError:
                raise
            except OSError:
                return None
            return await self._exchange(connection, request)

    def close(self) -> None:
        """Close the idle connections."""
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    async def _exchange(self, connection: _Connection, request: Request) -> Response:
        try:
            response = await connection.send(request.content)
        except BaseException:
            connection.close()
            raise
        if connection.is_open:
            self._idle.setdefault(request.port, []).append(connection)
        return response


class _Connection(asyncio.Protocol):
    """A connection; one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response = Response()
        self._has_headers = False
        self._pending: asyncio.Future[Response] | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection accepts another request."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, content: bytes) -> Response:
        """Send a request and return the response."""
        if self._transport is None:
            raise aiohttp.ServerDisconnectedError
        loop = asyncio.get_running_loop()
        self._pending, self._response = loop.create_future(), Response()
        timer = loop.call_later(_TIMEOUT, self._fail, TimeoutError())
        self._transport.write(content)
        try:
            return await self._pending
        finally:
            timer.cancel()
            self._pending = None

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.abort()

    def _fail(self, error: Exception) -> None:
        if self._pending is not None and not self._pending.done():
            self._pending.set_exception(error)

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._transport = None
        if self._has_headers:  # the end of the connection is the end of the message
            self.on_message_complete()
        self._fail(aiohttp.ServerDisconnectedError())

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()
            self._fail(aiohttp.ClientPayloadError("the response is not HTTP"))

    # Called by the parser.

    def on_status(self, status: bytes) -> None:
        self._response.reason += status.decode("latin1")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.decode("latin1").lower()] = value.decode("latin1")

    def on_headers_complete(self) -> None:
        self._has_headers = True

    def on_message_complete(self) -> None:
        self._has_headers = False
        self._response.status = self._parser.get_status_code()
        if self._response.status < 200:  # the final response follows
            self._response = Response()
            return
        if not self._parser.should_keep_alive():
            self.close()
        if self._pending is not None and not self._pending.done():
            self._pending.set_result(self._response)
