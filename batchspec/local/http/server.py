"""Listening: uvicorn on a loopback socket, from "it answers" to "it has stopped"."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator

import uvicorn

from batchspec.local.fault_injection import NO_FAULTS, FaultInjection
from batchspec.local.http.app import App, Message
from batchspec.local.http.fault_injection import FaultInjectionMiddleware

_DRAIN = 2
"""Seconds that requests on their way are given when the service stops."""


class _Server(uvicorn.Server):
    """Says when it answers. Signals belong to whoever runs the service."""

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
    door: App, listening: socket.socket, chaos: FaultInjection = NO_FAULTS
) -> AsyncIterator[asyncio.Task[None]]:
    """Answer requests while the context lasts; the task given ends only by a failure.

    With ``chaos`` they are answered as on a bad day.

    On the way out no new request is taken and those on their way are finished.
    """

    def hang_up(scope: Message) -> None:
        for connection in server.server_state.connections:
            if getattr(connection, "client", None) == scope["client"]:
                connection.transport.abort()

    started = asyncio.Event()
    server = _Server(
        started,
        uvicorn.Config(
            FaultInjectionMiddleware(door, chaos, hang_up) if chaos else door,
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
    begun = asyncio.create_task(started.wait())
    try:
        await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
        yield task
    finally:
        begun.cancel()
        server.should_exit = True
        await task
