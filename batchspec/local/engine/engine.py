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
from batchspec.local.agent.containers import ContainerEngine
from batchspec.local.agent.credentials import StorageAccess
from batchspec.local.clock import Clock
from batchspec.local.engine.apply_decisions import DecisionApplier
from batchspec.local.engine.decide import decide, is_settled
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.executor import Executor, ExecutorRequest
from batchspec.local.engine.node_directories import NodeDirectories
from batchspec.local.engine.node_faults import NodeFaults
from batchspec.local.engine.observe import CpuUsage, next_moment, observe
from batchspec.local.engine.record_outcomes import OutcomeRecorder
from batchspec.local.engine.state import Delays
from batchspec.local.model import NodeState
from batchspec.local.store import Store

_TICK = timedelta(milliseconds=1)


class Engine:
    """Makes happen what the store says is wanted."""

    def __init__(
        self,
        store: Store,
        data: Path,
        node_config: NodeConfig,
        storage_access: StorageAccess,
        *,
        clock: Clock | None = None,
        containers: ContainerEngine | None = None,
        delays: Delays | None = None,
        node_faults: NodeFaults | None = None,
        token: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        """``data`` is the folder of the nodes' disks; ``token`` makes ids for nodes.

        ``node_faults`` are those of a bad day.
        """
        self._store = store
        self._clock = clock or Clock()
        self._delays = delays or Delays()
        self._node_faults = node_faults
        self._wake = asyncio.Event()
        self._agent = Agent(data, self._clock, storage_access, containers)
        self._executor = Executor(self._agent, self._wake.set)
        self._processor = CpuUsage()
        self._disk = NodeDirectories(data)
        self._committer = DecisionApplier(store, self._disk, node_config, data, token)
        self._recorder = OutcomeRecorder(store, self._committer)
        self._timer: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Work until cancelled; then end all processes and return."""
        self._store.on_change(self._wake.set)
        try:
            # The first step of all: nobody shall hear that something of an earlier life runs.
            orders = self._recover(self._clock.now())
            await self._agent.start()
            self._submit(orders)
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
            await self._executor.close()
            await self._agent.close()
            await self._disk.close()

    def _round(self, now: datetime) -> None:
        orders: list[ExecutorRequest] = []
        with self._store.transaction():
            orders += self._recorder.record(self._executor.take_finished(), now)
            state = observe(
                self._store,
                self._executor,
                self._delays,
                now,
                self._node_faults,
                processor=self._processor,
            )
            decisions = decide(state, now)
            orders += self._committer.commit(decisions, now)
        self._submit(orders)
        # The commit has woken us, but most rounds need no other to see that all is done.
        if is_settled(state, decisions):
            self._wake.clear()
        if not self._wake.is_set():
            # At rest: see to what is not urgent.
            self._disk.empty_trash()
            self._set_timer(next_moment(self._store, state, now), now)

    def _submit(self, orders: Iterable[ExecutorRequest]) -> None:
        for order in orders:
            self._executor.submit(
                order if self._node_faults is None else self._node_faults.change(order)
            )

    def _set_timer(self, moment: datetime | None, now: datetime) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            self._timer = self._clock.call_later(moment - now + _TICK, self._wake.set)

    def _recover(self, now: datetime) -> list[ExecutorRequest]:
        orders: list[ExecutorRequest] = []
        with self._store.transaction():
            for task in self._store.runs.live():
                self._committer.cut_short(task, now)
            for one in self._store.preparations.interrupted():
                if one.state == "running":
                    self._store.preparations.delete(one)
                else:
                    self._store.preparations.update_release(one, None, None)
            for node in self._store.nodes.in_state(
                NodeState.WAITING_FOR_START_TASK, NodeState.IDLE, NodeState.RUNNING
            ):
                pool = self._store.pools.get(node.pool_id)
                runs = (node.start_task_info or {}).get("state") == "running"
                if runs and pool is not None and "startTask" in pool.body:
                    orders.append(self._committer.start(node, pool, now))
        return orders
