"""The state of a run in progress, updated from its events: rates, steps, failures.

All times are those of the events; nothing here draws.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import assert_never

from batchspec.apply import events
from batchspec.apply.events import NodeFailed, Stamped, TaskFailed
from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan import Verb
from batchspec.plan.failures import signature
from batchspec.render import run_text, units
from batchspec.render.output import flat
from batchspec.render.report import NodeTime, StepState
from batchspec.render.run_text import failure_lines, first_sentence, node_cause, task_cause

_WINDOW = timedelta(seconds=30)
_GRAIN = timedelta(seconds=0.5)
_IDLE = timedelta(seconds=10)


@dataclass(slots=True)
class Rate:
    """The rate of a value over the last 30 seconds; keeps at most two samples a second."""

    _samples: deque[tuple[datetime, float]] = field(default_factory=deque)

    def add(self, at: datetime, value: float) -> None:
        """Add a sample. A value below the last one starts a new series."""
        samples = self._samples
        if samples and value < samples[-1][1]:
            samples.clear()
        if len(samples) > 1 and at - samples[-2][0] < _GRAIN:
            samples[-1] = (at, value)
        else:
            samples.append((at, value))
        while len(samples) > 2 and at - samples[1][0] >= _WINDOW:
            samples.popleft()

    def per_second(self, now: datetime) -> float | None:
        """The rate; ``None`` in the first second and while the value does not change."""
        if not self._samples:
            return None
        (begin, first), (at, last) = self._samples[0], self._samples[-1]
        span, idle = at - begin, now - at
        # A short gap between two samples is not counted; a long one counts as elapsed time.
        seconds = (span + idle if idle > max(span, _IDLE) else span).total_seconds()
        if seconds < 1 or last <= first:
            return None
        return (last - first) / seconds

    def seconds_left(self, now: datetime, total: float) -> float | None:
        """Seconds until ``total`` is reached at this rate; ``None`` without a rate."""
        rate = self.per_second(now)
        if rate is None:
            return None
        at, last = self._samples[-1]
        return max((total - last) / rate - (now - at).total_seconds(), 0)


@dataclass(slots=True)
class _Report:
    at: datetime
    share: float


@dataclass(slots=True)
class Throttle:
    """Whether to report a subject again: after a pause, or when 10% more is done.

    The pause grows from five seconds to a minute, so that the log of a run of hours stays short. A
    subject is reported at most once a second.
    """

    began: datetime
    _reports: dict[str, _Report] = field(default_factory=dict)

    def due(self, subject: str, at: datetime, share: float) -> bool:
        """Whether to report now; the report is recorded. ``share`` is the finished part, 0 to 1."""
        last = self._reports.get(subject)
        if last is not None:
            passed = (at - last.at).total_seconds()
            pause = min(max((at - self.began).total_seconds() / 20, 5), 60)
            if passed < 1 or (passed < pause and share - last.share < 0.1):
                return False
        self._reports[subject] = _Report(at, share)
        return True


_IDS = 4
"""The maximum number of tasks of a cause that are named."""
_CAUSES = 20


@dataclass(slots=True)
class _Repeats:
    """Failures of one cause since the last report; ``ids`` are those of the first tasks."""

    noun: str
    owner: str
    cause: str
    count: int = 0
    ids: list[str] = field(default_factory=list)

    def text(self) -> str:
        """``2 more tasks of job topn failed: exit code 1 (a, b)``."""
        failed = " failed" if self.noun == "task" else ""
        count = units.counted(self.count, f"more {self.noun}")
        text = f"{count} of {self.owner}{failed}: {self.cause}"
        more = self.count - len(self.ids)
        ids = ", ".join(self.ids) + (f" and {more:,} more" if more else "")
        return flat(f"{text} ({ids})" if self.ids else text)


@dataclass(slots=True)
class FailureGroups:
    """Combines failures by cause: the first of a cause is shown in full, the others are counted.

    After 20 causes, the failures of further causes are counted together.
    """

    _shown: set[tuple[str, ...]] = field(default_factory=set)
    _repeats: dict[tuple[str, ...], _Repeats] = field(default_factory=dict)

    def add(self, event: TaskFailed | NodeFailed) -> list[str]:
        """The lines to show for a failure; none if it is only counted."""
        if isinstance(event, TaskFailed):
            noun, owner, cause = "task", f"job {event.job}", task_cause(event)
        else:
            noun, owner, cause = "node", f"pool {event.pool}", node_cause(event)
        # Messages and outputs of one cause differ in names of files, paths and numbers.
        cause_of_all = first_sentence(cause)
        key: tuple[str, ...] = (noun, owner, cause_of_all, signature(event.stderr))
        if key not in self._shown:
            if sum(shown[0] == noun for shown in self._shown) < _CAUSES:
                self._shown.add(key)
                return list(failure_lines(event))
            key = (noun, owner)
            cause_of_all = "other causes"
        repeats = self._repeats.setdefault(key, _Repeats(noun, owner, cause_of_all))
        repeats.count += 1
        if isinstance(event, TaskFailed) and len(repeats.ids) < _IDS:
            repeats.ids.append(event.task)
        return []

    @property
    def counted(self) -> bool:
        """Whether failures were counted since the last call of :meth:`take`."""
        return bool(self._repeats)

    def take(self) -> list[str]:
        """One line for each cause with failures that were counted since the last call."""
        repeats, self._repeats = self._repeats, {}
        return [each.text() for each in repeats.values()]


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
    growing: bool = False
    """More items are found while the first ones are processed."""
    rate: Rate = field(default_factory=Rate)


@frozen
class FailureGroup:
    """``count`` tasks (or nodes, as ``noun`` says) that failed for a ``cause``; one is ``example``.

    ``stderr`` is the end of the standard error of one of them, if it was read.
    """

    noun: str
    count: int
    cause: str
    example: str
    stderr: str = ""

    def text(self) -> str:
        """``12 tasks failed: exit code 1 (count-b and 11 more)``."""
        failed = " failed" if self.noun == "task" else ""
        return f"{units.counted(self.count, self.noun)}{failed}: {self.reason()}"

    def reason(self) -> str:
        """The cause with the example: ``exit code 1 (count-b and 11 more)``."""
        more = f" and {self.count - 1:,} more" if self.count > 1 else ""
        return flat(f"{self.cause} ({self.example}{more})")


@frozen
class TaskLine:
    """The tasks of a stage, or of a job, at a moment.

    ``left`` is the time left in seconds. It is ``None`` if it is not known: no task has ended yet,
    or no task is waiting, so that the rate does not predict the end of the running tasks.
    """

    name: str
    total: int
    active: int
    running: int
    succeeded: int
    failed: int
    rate: float | None = None
    left: float | None = None

    @property
    def done(self) -> int:
        """The number of tasks that have ended."""
        return self.succeeded + self.failed


@dataclass(slots=True)
class LiveState:
    """Everything that the live view shows; ``rows`` are in the order in which the steps started."""

    began: datetime | None = None
    run: events.RunStarted | None = None
    end: events.RunEnded | None = None
    rows: dict[str, StepRow] = field(default_factory=dict)
    nodes: dict[str, events.NodesSeen] = field(default_factory=dict)
    node_time: dict[str, NodeTime] = field(default_factory=dict)
    prices: events.PricesSeen | None = None
    tasks: dict[str, tuple[datetime, events.TasksSeen]] = field(default_factory=dict)
    stages: dict[str, events.StagesSeen] = field(default_factory=dict)
    rates: dict[tuple[str, str], Rate] = field(default_factory=dict)
    """The rate at which tasks end, by job and stage; the stage of all tasks of a job is empty."""
    longest: dict[str, tuple[datetime, events.LongestSeen]] = field(default_factory=dict)
    waits: dict[tuple[str, str], tuple[datetime, events.Waiting]] = field(default_factory=dict)
    """The causes that block the run, each with the time of its first report."""
    notes: deque[Diagnostic] = field(default_factory=lambda: deque(maxlen=20))
    closed: bool = False
    """The view was closed; it no longer changes."""
    _causes: dict[str, events.FailuresSeen] = field(default_factory=dict)
    _failed_tasks: dict[str, list[TaskFailed]] = field(default_factory=dict)
    _failed_nodes: dict[str, list[NodeFailed]] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """Whether the run has ended or the view is closed."""
        return self.closed or self.end is not None

    def add(self, stamped: Stamped) -> None:  # noqa: C901, PLR0912  (one case an event)
        """Update the state with an event."""
        at, event = stamped.at, stamped.event
        self.began = self.began or at
        match event:
            case events.RunStarted():
                self.run = event
            case events.StepProgress():
                self._progress(event, at)
            case events.NodesSeen(pool):
                self.nodes[pool] = event
                self.node_time.setdefault(pool, NodeTime()).add(event, at)
            case events.PricesSeen():
                self.prices = event
            case events.TasksSeen(job):
                self.tasks[job] = (at, event)
                self._rate(job, "", at, event.succeeded + event.failed)
            case events.StagesSeen(job, stages):
                self.stages[job] = event
                for name, counts in stages.items():
                    number = Counter(counts)
                    self._rate(job, name, at, number["succeeded"] + number["failed"])
            case events.LongestSeen(job):
                self.longest[job] = (at, event)
            case events.FailuresSeen(job):
                self._causes[job] = event
            case events.Waiting(code, subject):
                first, _ = self.waits.pop((code, subject), (at, event))
                if not event.resolved:
                    self.waits[code, subject] = first, event
            case events.TaskFailed():
                self._failed_tasks.setdefault(task_cause(event), []).append(event)
            case events.NodeFailed():
                self._failed_nodes.setdefault(node_cause(event), []).append(event)
            case (
                events.StepStarted()
                | events.StepDone()
                | events.StepFailed()
                | events.StepSkipped()
            ):
                self._step(event, at)
            case events.Noticed(problem):
                self.notes.append(problem)
            case events.RunEnded():
                self.end = event
            case events.ScheduleSeen():
                pass
            case _:
                assert_never(event)

    def _step(
        self,
        event: events.StepStarted | events.StepDone | events.StepFailed | events.StepSkipped,
        at: datetime,
    ) -> None:
        match event:
            case events.StepStarted(step, verb, subject, items, size):
                row = StepRow(step, verb, subject, at, items=items, size=size)
                row.rate.add(at, 0)
                self.rows[step] = row
            case events.StepDone(step, verb, subject, items, seconds, size, note):
                row = self._row(step, verb, subject, at)
                row.state, row.seconds, row.note = StepState.DONE, seconds, note
                row.items, row.size = items, size
                if verb == Verb.DELETE and subject.startswith("pool "):
                    self.nodes.pop(subject.removeprefix("pool "), None)
            case events.StepFailed(step, verb, subject, seconds, problem):
                row = self._row(step, verb, subject, at)
                row.state, row.seconds, row.note = StepState.FAILED, seconds, problem.summary
                self.notes.append(problem)
            case events.StepSkipped(step, verb, subject, because):
                row = self._row(step, verb, subject, at)
                row.state, row.note = StepState.SKIPPED, because

    def _row(self, step: str, verb: str, subject: str, at: datetime) -> StepRow:
        return self.rows.setdefault(step, StepRow(step, verb, subject, at))

    def _progress(self, event: events.StepProgress, at: datetime) -> None:
        row = self.rows.get(event.step)
        if row is None:
            return
        row.done, row.items, row.moved = event.done, event.items, event.moved
        row.size = event.size if event.size is not None else row.size
        row.growing = event.growing
        row.rate.add(at, run_text.progress_share(event)[0])

    def _rate(self, job: str, stage: str, at: datetime, done: int) -> None:
        self.rates.setdefault((job, stage), Rate()).add(at, done)

    def task_lines(self, job: str, now: datetime) -> list[TaskLine]:
        """The stages of a job, if it has several, and all its tasks together as the last line."""
        stages = self.stages[job].stages if job in self.stages else {}
        lines = [self._task_line(job, name, counts, now) for name, counts in stages.items()]
        _, seen = self.tasks[job]
        # The lists of stages may be newer than the counts.
        succeeded = max(seen.succeeded, sum(line.succeeded for line in lines))
        failed = max(seen.failed, sum(line.failed for line in lines))
        counts = {
            "total": seen.total,
            "active": seen.total - succeeded - failed - seen.running,
            "running": seen.running,
            "succeeded": succeeded,
            "failed": failed,
        }
        last = self._task_line(job, "", counts, now)
        if any(line.running and line.left is None for line in lines):
            last = replace(last, left=None)
        return [*lines, replace(last, name="total" if stages else "tasks")]

    def _task_line(
        self, job: str, stage: str, counts: Mapping[str, int], now: datetime
    ) -> TaskLine:
        rate = self.rates[job, stage]
        number = Counter(counts)
        states = ("total", "active", "running", "succeeded", "failed")
        line = TaskLine(stage, *(number[state] for state in states))
        if self.over or not line.running:
            return line
        left = rate.seconds_left(now, line.total) if line.active > 0 else None
        return replace(line, rate=rate.per_second(now), left=left or None)

    def failures(self) -> list[FailureGroup]:
        """The failed tasks and nodes by cause, the most frequent first."""
        known = [event for group in self._failed_tasks.values() for event in group]
        groups = [
            _failed(each, known) for seen in self._causes.values() for each in seen.causes
        ] or [
            FailureGroup("task", len(group), cause, group[0].task, group[0].stderr)
            for cause, group in self._failed_tasks.items()
        ]
        groups += [
            FailureGroup("node", len(nodes), cause, nodes[0].node, nodes[0].stderr)
            for cause, nodes in self._failed_nodes.items()
        ]
        return sorted(groups, key=lambda group: -group.count)


def _failed(group: events.FailedTasks, known: Sequence[TaskFailed]) -> FailureGroup:
    """A group of failed tasks, with the details of its example if they were reported."""
    event = next((each for each in known if each.task == group.task), None)
    if event is None:
        return FailureGroup("task", group.count, group.cause, group.task)
    return FailureGroup("task", group.count, task_cause(event), group.task, event.stderr)
