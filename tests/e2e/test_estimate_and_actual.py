"""The estimate of a plan and what its run costs, on the embedded service in simulated time.

The service runs in the process of the test on a clock that passes only while batchspec waits
between two polls, and a task takes as long as the test says. Everything else is as in a run: the
API and the engine of the service with the times of Azure for allocation and release, the client,
the plan, the executor and the report. So the numbers do not depend on the speed of the machine.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from batchspec.api.execution import prices_seen
from batchspec.apply import run
from batchspec.apply.events import Stamp
from batchspec.apply.ports import Runtime
from batchspec.catalog import NODE_ALLOCATION, NODE_RELEASE
from batchspec.cloud import AccountClient, LocalAccount, open_account
from batchspec.diagnostics import Secret
from batchspec.exit_codes import Exit
from batchspec.local import service as service_module
from batchspec.local.agent import Outcome
from batchspec.local.clock import Clock
from batchspec.local.engine import Engine
from batchspec.local.model import NodeState
from batchspec.local.service import ServiceConfig, default_engine, serve
from batchspec.local.store import Store
from batchspec.observe import Spool, observe, observe_cost
from batchspec.plan import Estimate, PlanOptions, build_plan
from batchspec.pricing import PriceCache
from batchspec.render import Report, Tally
from batchspec.render.report import spent
from batchspec.spec import Spec, read_spec
from tests.local.running import ACCOUNT, KEY

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TASK = 900.0
"""Seconds that each task takes."""
POLL = 30.0
"""Seconds between two polls; on Azure at most 15."""
PRICE = 0.1
BOUND = 0.03


class SimulatedClock(Clock):
    """The time of service and client, which passes while the client sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0
        self._timers: list[tuple[float, int, asyncio.TimerHandle, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self.passed: Callable[[float], None] = lambda _: None

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def call_later(self, delay: timedelta, call: Callable[[], None]) -> asyncio.TimerHandle:
        due = self.seconds + max(delay.total_seconds(), 0.0)
        handle = asyncio.TimerHandle(due, call, (), asyncio.get_running_loop())
        heapq.heappush(self._timers, (due, next(self._numbers), handle, call))
        return handle

    async def pause(self, seconds: float) -> None:
        """Wait in a simulated process, until the client has slept for so long."""
        over = asyncio.Event()
        self.call_later(timedelta(seconds=seconds), over.set)
        await over.wait()

    async def sleep(self, seconds: float) -> None:
        end = self.seconds + seconds
        while self._timers and self._timers[0][0] <= end:
            due, _, handle, call = heapq.heappop(self._timers)
            if not handle.cancelled():
                self._pass_to(due)
                call()
                await self._settle()
        self._pass_to(end)
        await self._settle()

    def _pass_to(self, moment: float) -> None:
        if moment > self.seconds:
            self.passed(moment - self.seconds)
            self.seconds = moment

    async def _settle(self) -> None:
        """Let the engine carry out what is due; it needs a few steps of the event loop."""
        for _ in range(20):
            await asyncio.sleep(0)


class SimulatedProcesses:
    """Runs nothing: every task takes :data:`TASK` seconds and succeeds."""

    def __init__(self, agent: Any, clock: SimulatedClock) -> None:
        self._agent, self._clock = agent, clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._agent, name)

    async def perform(self, _launch: object, *, isolated: bool) -> Outcome:
        began = self._clock.now()
        await self._clock.pause(TASK)
        return Outcome(began, self._clock.now(), 0)


class NoPrices:
    """A price list that is not needed: the specs have prices."""

    def rows(self, *_: object) -> list[dict[str, object]]:
        raise AssertionError


class NoQuestions:
    async def agree(self, _: object) -> bool:
        raise AssertionError

    accept = agree


@dataclass
class Place:
    """A service and its client; ``node_seconds`` is how long its nodes have existed."""

    clock: SimulatedClock
    account: AccountClient
    store: Store
    folder: Path
    node_seconds: float = 0.0

    def count(self, seconds: float) -> None:
        """Add the time that has passed for each node that is billed."""
        self.node_seconds += seconds * self.nodes

    @property
    def nodes(self) -> int:
        """How many nodes exist, in all states."""
        return len(self.store.nodes.in_state(*NodeState))

    async def until_released(self) -> None:
        """Let time pass until no node exists."""
        while self.nodes:
            await self.clock.sleep(10.0)

    async def run(self, spec: Spec) -> tuple[Estimate, Report]:
        """Plan a whole run of a spec, carry it out, and report it."""
        with Spool() as spool:
            observed = await observe(spec, self.account, spool)
            cache = PriceCache(self.folder / "prices")
            cost = await observe_cost(
                spec, observed, self.account, source=NoPrices(), cache=cache, now=START
            )
            observed = replace(observed, cost=cost)
            plan = build_plan(spec, observed, options=PlanOptions(rerun=True))
            tally = Tally()
            stamp = Stamp(self.clock.now, (tally,))
            prices = prices_seen(spec, observed)
            assert prices is not None
            stamp(prices)
            runtime = Runtime(self.account, self.clock, NoQuestions(), POLL)
            assert await run(plan, runtime, stamp, self.folder / "receipt.jsonl") is Exit.DONE
        assert plan.estimate is not None
        return plan.estimate, tally.report()


@asynccontextmanager
async def simulated(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    """A service in simulated time, with the times of Azure for allocation and release."""
    clock, stores = SimulatedClock(), []
    monkeypatch.setattr(service_module, "Clock", lambda *_: clock)
    # The engine sets its timers in each round: real time does not pass here.
    monkeypatch.setattr("batchspec.local.engine.engine._REST", 0.0)

    def make_engine(store: Store, *rest: Any) -> Engine:
        stores.append(store)
        engine = default_engine(store, *rest)
        assert isinstance(engine, Engine)
        engine._executor._agent = SimulatedProcesses(engine._agent, clock)  # type: ignore[assignment]
        return engine

    config = ServiceConfig(
        folder / "batch", ACCOUNT, KEY, allocation=NODE_ALLOCATION, release=NODE_RELEASE
    )
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(config, url.set_result, make_engine=make_engine))
    try:
        # No spec here has containers: there is no storage.
        key = Secret(KEY)
        local = LocalAccount(await url, ACCOUNT, key, "http://127.0.0.1:9", ACCOUNT, key)
        opened = open_account(local, now=clock.now, monotonic=clock.monotonic, sleep=clock.sleep)
        async with opened as account:
            place = Place(clock, account, stores[0], folder)
            clock.passed = place.count
            yield place
    finally:
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


SPEC = """\
version: 1
name: priced
pool: {vm_size: standard_d2s_v5, image: ubuntu-24.04, POOL}
job: {max_wall_clock_time: 2h}
tasks: {work: {for_each: {range: [0, 2]}, command: "true", logs: false}}
cost: {prices: {standard_d2s_v5: {dedicated: PRICE, spot: 0.02}}}
"""
POOLS = {
    "deleted": ("nodes: 2", "cleanup: {pool: always}"),
    "default end": ("nodes: 2", ""),
    "auto pool": ("nodes: 2, lifetime: job", ""),
    "scales": ("nodes: {scale: {max: 2}}", ""),
    "scales, nodes exist": ("nodes: {scale: {max: 2}}", ""),
}


@pytest.mark.parametrize("name", POOLS)
async def test_the_estimate_and_the_actual_cost_agree(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the second run of a spec, whose time is known from the first, within 3 %."""
    pool, more = POOLS[name]
    path = tmp_path / "priced.yaml"
    path.write_text(
        SPEC.replace("POOL", pool).replace("PRICE", str(PRICE)) + more, encoding="utf-8"
    )
    spec = read_spec(path)
    async with simulated(tmp_path, monkeypatch) as place:
        await place.run(spec)
        if name != "scales, nodes exist":
            await place.until_released()
        # Not a multiple of the interval in which formulas are evaluated.
        await place.clock.sleep(130.0)
        assert bool(place.nodes) == (name == "scales, nodes exist")
        before = place.node_seconds
        estimate, report = await place.run(spec)
        await place.until_released()
    billed = (place.node_seconds - before) / 3600
    assert billed > 0.5
    assert sum(report.node_hours.values()) == pytest.approx(billed, rel=BOUND)
    assert estimate.nodes[0].hours.expected == pytest.approx(billed, rel=BOUND)
    assert report.prices is not None
    cost = spent(report.node_hours, report.prices)
    assert cost == pytest.approx(billed * PRICE, rel=BOUND)
    assert estimate.total.expected == pytest.approx(cost, rel=BOUND)
