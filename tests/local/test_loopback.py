"""Uploads of small blobs to a server on this machine: the requests, connections and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from batchspec.local import agent

Answer = Callable[[bytes], Awaitable[bytes]]
CREATED = b'HTTP/1.1 201 Created\r\nETag: "0x1"\r\nContent-Length: 0\r\n\r\n'


class Server:
    """A server that records requests; ``answer`` returns a response, or b"" to disconnect."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0
        self.port = 0
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.writers.append(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:-2])
                length = {name.lower(): value for name, value in fields.items()}["content-length"]
                self.requests.append(head + await reader.readexactly(int(length)))
                answer = self.answers.pop(0) if self.answers else CREATED
                if answer == b"wait":
                    await asyncio.Event().wait()
                writer.write(answer)
                if not answer or b"close" in answer:
                    break
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def url(self, name: str = "blob", host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/data/{name}?sig=a%2Bb&x=%20"


@asynccontextmanager
async def started(*answers: bytes) -> AsyncIterator[tuple[Server, agent.BlobClient]]:
    server = Server(*answers)
    listening = await asyncio.start_server(server.serve, "127.0.0.1")
    server.port = listening.sockets[0].getsockname()[1]

    async def no_pause(_: float) -> None:
        pass

    client = agent.BlobClient(no_pause)
    try:
        yield server, client
    finally:
        await client.close()
        listening.close()
        for writer in server.writers:
            writer.close()


def parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return first, fields, body


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"", {}),
        (b"some\r\n\r\nlines", {"x-ms-meta-batchspec_work": "ab cd", "Content-Type": "text/plain"}),
    ],
)
async def test_requests_are_those_of_aiohttp(
    data: bytes, headers: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with started() as (server, client):
        assert await client.upload_bytes(data, server.url(), headers) == "0x1"
        with monkeypatch.context() as patch:
            patch.setattr("batchspec.local.agent.storage.put_request", lambda *_: None)
            assert await client.upload_bytes(data, server.url(), headers) == "0x1"
        (line, one, body), (other_line, other, other_body) = map(parsed, server.requests)
        assert (line, body) == (other_line, other_body)
        assert other.pop("user-agent") and other.pop("accept-encoding")
        assert one == other


async def test_a_connection_is_used_again_and_replaced_when_it_ends() -> None:
    async with started(CREATED, CREATED, b"") as (server, client):
        for name in "ab":
            await client.upload_bytes(b"", server.url(name, "acc.blob.localhost"), {})
        assert server.connections == 1
        await client.upload_bytes(b"c", server.url("c"), {})  # disconnected without a response
        assert (server.connections, len(server.requests)) == (2, 4)
        server.writers[-1].close()
        await asyncio.sleep(0.05)
        await client.upload_bytes(b"d", server.url("d"), {})
        assert (server.connections, len(server.requests)) == (3, 5)


@pytest.mark.parametrize(
    "framing",
    [
        "Content-Length: 4\r\n\r\nbody",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        "Connection: close\r\n\r\nbody",
    ],
)
async def test_errors_of_the_server(framing: str) -> None:
    refused = f"HTTP/1.1 403 No\r\nx-ms-error-code: AuthorizationFailure\r\n{framing}".encode()
    plain = f"HTTP/1.1 404 Not here\r\n{framing}".encode()
    begun = b"HTTP/1.1 100 Continue\r\n\r\n"
    async with started(refused, begun + plain) as (server, client):
        with pytest.raises(agent.StorageError, match="403 AuthorizationFailure"):
            await client.upload_bytes(b"x", server.url(), {})
        with pytest.raises(agent.StorageError, match="404 Not here"):
            await client.upload_bytes(b"x", server.url(), {})
        assert await client.upload_bytes(b"x", server.url(), {}) == "0x1"
        assert len(server.requests) == 3


async def test_transient_errors_are_retried() -> None:
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    async with started(busy, b"", b"no HTTP\r\n\r\n", CREATED) as (server, client):
        assert await client.upload_bytes(b"x", server.url(), {}) == "0x1"
    async with started(*[b""] * 8) as (server, client):
        with pytest.raises(agent.StorageError, match="0 ServerDisconnectedError"):
            await client.upload_bytes(b"x", server.url(), {})


async def test_a_server_that_does_not_listen_is_reported_by_aiohttp() -> None:
    async with started() as (server, client):
        port, server.port = server.port, 1
        with pytest.raises(agent.StorageError, match="0 ClientConnectorError"):
            await client.upload_bytes(b"x", server.url(), {})
        server.port = port
        assert await client.upload_bytes(b"x", server.url(), {}) == "0x1"


async def test_a_missing_response_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("batchspec.local.agent.loopback._TIMEOUT", 0.05)
    async with started(*[b"wait"] * 4) as (server, client):
        with pytest.raises(agent.StorageError, match="0 no answer in time"):
            await client.upload_bytes(b"x", server.url(), {})
        assert server.connections == 4


async def test_the_response_of_a_cancelled_upload_is_not_that_of_another() -> None:
    async with started(b"wait") as (server, client):
        uploading = asyncio.create_task(client.upload_bytes(b"x", server.url(), {}))
        while not server.requests:
            await asyncio.sleep(0.001)
        uploading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await uploading
        assert await client.upload_bytes(b"y", server.url("other"), {}) == "0x1"
        assert server.connections == 2


async def test_many_uploads_at_the_same_time_share_few_connections() -> None:
    async with started() as (server, client):
        sending = (client.upload_bytes(b"x", server.url(str(each)), {}) for each in range(200))
        assert set(await asyncio.gather(*sending)) == {"0x1"}
        assert len(server.requests) == 200
        assert server.connections <= 32
