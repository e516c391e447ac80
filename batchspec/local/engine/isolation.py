"""A round of the engine after one has failed: each outcome and decision takes effect alone.

A fault of one record, which is a bug of the service or a damaged value, then affects no other
record. A task that cannot be started or recorded fails; everything else that fails is left as it is
and tried again later.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import partial
from typing import Any

from batchspec.local.agent import failure_json
from batchspec.local.engine.apply_decisions import DecisionApplier
from batchspec.local.engine.decisions import Decision, RunTask
from batchspec.local.engine.outcomes import OutcomeRecorder
from batchspec.local.engine.runs import ExecutorRequest, FinishedRun, TaskRun, internal_error
from batchspec.local.engine.scheduler import decide
from batchspec.local.engine.state import SchedulerState
from batchspec.local.model import Task
from batchspec.local.store import Store, is_corrupt

_log = logging.getLogger(__name__)

_COMMON = frozenset({"delays", "running", "remaining_quota", "preemption_times"})
"""The fields of a state that are not lists of records."""


@dataclass(slots=True)
class Parts:
    """Carries out the parts of one round; used in a transaction.

    ``faulty`` is whether a part has failed, ``requests`` are those of all other parts.
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
        """The decisions about all records except those about which nothing can be decided."""
        return decide(self._without_faulty(state), self.now)

    def apply(self, decisions: Iterable[Decision]) -> None:
        """Carry out each decision; a task that cannot be started fails."""
        for decision in decisions:
            if self.attempt(partial(self.applier.apply, [decision], self.now)):
                continue
            if isinstance(decision, RunTask):
                self.attempt(partial(self._fail, decision.task))

    def attempt(self, part: Callable[[], Iterable[ExecutorRequest]]) -> bool:
        """Carry out one part; if it fails, it has no effect.

        Raises:
            Exception: the error of a part that has ended the whole transaction (a full disk), or
                of a database file that is damaged.
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
        """The state without the records about which :func:`decide` fails."""
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
