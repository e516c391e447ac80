"""A run over all its attempts: the recorded runs of a command that belong together, and their tasks
and nodes, merged and summed up in bounded memory.

A task can run several times: after a retry, in a later job, or as another version of its item. The
newest execution of an item counts; the others are *superseded*.
"""

from __future__ import annotations

import heapq
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from batchspec.apply import events
from batchspec.apply.events import Outcome, Stamped
from batchspec.frozen import frozen
from batchspec.plan import Verb
from batchspec.render.json_lines import NodeRow, RecordHead, TaskRow, read_tasks
from batchspec.render.report import Phase, Report, StepState, Tally, added

POINTS = 400
"""The largest number of points of a curve."""


@frozen
class Span:
    """The start and end of a step, in seconds since the start of the run."""

    step: str
    begin: float
    end: float


@frozen
class Point:
    """The tasks of the run at a moment: succeeded, failed, running, waiting."""

    at: float
    succeeded: int
    failed: int
    running: int
    active: int

    @property
    def total(self) -> int:
        """All tasks at that moment."""
        return self.succeeded + self.failed + self.running + self.active


@frozen
class Timeline:
    """A run: its report, the times of its steps, and its tasks over time."""

    report: Report
    spans: tuple[Span, ...]
    points: tuple[Point, ...]


def build_timeline(stamped: Iterable[Stamped]) -> Timeline:
    """The timeline of a stream of events, which is read once."""
    tally = Tally()
    begun: dict[str, float] = {}
    spans: list[Span] = []
    points: list[Point] = []
    began = None
    seconds = 0.0
    for each in stamped:
        tally(each)
        began = began or each.at
        seconds = (each.at - began).total_seconds()
        match each.event:
            case events.StepStarted(step):
                begun[step] = seconds
            case events.StepDone(step) | events.StepFailed(step) | events.StepSkipped(step) if (
                step in begun
            ):
                spans.append(Span(step, begun.pop(step), seconds))
            case events.TasksSeen(_, _, active, running, succeeded, failed):
                points.append(Point(seconds, succeeded, failed, running, active))
    spans += [Span(step, begin, seconds) for step, begin in begun.items()]
    return Timeline(tally.report(), tuple(sorted(spans, key=lambda s: s.begin)), _thinned(points))


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """At most :data:`POINTS` points, evenly spaced, and the last one."""
    every = max(1, -(-len(points) // POINTS))
    kept = points[::every]
    return tuple(kept if not points or kept[-1] is points[-1] else [*kept, points[-1]])


@frozen
class Attempt:
    """A recorded run of a command; ``id`` is the value for ``report --run``.

    ``recorded_tasks``: it recorded facts about its tasks or the tasks of an earlier attempt.
    """

    id: str
    timeline: Timeline
    recorded_tasks: bool = False


def last_run(newest_first: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts of the last run with tasks, oldest first; reads only the needed records.

    A completed attempt ends a run, and so does the deletion of its job by another command. An
    attempt that only downloaded results or deleted the job belongs to the run if it recorded facts
    that the run lacks. An attempt that only waited for the tasks of a completed attempt belongs to
    the run of that attempt. If no record has tasks, the result is the newest record.
    """
    found: list[Attempt] = []
    newest: Attempt | None = None
    for attempt in newest_first:
        newest = newest or attempt
        report = attempt.timeline.report
        if not _had_tasks(report):
            if found and deleted_job(report):
                break
            if not attempt.recorded_tasks or not (_downloaded(report) or deleted_job(report)):
                continue
        if found and _ends_before(report, found[-1]):
            break
        found.append(attempt)
    if not found:
        return () if newest is None else (newest,)
    return tuple(reversed(found))


def combined_report(attempts: Sequence[Attempt]) -> Report:
    """The report of the last attempt, with the times and sizes of all attempts.

    If the last attempt only deleted the job, the report before it contains the outcome of the run.
    """
    reports = [attempt.timeline.report for attempt in attempts]
    last = reports[-1]
    if deleted_job(last) and not _had_tasks(last):
        last = next((each for each in reversed(reports) if _had_tasks(each)), last)
    phases: dict[Phase, float] = {}
    priced = next((each for each in reversed(reports) if each.prices is not None), reports[-1])
    for report in reports:
        for phase, seconds in report.phases.items():
            phases[phase] = phases.get(phase, 0.0) + seconds
    return replace(
        last,
        began=reports[0].began,
        seconds=sum(report.seconds for report in reports),
        phases=phases,
        uploaded=sum(report.uploaded for report in reports),
        downloaded=sum(report.downloaded for report in reports),
        release_hours=sum(report.release_hours for report in reports),
        node_hours=added(report.node_hours for report in reports),
        prices=priced.prices,
        currency=priced.currency,
    )


def _ends_before(report: Report, later: Attempt) -> bool:
    """Whether the run of an attempt ended before the ``later`` attempt of another run."""
    after = later.timeline.report
    if report.target != after.target:
        return True
    if report.outcome is not Outcome.DONE or not _had_tasks(after):
        return False
    submitted = any(step.verb == Verb.SUBMIT for step in after.steps)
    return submitted or later.recorded_tasks or not _waits(after) <= _waits(report)


def _waits(report: Report) -> set[str]:
    """The tasks that the attempt waited for."""
    return {step.subject for step in report.steps if step.verb == Verb.WAIT}


def _downloaded(report: Report) -> bool:
    """Whether the attempt downloaded results."""
    return any(step.verb == Verb.DOWNLOAD for step in report.steps)


def _had_tasks(report: Report) -> bool:
    """Whether the run submitted or waited for tasks, or had such a step."""
    return any(
        step.verb == Verb.SUBMIT or (step.verb == Verb.WAIT and step.subject.startswith("tasks"))
        for step in report.steps
    )


def deleted_job(report: Report) -> bool:
    """Whether the run deleted a job or a job schedule."""
    return any(
        step.verb == Verb.DELETE
        and step.state is StepState.DONE
        and step.subject.startswith(("job ", "schedule "))
        for step in report.steps
    )


Command: TypeAlias = Callable[..., str]
"""A command line for the user: a verb and its arguments, completed with the spec and options."""

OUTLIERS = 10
"""The number of longest tasks of a stage that are compared with the others and named."""


@frozen
class TaskFile:
    """The tasks of a job as read at one time; ``lines`` opens the lines after the head."""

    head: RecordHead
    lines: Callable[[], AbstractContextManager[Iterator[str]]]


@frozen
class Applied:
    """The spec, its parameters and the plan of an attempt, as text without secrets."""

    path: str = ""
    spec: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    plan: str = ""


@frozen
class RunHistory:
    """All recorded facts of a run.

    ``attempts`` are oldest first, at least one. ``outputs`` are the last lines of the stderr of
    failed tasks by id, ``applied`` is by the id of the attempt. ``retries``: ``retry`` can run
    failed tasks again, unlike those of a job schedule.
    """

    attempts: Sequence[Attempt]
    files: Sequence[TaskFile] = ()
    nodes: Sequence[NodeRow] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)
    applied: Mapping[str, Applied] = field(default_factory=dict)
    command: Command = lambda *words: " ".join(("batchspec", *words))
    retries: bool = True

    @property
    def began(self) -> float:
        """The start of the run, in seconds since 1970."""
        began = self.attempts[0].timeline.report.began
        return began.timestamp() if began is not None else 0.0

    def job_ends(self) -> Mapping[str, float]:
        """The end of each job, in seconds since 1970; jobs without an end are omitted."""
        ends = {file.head.id: seconds_of(file.head.ended) for file in self.files}
        return {job: end for job, end in ends.items() if end is not None}

    def tasks(self) -> Iterator[tuple[TaskRow, bool]]:
        """Every execution of a task, newest jobs first, and whether it is superseded."""
        return _executions(self.files)


def _executions(files: Sequence[TaskFile]) -> Iterator[tuple[TaskRow, bool]]:
    newest = _newest_by_item(files)
    several = {job for job, count in Counter(file.head.id for file in files).items() if count > 1}
    seen: set[int] = set()
    for file in sorted(files, key=lambda file: (file.head.created, file.head.at), reverse=True):
        for row in _rows(file):
            if row.job in several:
                # The same execution, read at another time.
                execution = hash((row.job, row.id, row.started))
                if execution in seen:
                    continue
                seen.add(execution)
            yield row, newest[_item(row)] > _order(row)


def _newest_by_item(files: Sequence[TaskFile]) -> Mapping[int, str]:
    """The times at which the newest execution of each item was created and started."""
    newest: dict[int, str] = {}
    for file in files:
        for row in _rows(file):
            item, order = _item(row), _order(row)
            if newest.get(item, "") < order:
                newest[item] = order
    return newest


def _rows(file: TaskFile) -> Iterator[TaskRow]:
    with file.lines() as lines:
        yield from read_tasks(file.head.id, lines)


def _item(row: TaskRow) -> int:
    return hash(row.item or (row.job, row.id))


def _order(row: TaskRow) -> str:
    return f"{row.created} {row.started}"


def merged_nodes(rows: Iterable[NodeRow]) -> tuple[NodeRow, ...]:
    """Each node as it was last seen; rows are in the order of time."""
    nodes: dict[tuple[str, str], NodeRow] = {}
    for row in rows:
        nodes[row.pool, row.id] = row
    return tuple(nodes.values())


def seconds_of(text: str) -> float | None:
    """A time of a record in seconds since 1970; ``None`` if there is none or it is damaged."""
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None


@dataclass(slots=True)
class StageTotals:
    """The tasks of a stage by state, and the durations of all executions, in seconds."""

    states: Counter[str] = field(default_factory=Counter)
    superseded: int = 0
    retries: int = 0
    durations: array[float] = field(default_factory=lambda: array("d"))
    longest: list[tuple[float, str]] = field(default_factory=list)

    def add(self, row: TaskRow, took: float | None, *, superseded: bool) -> None:
        """Count an execution."""
        self.retries += row.retries
        if superseded:
            self.superseded += 1
        else:
            self.states[row.state] += 1
        if took is not None:
            self.durations.append(took)
            if len(self.longest) < OUTLIERS:
                heapq.heappush(self.longest, (took, row.id))
            else:
                heapq.heappushpop(self.longest, (took, row.id))

    @property
    def total(self) -> int:
        """The number of tasks, each item counted once."""
        return sum(self.states.values())

    def quantile(self, share: float) -> float:
        """The maximum duration of this share of the executions."""
        ordered = sorted(self.durations)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0

    def outliers(self) -> list[tuple[float, str]]:
        """The longest executions that are far from the others: beyond Q3 + 3 (Q3 - Q1)."""
        lower, upper = self.quantile(0.25), self.quantile(0.75)
        limit = upper + 3 * max(upper - lower, 0.05 * upper)
        return [(took, name) for took, name in sorted(self.longest, reverse=True) if took > limit]


@dataclass(slots=True)
class CauseTotals:
    """The failures with one cause; ``ids`` are the first of them, ``message`` is the service's."""

    count: int = 0
    superseded: int = 0
    ids: list[str] = field(default_factory=list)
    message: str = ""

    def add(self, row: TaskRow, *, superseded: bool) -> None:
        """Count a failure."""
        if superseded:
            self.superseded += 1
            return
        self.count += 1
        self.message = self.message or row.message
        if len(self.ids) < OUTLIERS:
            self.ids.append(row.id)


@dataclass(slots=True)
class NodeUse:
    """The tasks that ran on a node; times in seconds since 1970."""

    tasks: int = 0
    failed: int = 0
    busy: float = 0.0
    first: float = float("inf")
    last: float = 0.0


@dataclass(slots=True)
class TaskTotals:
    """Sums over all executions, in one pass.

    ``job_ends`` are the ends of the jobs: until then, a task without a start waits. ``waited`` are
    the ends of all waits.
    """

    job_ends: Mapping[str, float] = field(default_factory=dict)
    stages: dict[str, StageTotals] = field(default_factory=dict)
    causes: dict[str, CauseTotals] = field(default_factory=dict)
    nodes: dict[str, NodeUse] = field(default_factory=dict)
    created: array[float] = field(default_factory=lambda: array("d"))
    started: array[float] = field(default_factory=lambda: array("d"))
    waited: array[float] = field(default_factory=lambda: array("d"))
    ended: array[float] = field(default_factory=lambda: array("d"))

    def add(self, row: TaskRow, *, superseded: bool) -> None:
        """Count an execution."""
        began, end, created = map(seconds_of, (row.started, row.ended, row.created))
        took = end - began if began is not None and end is not None else None
        stage = self.stages.setdefault(row.stage, StageTotals())
        stage.add(row, took, superseded=superseded)
        if row.cause:
            self.causes.setdefault(row.cause, CauseTotals()).add(row, superseded=superseded)
        waited = self.job_ends.get(row.job) if began is None else began
        for times, at in (
            (self.created, created),
            (self.started, began),
            (self.waited, waited),
            (self.ended, end),
        ):
            if at is not None:
                times.append(at)
        if row.node and began is not None:
            use = self.nodes.setdefault(row.node, NodeUse())
            use.tasks += 1
            use.failed += row.state == "failed"
            use.busy += took or 0.0
            use.first = min(use.first, began)
            use.last = max(use.last, end or began)


@frozen
class SizeUse:
    """The number of nodes of a VM size and kind, and the hours of tasks over all slots."""

    nodes: int = 0
    busy: float = 0.0


def use_by_size(
    nodes: Sequence[NodeRow], use: Mapping[str, NodeUse]
) -> Mapping[tuple[str, str], SizeUse]:
    """The nodes by VM size in lower case and kind; both are empty for nodes of unknown size.

    For nodes that left before they were read, only the tasks are known.
    """
    sums: dict[tuple[str, str], SizeUse] = {}
    left = [name for name in use if name not in {node.id for node in nodes}]
    known = [
        ((node.vm_size.lower(), "dedicated" if node.dedicated else "spot"), node.id)
        for node in nodes
    ]
    for key, name in [*known, *((("", ""), name) for name in left)]:
        before, busy = sums.get(key, SizeUse()), use[name].busy if name in use else 0.0
        sums[key] = SizeUse(before.nodes + 1, before.busy + busy / 3600)
    return sums
