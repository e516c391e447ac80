"""The service as a whole: state after a restart, failures, shutdown."""

from __future__ import annotations

import asyncio
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchspec.local.agent import SshServers
from batchspec.local.clock import Clock
from batchspec.local.http import listen
from batchspec.local.service import ServiceConfig, serve
from batchspec.local.store import Store
from tests.local.engines import pool
from tests.local.running import ACCOUNT, KEY, running


def test_the_state_survives_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    with running(data) as first:
        first.client.create_pool(pool("p"))
        first.client.create_job({"id": "j", "poolInfo": {"poolId": "p"}})
        first.client.create_tasks("j", [{"id": "t", "commandLine": "x"}])
        before = first.request("GET", "/jobs/j/tasks/t").json
    with running(data) as second:
        after = second.request("GET", "/jobs/j/tasks/t").json
        assert after["eTag"] == before["eTag"]
        assert after["creationTime"] == before["creationTime"]
        assert [found.id for found in second.client.list_pools()] == ["p"]


def test_only_the_owner_can_read_the_data_folder(tmp_path: Path) -> None:
    with running(tmp_path / "deep" / "batch") as service:
        assert service.data.stat().st_mode & 0o077 == 0


def test_a_port_in_use_is_an_error() -> None:
    with listen() as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            listen(port)


def test_the_repr_of_the_config_contains_no_key() -> None:
    config = ServiceConfig(data=Path("/x"), account=ACCOUNT, key=KEY, storage="AccountKey=secret")
    assert KEY not in repr(config)
    assert "secret" not in repr(config)


async def test_a_failing_engine_ends_the_service_with_its_error(tmp_path: Path) -> None:
    class Broken:
        async def run(self) -> None:
            await asyncio.sleep(0)
            raise ZeroDivisionError

    def make(
        store: Store, config: ServiceConfig, url: str, clock: Clock, ssh: SshServers
    ) -> Broken:
        return Broken()

    urls: list[str] = []
    config = ServiceConfig(data=tmp_path / "batch", account=ACCOUNT, key=KEY)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(serve(config, urls.append, make_engine=make), 20)
    host, port = urls[0].removeprefix("http://").split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=5)


async def test_a_cancelled_service_waits_for_its_engine(tmp_path: Path) -> None:
    ends: list[str] = []
    begun = asyncio.Event()

    class Patient:
        async def run(self) -> None:
            try:
                begun.set()
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)
                ends.append("engine")

    def make(
        store: Store, config: ServiceConfig, url: str, clock: Clock, ssh: SshServers
    ) -> Patient:
        return Patient()

    config = ServiceConfig(data=tmp_path / "batch", account=ACCOUNT, key=KEY)
    task = asyncio.create_task(serve(config, lambda _: None, make_engine=make))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ends == ["engine"]
    Store(config.data / "batch.db").close()


async def test_a_faster_clock_applies_to_records_and_not_to_signatures(tmp_path: Path) -> None:
    seen: list[datetime] = []

    def make(store: Store, config: ServiceConfig, url: str, clock: Clock, ssh: SshServers) -> None:
        # Read the time while the service runs: its clock stops at the end.
        seen.append(clock.now())
        time.sleep(0.01)
        seen.append(clock.now())
        raise InterruptedError

    config = ServiceConfig(data=tmp_path / "batch", account=ACCOUNT, key=KEY, speed=3600)
    with pytest.raises(InterruptedError):
        await serve(config, lambda _: None, make_engine=make)  # type: ignore[arg-type]
    first, second = seen
    assert (second - first).total_seconds() >= 36
    assert abs((first - datetime.now(UTC)).total_seconds()) < 36_000
