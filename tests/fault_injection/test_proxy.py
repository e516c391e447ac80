"""The proxy forwards requests unchanged and injects the faults that it describes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.fault_injection.proxy import DONE, PATIENT, Fault, Kind, Proxy

SIGNED = {"Authorization": "SharedKey account:c2lnbmF0dXJl"}
TEXT = "x" * 1000


class Upstream:
    """A service that records the requests it receives."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, bytes]] = []

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.raw_path, await request.read()))
        return web.Response(text=TEXT, headers={"x-ms-odd": "kept"})


@asynccontextmanager
async def serving(fault: Fault | None) -> AsyncIterator[tuple[Upstream, Proxy]]:
    upstream = Upstream()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", upstream.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with Proxy(url, f"{url}/account", fault).serving() as proxy:
            yield upstream, proxy
    finally:
        await runner.cleanup()


async def ask(proxy: Proxy) -> tuple[int, str]:
    """One signed request of a client without retries."""
    async with aiohttp.ClientSession() as session:
        session._retry_connection = False
        url = f"{proxy.url}/jobs?a=%20b"
        async with session.post(url, data=b"body", headers=SIGNED) as answer:
            return answer.status, await answer.text()


async def test_it_passes_everything_on_as_it_came() -> None:
    async with serving(None) as (upstream, proxy), aiohttp.ClientSession() as session:
        assert await ask(proxy) == (200, TEXT)
        assert upstream.asked == [("POST", "/jobs?a=%20b", b"body")]
        async with session.head(f"{proxy.url}/account/b?sig=s") as answer:
            assert answer.headers["x-ms-odd"] == "kept"
        assert proxy.count == 1, "who signs nothing is not counted"


@pytest.mark.parametrize("kind", [k for k in Kind if k not in {Kind.KILL, Kind.KILL_DONE}])
async def test_each_kind_does_what_it_says(kind: Kind) -> None:
    async with serving(Fault(kind, 2)) as (upstream, proxy):
        assert await ask(proxy) == (200, TEXT)
        if kind.value[0].isdigit():
            status, _ = await ask(proxy)
            assert status == int(kind.value[:3])
        else:
            asking = asyncio.ensure_future(ask(proxy))
            if kind in PATIENT:
                # The client times out after the proxy has received the request, not before.
                while not proxy.hit:
                    await asyncio.sleep(0)
                asking.cancel()
            with pytest.raises((aiohttp.ClientError, asyncio.CancelledError)):
                await asking
        await proxy.settled()
        assert len(upstream.asked) == (2 if kind in DONE else 1)
        assert await ask(proxy) == (200, TEXT), "one request is harmed, and no other"


@pytest.mark.parametrize("kind", [Kind.KILL, Kind.KILL_DONE])
async def test_the_client_is_dead_before_it_hears_anything(kind: Kind) -> None:
    async with serving(Fault(kind, 1)) as (upstream, proxy):
        killed = asyncio.Event()

        async def kill() -> None:
            killed.set()

        proxy.kill = kill
        with pytest.raises(aiohttp.ClientError):
            await ask(proxy)
        assert killed.is_set()
        assert len(upstream.asked) == (1 if kind in DONE else 0)
