"""A slow network in front of a service: a proxy that delays, limits the rate, and counts bytes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_CHUNK = 1 << 16
_AHEAD = 0.1
"""In seconds: how much more than the rate allows is read before it can be sent."""


@dataclass(slots=True)
class _Direction:
    """All bytes in one direction: their number, and when the network is free again."""

    rate: float | None
    marker: bytes = b""
    size: int = 0
    markers: int = 0
    free: float = 0.0

    def take(self, data: bytes) -> float:
        """Count the bytes; the time (monotonic, in seconds) at which the network has sent them."""
        self.size += len(data)
        if self.marker:
            self.markers += data.count(self.marker)
        self.free = max(self.free, time.monotonic())
        if self.rate is not None:
            self.free += len(data) / self.rate
        return self.free


@dataclass(slots=True)
class Proxy:
    """Forwards connections to a service; ``rate`` in bytes per second and direction.

    Each request takes ``latency`` seconds longer. ``marker`` is a text that is counted in requests.
    """

    target: str
    latency: float = 0.0
    rate: float | None = None
    marker: bytes = b""
    url: str = ""
    received_before: int = field(init=False)
    """The bytes received before the first marker."""
    _sent: _Direction = field(init=False)
    _received: _Direction = field(init=False)

    def __post_init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self._sent = _Direction(self.rate, self.marker)
        self._received = _Direction(self.rate)
        self.received_before = 0

    @property
    def received(self) -> int:
        """The bytes that the service has sent."""
        return self._received.size

    @property
    def markers(self) -> int:
        """How often the marker was in requests."""
        return self._sent.markers

    async def serve(self, ready: threading.Event, ended: asyncio.Event) -> None:
        """Forward connections until ``ended`` is set."""
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        parts = urlsplit(self.target)
        self.url = parts._replace(netloc=f"127.0.0.1:{port}").geturl()
        ready.set()
        async with server:
            await ended.wait()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self.target)
        from_service, to_service = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(
            self._forward(reader, to_service, self._sent),
            self._forward(from_service, writer, self._received),
            return_exceptions=True,  # a connection that the other side has closed
        )

    async def _forward(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, network: _Direction
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def send() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - time.monotonic())
                if not data:
                    return
                writer.write(data)
                await writer.drain()

        sending = asyncio.create_task(send())
        try:
            while True:
                data = await reader.read(_CHUNK)
                known = self.markers
                sent = network.take(data)
                if self.markers and not known:
                    self.received_before = self.received
                await queue.put((sent + self.latency / 2, data))
                if not data:
                    break
                await asyncio.sleep(sent - time.monotonic() - _AHEAD)
            await sending
        finally:
            sending.cancel()
            writer.close()


@contextmanager
def running(*proxies: Proxy) -> Iterator[None]:
    """Run proxies in a thread."""
    ready = [threading.Event() for _ in proxies]
    loops: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        ended = asyncio.Event()
        loops.append((asyncio.get_running_loop(), ended))
        serving = zip(proxies, ready, strict=True)
        await asyncio.gather(*(proxy.serve(event, ended) for proxy, event in serving))

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    for event in ready:
        event.wait()
    try:
        yield
    finally:
        loop, ended = loops[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join()


def through(environ: Mapping[str, str], batch: Proxy, blobs: Proxy) -> dict[str, str]:
    """The variables of the accounts, with the addresses of proxies."""
    return {
        name: value.replace(batch.target, batch.url).replace(blobs.target, blobs.url)
        for name, value in environ.items()
    }
