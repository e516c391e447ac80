"""Executes a plan: provides the clock, numbers the events, and writes the record on this disk."""

from __future__ import annotations

import asyncio
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from batchspec.api.recorded_names import runs_folder
from batchspec.api.run_records import (
    PAGE,
    RecordFiles,
    RunFolder,
    applied_text,
    read_history,
    write_page,
)
from batchspec.api.session import Session
from batchspec.apply import POLL_INTERVAL, Cancellation, NodeLogs, RunCancelled, run
from batchspec.apply.events import Event, Noticed, PricesSeen, RunEnded, Stamp, Stamped
from batchspec.apply.ports import Questions, Runtime
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit
from batchspec.observe import counted_jobs
from batchspec.plan import Gate, Plan
from batchspec.plan.actions import (
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DeleteSchedule,
    ReplaceJob,
    ReplacePool,
    ReplaceSchedule,
)
from batchspec.plan.failures import node_logs_container
from batchspec.plan.observed import Observed
from batchspec.plan.receipt import receipt_path
from batchspec.pricing import Price, Unknown
from batchspec.render import Tally, not_notified
from batchspec.spec import Spec


class SystemClock:
    """The time of this machine at the start of the run, and the time that has passed since.

    The difference of two times is therefore a duration, whatever the clock of the machine is set
    to. It includes the time that the machine sleeps. A cancellation of the run interrupts every
    wait.
    """

    def __init__(self, cancellation: Cancellation | None = None) -> None:
        self._cancellation = cancellation or Cancellation()
        self._start, self._began = datetime.now(UTC), _passed()

    def now(self) -> datetime:
        return self._start + timedelta(seconds=_passed() - self._began)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await self._cancellation.race(asyncio.sleep(seconds))


def _passed() -> float:
    """Seconds that pass evenly, and also while the machine sleeps."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":
        # ``time.monotonic`` stops while the machine sleeps.
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def deletes(plan: Plan) -> bool:
    """Whether a plan replaces or deletes a resource.

    Clean-up does not count: the spec requests it, and ``cleanup: ask`` has its own question.
    """
    deletions = DeletePool | DeleteJob | DeleteSchedule | DeleteContainers
    return any(
        isinstance(step.action, ReplacePool | ReplaceJob | ReplaceSchedule)
        or (isinstance(step.action, deletions) and step.gate is Gate.FLOW)
        for step in plan.steps
    )


def prices_seen(spec: Spec, observed: Observed) -> PricesSeen | None:
    """The prices of the nodes, if they were read for the estimate of the plan."""
    if spec.cost is None or observed.cost is None:
        return None
    prices = observed.cost.prices
    both = (prices.dedicated, prices.spot)
    sources = [price.source for price in both if isinstance(price, Price)]
    reasons = [price.reason for price in both if isinstance(price, Unknown)]
    dedicated, spot = (price.per_hour if isinstance(price, Price) else None for price in both)
    return PricesSeen(
        prices.node.size,
        spec.cost.currency,
        dedicated,
        spot,
        sources[0] if sources else "",
        reasons[0] if reasons else "",
    )


def _same(event: Event) -> Event:
    return event


def _plain_command(*words: str) -> str:
    return shlex.join(("batchspec", *words))


def _ignore(_: OSError) -> None:
    pass


@dataclass(slots=True)
class Execution:
    """One run of a plan.

    ``consumers`` receive every event with its number; ``complete`` can replace an event before it
    is numbered. ``unwritable`` is called if the record of the run cannot be written; the run
    continues. ``command`` completes a command that the report names. ``notifies``: the run sends
    the notification of the spec at its end.
    """

    plan: Plan
    session: Session
    clock: SystemClock
    consumers: Sequence[Callable[[Stamped], None]]
    complete: Callable[[Event], Event] = _same
    unwritable: Callable[[OSError], None] = _ignore
    command: Callable[..., str] = _plain_command
    notifies: bool = False
    _record: RunFolder | None = field(default=None, init=False)
    _stamp: Stamp = field(init=False)
    _tally: Tally | None = field(init=False)
    """The report of the run so far, if the run sends a notification."""
    _end: RunEnded | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if not self.plan.empty:
            spec = self.session.spec
            runs = runs_folder(spec.path, spec.name)
            self._record = RunFolder(runs, self.clock.now(), self.unwritable)
        record = () if self._record is None else (self._record,)
        notifies = self.notifies and self.session.spec.notify is not None
        self._tally = Tally() if notifies and not self.plan.empty else None
        tally = () if self._tally is None else (self._tally,)
        self._stamp = Stamp(self.clock.now, (*self.consumers, *record, *tally))

    def emit(self, event: Event) -> None:
        """Number an event and pass it to the consumers and the record."""
        self._stamp(self.complete(event))

    async def run(
        self, questions: Questions, cancellation: Cancellation, findings: Iterable[Diagnostic] = ()
    ) -> Exit:
        """Carry out the plan; ``findings`` are its first events, ``RunEnded`` is the last.

        After a request to cancel, the run ends when the requests in progress are completed. If the
        asyncio task is cancelled, the run ends immediately. It deletes nothing then, and the next
        run resumes it.
        """
        target = self.plan.account.target
        spec = self.session.spec
        if self._record is not None:
            with self._record.guarded():
                self._record.save_applied(applied_text(spec, self.plan))
        runtime = Runtime(
            account=self.session.cloud,
            clock=self.clock,
            questions=questions,
            shortest_poll_interval=POLL_INTERVAL[target],
            cancellation=cancellation,
            node_logs=NodeLogs(node_logs_container(spec)),
            record=self._record_files(),
        )
        try:
            for finding in findings:
                self.emit(Noticed(finding))
            if (prices := prices_seen(spec, self.session.observed)) is not None:
                self.emit(prices)
            with self.session.waits.redirected(self.emit):
                receipt = receipt_path(spec.path, spec.name)
                code = await run(self.plan, runtime, self._emit_but_end, receipt)
            await self._notify(cancellation)
        finally:
            if self._end is not None:
                self.emit(self._end)
            if self._record is not None:
                self._record.close()
        self._write_page()
        return code

    def _emit_but_end(self, event: Event) -> None:
        """Emit an event. The last event waits for the notification, which may add warnings."""
        if isinstance(event, RunEnded):
            self._end = event
        else:
            self.emit(event)

    async def _notify(self, cancellation: Cancellation) -> None:
        """Send the notification of the spec if it applies to this outcome."""
        notify, end, tally = self.session.spec.notify, self._end, self._tally
        if notify is None or end is None or tally is None:
            return
        from batchspec.api.notification import Notifier

        notifier = Notifier(notify, self.session.spec.path.parent, os.environ)
        if not notifier.wanted(end.outcome):
            return
        try:
            sent = await cancellation.race(notifier.send(tally.report(end)))
        except RunCancelled:
            sent = [not_notified()]
        for diagnostic in sent:
            self.emit(Noticed(diagnostic))

    def _write_page(self) -> None:
        """Write the report of the run, if the run is recorded."""
        record, spec = self._record, self.session.spec
        if record is None or record.failed:
            return
        retries = spec.job.schedule is None
        with record.guarded():
            try:
                history = read_history(
                    record.runs,
                    spec.name,
                    run=record.path.name,
                    command=self.command,
                    retries=retries,
                )
                write_page(history, record.path / PAGE)
            except UsageError as error:  # An earlier attempt cannot be read.
                raise OSError(error.problems[0].summary) from error

    def _record_files(self) -> RecordFiles | None:
        """The files for the facts about tasks and nodes; ``None`` if the run is not recorded."""
        if self._record is None:
            return None
        return RecordFiles(self._record, counted_jobs(self.session.observed.jobs))
