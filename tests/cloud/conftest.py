"""Accounts to open: one behind a scripted server, one on a real blob store."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from batchspec.apply.events import Waiting
from batchspec.cloud import AccountClient, LocalAccount, open_account
from batchspec.diagnostics import Secret
from tests.cloud.scripted import Scripted

KEY = Secret(base64.b64encode(b"a key of the tests").decode())
TOKEN = Secret("a-token-of-the-embedded-service")


BLOCK = 512 * 1024
"""The size of blocks and ranges in tests: enough to need several, without moving gigabytes."""


@dataclass
class Time:
    """A clock that only a sleep advances, so that tests do not wait."""

    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        until = self.seconds + seconds
        await asyncio.sleep(0)
        self.seconds = max(self.seconds, until)


@pytest.fixture
def clock() -> Time:
    return Time()


@asynccontextmanager
async def listening() -> AsyncIterator[Scripted]:
    """A scripted server that listens."""
    scripted = Scripted()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_route("*", "/{tail:.*}", scripted.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    scripted.url = f"http://127.0.0.1:{port}"
    try:
        yield scripted
    finally:
        await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[Scripted]:
    async with listening() as scripted:
        yield scripted


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks and few slots, so that a slot that is not released blocks the test."""
    monkeypatch.setattr("batchspec.cloud.transfer._BLOCKS_IN_FLIGHT", 3)
    monkeypatch.setattr("batchspec.cloud.transfer.BLOCK", BLOCK)
    monkeypatch.setattr("batchspec.cloud.transfer.PART", BLOCK)


@pytest.fixture
def notices() -> list[Waiting]:
    return []


Opener = Callable[[LocalAccount], AbstractAsyncContextManager[AccountClient]]


@pytest.fixture
def opened(clock: Time, notices: list[Waiting]) -> Opener:
    """Opens an account on the clock of the test."""
    return lambda account: open_account(
        account,
        monotonic=clock.monotonic,
        sleep=clock.sleep,
        random=lambda: 0.5,
        notice=notices.append,
    )


@pytest.fixture
async def cloud(server: Scripted, opened: Opener) -> AsyncIterator[AccountClient]:
    """An account whose two services are the scripted server, with the storage under /store."""
    account = LocalAccount(
        server.url, "acct", KEY, f"{server.url}/store", "store", KEY, token=TOKEN
    )
    async with opened(account) as cloud:
        yield cloud
