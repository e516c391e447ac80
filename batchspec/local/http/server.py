"""The HTTP server: uvicorn on a loopback socket, from the first reply to a graceful stop."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from batchspec.local.fault_injection import NO_FAULTS, FaultInjection
from batchspec.local.http.app import App, Message
from batchspec.local.http.fault_injection import FaultInjectionMiddleware


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


def url_of(listening: socket.socket) -> str:
    """The URL of a socket, without a trailing slash."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


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
    app: App, listening: socket.socket, faults: FaultInjection = NO_FAULTS
) -> AsyncIterator[asyncio.Task[None]]:
    """Serve ``app`` within the context; the yielded task ends only on a failure.

    ``faults`` are injected into requests. On exit, requests in progress are completed and new ones
    are not accepted.
    """

    def close_connection(scope: Message) -> None:
        for connection in server.server_state.connections:
            if getattr(connection, "client", None) == scope["client"]:
                connection.transport.abort()

    started = asyncio.Event()
    server = _Server(
        started,
        uvicorn.Config(
            FaultInjectionMiddleware(app, faults, close_connection) if faults else app,
            lifespan="off",
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            date_header=False,  # the service's own time, which may not be the wall's
            timeout_keep_alive=75,
            timeout_graceful_shutdown=_DRAIN,
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
