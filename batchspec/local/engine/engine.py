"""The engine: a loop of observe, decide, apply. Changes of the store and timers start a round.

At the start no process runs: the host or ``kill_orphans`` has killed the processes of an earlier
run of the service. The engine requeues the tasks that the store shows as running, or ends them if
their termination was requested, and restarts start tasks.

After a failed round, each outcome and decision takes effect separately. An error of one record (a
bug of the service or a damaged value) then affects no other record. A task that cannot be started
or recorded fails; other failed parts have no effect, and the engine tries them again later.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from batchspec.local.agent import (
    Agent,
    ContainerEngine,
    SshServers,
    StorageAccess,
    StorageError,
    failure_json,
)
from batchspec.local.clock import Clock
from batchspec.local.engine.apply_decisions import DecisionApplier, NodeDirectories
from batchspec.local.engine.decisions import Decision, RunTask
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.machine_usage import MachineUsage, PoolResources
from batchspec.local.engine.observe import next_moment, observe
from batchspec.local.engine.outcomes import OutcomeRecorder
from batchspec.local.engine.runs import (
    Executor,
    ExecutorRequest,
    FinishedRun,
    NodeFaults,
    RunStarter,
    TaskRun,
    internal_error,
)
from batchspec.local.engine.scheduler import decide, is_settled
from batchspec.local.engine.state import Delays, SchedulerState
from batchspec.local.fault_injection import NO_FAULTS, QuotaKind
from batchspec.local.model import LogUpload, NodeState, Task
from batchspec.local.store import Store, is_corrupt, is_refused_by_disk

_TICK = timedelta(milliseconds=1)
_REST = 0.01
"""Minimum real seconds between two times at which an idle engine does work that is not urgent."""
_RETRY = timedelta(seconds=5)
"""Real time after which the engine tries a failed part of a round again."""
_DISK_SECONDS = 9.0
"""Seconds for which the service runs while the disk refuses to write. It then stops: clients would
wait without knowing why."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Work:
    """The result of one round; ``faulty`` if a part of it has failed."""

    state: SchedulerState
    decisions: list[Decision]
    requests: list[ExecutorRequest]
    faulty: bool = False


class Engine:
    """Carries out the intent in the store."""

    def __init__(
        self,
        store: Store,
        data: Path,
        node_config: NodeConfig,
        storage_access: StorageAccess,
        *,
        clock: Clock | None = None,
        containers: ContainerEngine | None = None,
        ssh: SshServers | None = None,
        delays: Delays | None = None,
        node_faults: NodeFaults | None = None,
        fuse: bool = False,
        token: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        """``data`` is the folder of the nodes' directories; ``token`` creates ids of nodes.

        ``ssh`` are the SSH servers of nodes, ``node_faults`` the injected faults. With ``fuse``,
        nodes mount containers as FUSE file systems if the machine supports FUSE.
        """
        self._store = store
        self._clock = clock or Clock()
        self._delays = delays or Delays()
        self._node_faults = node_faults
        self._wake = asyncio.Event()
        trust = node_config.trust
        self._agent = Agent(
            data,
            self._clock,
            storage_access,
            containers,
            trust.authority if trust else None,
            node_config.users,
            fuse=fuse,
        )
        self._executor = Executor(self._agent, self._wake.set)
        self._usage = MachineUsage(data)
        self._resources = PoolResources(store, self._usage, self._clock.speed)
        self._directories = NodeDirectories(data, node_config.users)
        self._starter = RunStarter(store, node_config, data)
        faults = NO_FAULTS if node_faults is None else node_faults.faults
        self._applier = DecisionApplier(
            store,
            self._directories,
            self._starter,
            token,
            self._agent,
            ssh=ssh,
            pool_quota=faults.quota(QuotaKind.POOL_QUOTA),
        )
        self._recorder = OutcomeRecorder(store, self._starter)
        self._timer: asyncio.TimerHandle | None = None
        self._refused_since: float | None = None
        self._rested = -math.inf
        self._rest_timer: asyncio.TimerHandle | None = None
        self._uploads: dict[int, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Work until cancelled; then end all processes and return."""
        self._store.on_change(self._wake.set)
        try:
            # Recover first, so that no client sees runs of an earlier run of the service.
            requests = self._recover_or_set_aside(self._clock.now())
            self._resources.resume(self._clock.now())
            await self._agent.start()
            self._submit(requests)
            while True:
                self._wake.clear()
                self._round_or_retry(self._clock.now())
                await self._wake.wait()
                # Yield to other asyncio tasks first: more runs can finish, and requests wait.
                await asyncio.sleep(0)
        finally:
            self._store.on_change(lambda: None)
            for timer in (self._timer, self._rest_timer):
                if timer is not None:
                    timer.cancel()
            await self._executor.close()
            for upload in self._uploads.values():
                upload.cancel()
            await asyncio.gather(*self._uploads.values(), return_exceptions=True)
            await self._agent.close()
            await self._directories.close()

    def _round_or_retry(self, now: datetime) -> None:
        """Run one round; if it fails even without faulty records, repeat it later.

        Raises:
            sqlite3.DatabaseError: the database file is damaged, or the disk has refused to write it
                for :data:`_DISK_SECONDS`.
            OSError: the disk has refused to write a file for this time.
        """
        try:
            self._store.check_disk()
            self._round(now)
            self._refused_since = None
        except Exception as error:
            if is_corrupt(error) or self._is_refused_for_long(error):
                raise
            _log.exception("a round of the engine failed and will be repeated")
            self._wake.clear()
            self._set_timer(now + _RETRY * self._clock.speed, now)

    def _is_refused_for_long(self, error: Exception) -> bool:
        """Whether the disk has refused to write in all rounds of the last seconds."""
        if not is_refused_by_disk(error):
            self._refused_since = None
            return False
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        return now - self._refused_since >= _DISK_SECONDS

    def _round(self, now: datetime) -> None:
        finished = self._executor.finished()
        try:
            work = self._work(finished, now)
        except Exception as error:
            if is_corrupt(error):
                raise
            _log.exception("a round of the engine failed; the engine runs its parts one at a time")
            work = self._work_in_parts(finished, now)
        self._executor.forget(finished)
        self._submit(work.requests)
        self._upload_logs()
        # The commit has set the event, but most rounds leave no work.
        if work.faulty or is_settled(work.state, work.decisions):
            self._wake.clear()
        if not self._wake.is_set() and self._may_rest():
            self._directories.empty_trash()
            self._agent.logs.flush_soon()
            moment = next_moment(self._store, work.state, now)
            retry = now + _RETRY * self._clock.speed if work.faulty else None
            moments = (moment, retry, self._resources.next_moment(now))
            self._set_timer(min(filter(None, moments), default=None), now)

    def _may_rest(self) -> bool:
        """Whether the idle engine does the work that is not urgent now, or after a later round.

        While many short tasks run, the engine is idle after almost every round.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._rested < _REST:
            if self._rest_timer is None:
                self._rest_timer = loop.call_later(2 * _REST, self._wake.set)
            return False
        self._rested = loop.time()
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None
        return True

    def _work(self, finished: list[FinishedRun], now: datetime) -> _Work:
        """Record finished runs and apply all decisions in one transaction."""
        with self._store.transaction():
            requests = list(self._recorder.record(finished, now))
            state = self._observe(now)
            self._measure(state, now)
            decisions = decide(state, now)
            requests += self._applier.apply(decisions, now)
        return _Work(state, decisions, requests)

    def _work_in_parts(self, finished: list[FinishedRun], now: datetime) -> _Work:
        """As :meth:`_work`, without damaged records and in separate parts."""
        self._store.set_aside_damaged(now)
        with self._store.transaction():
            parts = RoundParts(self._store, self._recorder, self._applier, now)
            parts.record(finished)
            state = self._observe(now)
            parts.attempt(lambda: self._measure(state, now))
            decisions = parts.decide(state)
            parts.apply(decisions)
        return _Work(state, decisions, parts.requests, faulty=parts.faulty)

    def _observe(self, now: datetime) -> SchedulerState:
        return observe(
            self._store,
            self._executor,
            self._delays,
            now,
            self._node_faults,
            usage=self._usage,
        )

    def _measure(self, state: SchedulerState, now: datetime) -> Sequence[ExecutorRequest]:
        self._resources.measure((view.pool for view in state.nodes), now)
        return ()

    def _submit(self, requests: Iterable[ExecutorRequest]) -> None:
        for request in requests:
            self._executor.submit(
                request if self._node_faults is None else self._node_faults.apply_to(request)
            )

    def _upload_logs(self) -> None:
        for upload in self._store.log_uploads.pending():
            if upload.seq not in self._uploads:
                work = self._upload_log(upload)
                self._uploads[upload.seq] = asyncio.create_task(work, name=f"log {upload.seq}")

    async def _upload_log(self, upload: LogUpload) -> None:
        try:
            await self._agent.upload_log(upload)
        except (StorageError, OSError) as error:
            _log.warning("the log of node %s was not uploaded: %s", upload.node_id, error)
        except Exception:  # noqa: BLE001  a bug must not leave the SAS of a request in the store
            _log.exception("the log of node %s was not uploaded", upload.node_id)
        finally:
            del self._uploads[upload.seq]
        self._store.log_uploads.done(upload)

    def _set_timer(self, moment: datetime | None, now: datetime) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if moment is not None:
            self._timer = self._clock.call_later(moment - now + _TICK, self._wake.set)

    def _recover_or_set_aside(self, now: datetime) -> list[ExecutorRequest]:
        try:
            return self._recover(now)
        except Exception as error:
            if is_corrupt(error) or not self._store.set_aside_damaged(now):
                raise
            _log.exception("records of an earlier run of the service are damaged")
            return self._recover(now)

    def _recover(self, now: datetime) -> list[ExecutorRequest]:
        requests: list[ExecutorRequest] = []
        with self._store.transaction():
            for task in self._store.runs.live():
                self._starter.end_without_process(task, now)
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
                    requests.append(self._starter.start_task(node, pool, now))
        return requests


_COMMON = frozenset({"delays", "running", "remaining_quota", "preemption_times"})
"""The fields of a scheduler state that are not lists of records."""


@dataclass(slots=True)
class RoundParts:
    """Carries out the parts of one round; use it in a transaction.

    ``faulty`` is true if a part has failed; ``requests`` are the requests of all other parts.
    """

    store: Store
    recorder: OutcomeRecorder
    applier: DecisionApplier
    now: datetime
    requests: list[ExecutorRequest] = field(default_factory=list)
    faulty: bool = False

    def record(self, finished: Iterable[FinishedRun]) -> None:
        """Record each outcome; a task whose outcome cannot be recorded fails."""
        for run in finished:
            if self.attempt(partial(self.recorder.record, [run], self.now)):
                continue
            if isinstance(run.subject, TaskRun):
                failed = FinishedRun(run.subject, internal_error(self.now))
                self.attempt(partial(self.recorder.record, [failed], self.now))

    def decide(self, state: SchedulerState) -> list[Decision]:
        """The decisions about all records except those for which :func:`decide` fails."""
        return decide(self._without_faulty(state), self.now)

    def apply(self, decisions: Iterable[Decision]) -> None:
        """Carry out each decision; a task that cannot be started fails."""
        for decision in decisions:
            if self.attempt(partial(self.applier.apply, [decision], self.now)):
                continue
            if isinstance(decision, RunTask):
                self.attempt(partial(self._fail, decision.task))

    def attempt(self, part: Callable[[], Iterable[ExecutorRequest]]) -> bool:
        """Carry out one part; a failed part has no effect.

        Raises:
            Exception: the error has ended the whole transaction (a full disk), or the database file
                is damaged.
        """
        try:
            with self.store.part():
                self.requests += list(part())
        except Exception as error:
            if is_corrupt(error) or not self.store.in_transaction:
                raise
            # A bug in one part must not end the others.
            _log.exception("a part of a round of the engine failed")
            self.faulty = True
            return False
        return True

    def _fail(self, task: Task) -> Sequence[ExecutorRequest]:
        failure = failure_json(internal_error(self.now).failure)
        self.store.tasks.end(task, self.now, failure or {})
        return ()

    def _without_faulty(self, state: SchedulerState) -> SchedulerState:
        """The state without the records for which :func:`decide` fails."""
        lists = [one.name for one in fields(state) if one.name not in _COMMON]
        nothing: dict[str, Any] = dict.fromkeys(lists, ())
        empty = replace(state, **nothing)

        def is_sound(name: str, record: Any) -> bool:
            one: dict[str, Any] = {name: (record,)}
            return self.attempt(partial(self._try, replace(empty, **one)))

        sound: dict[str, Any] = {
            name: tuple(record for record in getattr(state, name) if is_sound(name, record))
            for name in lists
        }
        return replace(state, **sound)

    def _try(self, state: SchedulerState) -> Sequence[ExecutorRequest]:
        decide(state, self.now)
        return ()
