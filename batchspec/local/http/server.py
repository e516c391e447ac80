"""The HTTP server: uvicorn on a loopback socket, and fault injection in front of the application.

Injected faults are requests that fail, are delayed, or whose reply is lost; each is logged. Faults
of nodes belong to the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import math
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote

import uvicorn

from batchspec.local.api import find_route
from batchspec.local.control_plane import ArmError, find_control_plane_route, is_control_plane
from batchspec.local.fault_injection import (
    REQUEST_FAULTS,
    FaultKind,
    FaultRule,
    RandomSource,
)
from batchspec.local.http.app import App, Message, Receive, Send
from batchspec.local.wire import Fault


class NotLoopbackError(Exception):
    """The address is not a loopback address; the service would be reachable from the network."""


def listen(port: int = 0, host: str = "127.0.0.1") -> socket.socket:
    """A socket that listens on ``host`` (a loopback address); port 0 selects a free port.

    Raises:
        NotLoopbackError: ``host`` is not a loopback address.
        OSError: the port is in use.
    """
    if not ipaddress.ip_address(host).is_loopback:
        raise NotLoopbackError(host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol given, asyncio recognises accepted sockets as TCP and sets TCP_NODELAY;
    # without it each reply takes 40 ms longer.
    found = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((host, port))
        found.listen(1024)
        found.setblocking(False)
    except OSError:
        found.close()
        raise
    return found


def url_of(listening: socket.socket, scheme: str = "http") -> str:
    """The URL of a socket, without a trailing slash."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """A certificate and its private key: files in PEM format."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class HttpsSocket:
    """A listening socket for https, and the files of its certificate."""

    listening: socket.socket
    tls: TlsFiles

    @property
    def url(self) -> str:
        """The URL of the socket, without a trailing slash."""
        return url_of(self.listening, "https")


_DRAIN = 2
"""Seconds for requests in progress when the service stops."""


class _Server(uvicorn.Server):
    """Sets an event when it accepts requests; leaves signals to the process that runs it."""

    def __init__(self, answers: asyncio.Event, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._answers = answers

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._answers.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving(
    app: App,
    listening: socket.socket,
    random: RandomSource | None = None,
    *,
    tls: TlsFiles | None = None,
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve ``app`` within the context, by https with ``tls``; the task ends only on a failure.

    ``random`` selects the requests into which faults are injected. On exit, requests in progress
    are completed and new ones are not accepted.
    """

    def close_connection(scope: Message) -> None:
        for connection in server.server_state.connections:
            if getattr(connection, "client", None) == scope["client"]:
                connection.transport.abort()

    started = asyncio.Event()
    server = _Server(
        started,
        uvicorn.Config(
            FaultInjectionMiddleware(app, random, close_connection) if random else app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,  # the service's own time, which may not be the wall's
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_DRAIN,
            ssl_certfile=tls.certificate if tls else None,
            ssl_keyfile=tls.key if tls else None,
        ),
    )
    task = asyncio.create_task(server.serve([listening]), name="batch-http")
    started_task = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({task, started_task}, return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        started_task.cancel()
        server.should_exit = True
        await task


_LOG = logging.getLogger("batchspec.local.chaos")

_FAULTS = {
    FaultKind.THROTTLE: "TooManyRequests",
    FaultKind.THROTTLE_SILENT: "TooManyRequests",
    FaultKind.BUSY: "ServerBusy",
    FaultKind.ERROR: "InternalError",
}

CloseConnection = Callable[[Message], None]
"""Closes the connection of a request without a reply."""


class FaultInjectionMiddleware:
    """The ASGI application ``app`` with injected faults.

    The fault of a request depends on its operation and on the number of earlier requests for that
    operation, so that a seed always gives the same faults.
    """

    def __init__(self, app: App, random: RandomSource, close: CloseConnection) -> None:
        self._app = app
        self._random = random
        self._close = close

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, possibly with a fault."""
        operation = _operation(scope)
        rule = None if operation is None else self._next_fault(operation)
        if rule is None:
            await self._app(scope, receive, send)
            return
        _LOG.warning("%s: %s", rule.text, operation)
        if rule.kind is FaultKind.LOST:
            await self._drop_reply(scope, receive)
        elif rule.kind is FaultKind.SLOW:
            await self._app(scope, receive, _delayed(send, rule.duration))
        else:
            headers = {}
            if rule.kind is FaultKind.THROTTLE:
                headers["Retry-After"] = str(math.ceil(rule.duration.total_seconds()))
            await self._app.reply_fault(scope, receive, send, Fault(_FAULTS[rule.kind]), headers)

    def _next_fault(self, operation: str) -> FaultRule | None:
        """The fault of the next request for ``operation``, if any."""
        number = self._random.next(operation)
        for kind in REQUEST_FAULTS:
            rule = self._random.faults.rule(kind, operation)
            if rule is not None and self._random.applies(rule, operation, number):
                return rule
        return None

    async def _drop_reply(self, scope: Message, receive: Receive) -> None:
        """Carry out the request, then close the connection without a reply."""

        async def drop(message: Message) -> None:
            pass

        await self._app(scope, receive, drop)
        self._close(scope)
        while (await receive())["type"] != "http.disconnect":
            pass


def _operation(scope: Message) -> str | None:
    if scope["type"] != "http":
        return None
    try:
        path = quote(scope["raw_path"], safe="/%")
        find = find_control_plane_route if is_control_plane(path) else find_route
        return find(scope["method"], path).route.operation
    except (Fault, ArmError):
        return None


def _delayed(send: Send, delay: timedelta) -> Send:
    async def wait(message: Message) -> None:
        if message["type"] == "http.response.start":
            await asyncio.sleep(delay.total_seconds())
        await send(message)

    return wait
