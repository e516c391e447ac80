"""The state of the live view, updated from events; nothing here draws."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import assert_never

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.render import event_text
from batchspec.render.progress.rate import Rate
from batchspec.render.report import StepState


@dataclass(slots=True)
class StepRow:
    """A step on the screen; ``rate`` is in bytes if the size is known, else in items."""

    step: str
    verb: str
    subject: str
    began: datetime
    state: StepState = StepState.RUNNING
    seconds: float = 0.0
    items: int = 1
    done: int = 0
    moved: int = 0
    size: int | None = None
    note: str = ""
    rate: Rate = field(default_factory=Rate)


@dataclass(slots=True)
class LiveState:
    """Everything that the live view shows; ``rows`` are in the order in which the steps started."""

    began: datetime | None = None
    run: events.RunStarted | None = None
    end: events.RunEnded | None = None
    rows: dict[str, StepRow] = field(default_factory=dict)
    nodes: dict[str, events.NodesSeen] = field(default_factory=dict)
    tasks: dict[str, tuple[datetime, events.TasksSeen]] = field(default_factory=dict)
    rates: dict[str, Rate] = field(default_factory=dict)
    waits: dict[tuple[str, str], tuple[datetime, events.Waiting]] = field(default_factory=dict)
    """The causes that block the run, each with the time of its first report."""
    closed: bool = False
    """The view was closed; it does not change any more."""
    failed_tasks: int = 0
    failed_nodes: int = 0

    @property
    def over(self) -> bool:
        """Whether the run has ended or the view is closed."""
        return self.closed or self.end is not None

    def add(self, stamped: Stamped) -> None:  # noqa: PLR0912  (one case an event)
        """Update the state with an event."""
        at, event = stamped.at, stamped.event
        self.began = self.began or at
        match event:
            case events.RunStarted():
                self.run = event
            case events.StepStarted(step, verb, subject, items, size):
                row = StepRow(step, verb, subject, at, items=items, size=size)
                row.rate.add(at, 0)
                self.rows[step] = row
            case events.StepProgress():
                self._progress(event, at)
            case events.NodesSeen():
                self.nodes[event.pool] = event
            case events.TasksSeen():
                self.tasks[event.job] = (at, event)
                rate = self.rates.setdefault(event.job, Rate())
                rate.add(at, event.succeeded + event.failed)
            case events.Waiting(code, subject):
                first, _ = self.waits.pop((code, subject), (at, event))
                if not event.resolved:
                    self.waits[code, subject] = first, event
            case events.TaskFailed():
                self.failed_tasks += 1
            case events.NodeFailed():
                self.failed_nodes += 1
            case events.StepDone(step, verb, subject, items, seconds, size, note):
                row = self._row(step, verb, subject, at)
                row.state, row.seconds, row.note = StepState.DONE, seconds, note
                row.items, row.size = items, size
            case events.StepFailed(step, verb, subject, seconds, problem):
                row = self._row(step, verb, subject, at)
                row.state, row.seconds, row.note = StepState.FAILED, seconds, problem.summary
            case events.StepSkipped(step, verb, subject, because):
                row = self._row(step, verb, subject, at)
                row.state, row.note = StepState.SKIPPED, because
            case events.RunEnded():
                self.end = event
            case events.Noticed() | events.ScheduleSeen() | events.StagesSeen():
                pass
            case _:
                assert_never(event)

    def _row(self, step: str, verb: str, subject: str, at: datetime) -> StepRow:
        return self.rows.setdefault(step, StepRow(step, verb, subject, at))

    def _progress(self, event: events.StepProgress, at: datetime) -> None:
        row = self.rows.get(event.step)
        if row is None:
            return
        row.done, row.items, row.moved = event.done, event.items, event.moved
        row.size = event.size if event.size is not None else row.size
        row.rate.add(at, event_text.progress_share(event)[0])
