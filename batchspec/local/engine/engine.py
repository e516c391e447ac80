"""The engine: observe, decide, commit, act; woken by changes, and by the time.

What lives here: the loop and the order of things at its start and end. What may not: a rule.

At the start nothing runs: the processes of an earlier life are gone (the host killed them, or
``reap_leftovers`` did). So what the store says is running is requeued, or ended if that was asked
for, and start tasks begin again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path

from batchspec.local.agent.agent import Agent
from batchspec.local.agent.clock import Clock
from batchspec.local.agent.containers import Containers
from batchspec.local.agent.storage import Grants
from batchspec.local.engine.commit import Committer
from batchspec.local.engine.disk import Disk
from batchspec.local.engine.environment import Site
from batchspec.local.engine.fates import Fates
from batchspec.local.engine.hands import Hands, Order
from batchspec.local.engine.observe import next_moment, observe
from batchspec.local.engine.processor import Processor
from batchspec.local.engine.record import Recorder
from batchspec.local.engine.scheduler import decide, is_settled
from batchspec.local.engine.state import Delays
from batchspec.local.model.life import NodeState
from batchspec.local.store.store import Store

_TICK = timedelta(milliseconds=1)


class Engine:
    """Makes happen what the store says is wanted."""

    def __init__(
        self,
        store: Store,
        data: Path,
        site: Site,
        grants: Grants,
        *,
        clock: Clock | None = None,
        containers: Containers | None = None,
        delays: Delays | None = None,
        fates: Fates | None = None,
        token: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        """``data`` is the folder of the nodes' disks; ``token`` makes ids for nodes.

        ``fates`` are those of a bad day.
        """
        self._store = store
        self._clock = clock or Clock()
        self._delays = delays or Delays()
        self._fates = fates
        self._wake = asyncio.Event()
        self._agent = Agent(data, self._clock, grants, containers)
        self._hands = Hands(self._agent, self._wake.set)
        self._processor = Processor()
        self._disk = Disk(data)
        self._committer = Committer(store, self._disk, site, data, token)
        self._recorder = Recorder(store, self._committer)
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Work until cancelled; then end all processes and return."""
        self._store.on_change(self._wake.set)
        try:
            # The first step of all: nobody shall hear that something of an earlier life runs.
            orders = self._recover(self._clock.now())
            await self._agent.start()
            self._obey(orders)
            while True:
                self._wake.clear()
                self._round(self._clock.now())
                await self._wake.wait()
                # Whatever else is ready comes first: more may have finished, and requests wait.
                await asyncio.sleep(0)
        finally:
            self._store.on_change(lambda: None)
            if self._timer is not None:
                self._timer.cancel()
            await self._hands.close()
            await self._agent.close()
            await self._disk.close()

    def _round(self, now: datetime) -> None:
        orders: list[Order] = []
        with self._store.transaction():
            orders += self._recorder.record(self._hands.take(), now)
            state = observe(
                self._store,
                self._hands,
                self._delays,
                now,
                self._fates,
                processor=self._processor,
            )
            decisions = decide(state, now)
            orders += self._committer.commit(decisions, now)
        self._obey(orders)
        # The commit has woken us, but most rounds need no other to see that all is done.
        if is_settled(state, decisions):
            self._wake.clear()
        if not self._wake.is_set():
            # At rest: see to what is not urgent.
            self._disk.empty_trash()
            self._set_timer(next_moment(self._store, state, now), now)

    def _obey(self, orders: Iterable[Order]) -> None:
        for order in orders:
            self._hands.obey(order if self._fates is None else self._fates.change(order))

    def _set_timer(self, moment: datetime | None, now: datetime) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            self._timer = self._clock.call_later(moment - now + _TICK, self._wake.set)

    def _recover(self, now: datetime) -> list[Order]:
        orders: list[Order] = []
        with self._store.transaction():
            for task in self._store.runs.live():
                self._committer.cut_short(task, now)
            for one in self._store.preparations.interrupted():
                if one.state == "running":
                    self._store.preparations.forget(one)
                else:
                    self._store.preparations.note_release(one, None, None)
            for node in self._store.nodes.in_state(
                NodeState.WAITING_FOR_START_TASK, NodeState.IDLE, NodeState.RUNNING
            ):
                pool = self._store.pools.get(node.pool_id)
                runs = (node.start_task_info or {}).get("state") == "running"
                if runs and pool is not None and "startTask" in pool.body:
                    orders.append(self._committer.start(node, pool, now))
        return orders
