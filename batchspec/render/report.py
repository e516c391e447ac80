"""The report of a run: a fold of its events, as a value and as JSON for the run folder.

It also adds up the node-hours and their cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from batchspec.apply import events
from batchspec.apply.events import NodesSeen, Outcome, PricesSeen, Stamped
from batchspec.diagnostics import Diagnostic
from batchspec.exit_codes import Exit
from batchspec.frozen import frozen
from batchspec.plan import Verb
from batchspec.pricing import NodeKind, NodePrices, NodeType, Price, Unknown
from batchspec.render.diagnostics import diagnostic_json

Key = tuple[str, str]
"""A VM size in lower case, and a kind: ``dedicated`` or ``spot``."""


class NodeTime:
    """Adds up the node-hours of pools, on the service's clock.

    ``last`` is the last event of each pool.
    """

    def __init__(self) -> None:
        self.last: dict[str, NodesSeen] = {}
        self._at: dict[str, datetime] = {}
        self._hours: dict[Key, float] = {}

    def add(self, event: NodesSeen, at: datetime) -> None:
        """Add the time since the last event; a changed number counts with the mean of both.

        ``at`` is the time of the event on this machine.
        """
        if event.service_time is None:
            return  # A record of an earlier version.
        before = self.last.get(event.pool)
        self.last[event.pool], self._at[event.pool] = event, at
        if before is None or before.service_time is None:
            return
        hours = max((event.service_time - before.service_time).total_seconds(), 0.0) / 3600
        earlier = dict(_counts(before))
        for key, count in _counts(event):
            first = earlier.get(key, 0)
            if first or count:
                self._hours[key] = self._hours.get(key, 0.0) + hours * (first + count) / 2

    @property
    def hours(self) -> Mapping[Key, float]:
        """The node-hours up to the last events."""
        return dict(self._hours)

    def released_at(self, moment: datetime) -> Mapping[Key, float]:
        """The node-hours from the last events until all nodes are released, at a service time."""
        return added(
            {key: count * max((moment - event.service_time).total_seconds(), 0.0) / 3600}
            for event in self.last.values()
            if event.service_time is not None
            for key, count in _counts(event)
            if count
        )

    def until(self, now: datetime) -> Mapping[Key, float]:
        """The node-hours until ``now``, with the node counts of the last events."""
        hours = dict(self._hours)
        for pool, event in self.last.items():
            since = max((now - self._at[pool]).total_seconds(), 0.0) / 3600
            for key, count in _counts(event):
                if count:
                    hours[key] = hours.get(key, 0.0) + since * count
        return hours


def _counts(event: NodesSeen) -> Iterator[tuple[Key, int]]:
    size = event.vm_size.lower()
    yield (size, NodeKind.DEDICATED), event.dedicated
    yield (size, NodeKind.SPOT), event.spot


def added(runs: Iterable[Mapping[Key, float]]) -> Mapping[Key, float]:
    """The node-hours of several runs."""
    total: dict[Key, float] = {}
    for hours in runs:
        for key, value in hours.items():
            total[key] = total.get(key, 0.0) + value
    return total


def node_prices(event: PricesSeen) -> NodePrices:
    """The prices of an event as a value of ``pricing``."""

    def price(per_hour: float | None) -> Price | Unknown:
        if per_hour is None:
            return Unknown(event.unknown)
        return Price(per_hour, event.currency, event.source)

    # Region and operating system are part of the prices.
    return NodePrices(NodeType(event.vm_size, ""), price(event.dedicated), price(event.spot))


def price_of(key: Key, prices: NodePrices) -> Price | None:
    """The price of nodes of a size and kind, if it is known."""
    size, kind = key
    # A node that was deleted before any list has no known size or kind.
    if size != prices.node.size.lower() or kind not in tuple(NodeKind):
        return None
    price = prices.of(NodeKind(kind))
    return price if isinstance(price, Price) else None


def spent(hours: Mapping[Key, float], prices: NodePrices) -> float | None:
    """The cost of node-hours; ``None`` if a price is not known."""
    total = 0.0
    for key, value in hours.items():
        price = price_of(key, prices)
        if price is None:
            return None
        total += value * price.per_hour
    return total


KEPT = 20
"""The maximum number of failed tasks and nodes in a report; the others are counted."""

_GOOD = {Outcome.DONE, Outcome.NOTHING_TO_DO, Outcome.DETACHED, Outcome.SCHEDULED}
_JOB_OVER = {Outcome.DONE, Outcome.TASKS_FAILED, Outcome.TIME_LIMIT}
"""The outcomes with which the job ends; otherwise its tasks continue, or wait for the next run."""


class Phase(StrEnum):
    """The phases of a run. They overlap: the pool allocates during the upload."""

    UPLOAD = "upload"
    POOL = "pool"
    TASKS = "tasks"
    DOWNLOAD = "download"
    CLEANUP = "cleanup"


class StepState(StrEnum):
    """The state of a step."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"


@frozen
class StepReport:
    """A step with its state; ``seconds`` is 0 for a skipped step."""

    step: str
    verb: str
    subject: str
    state: StepState
    seconds: float = 0.0
    items: int = 0
    size: int = 0
    note: str = ""


@frozen
class TaskTally:
    """The number of tasks of a run by state, as last reported."""

    total: int = 0
    active: int = 0
    running: int = 0
    succeeded: int = 0
    failed: int = 0


@frozen
class Report:
    """A whole run. ``outcome`` is ``None`` if the end of the run is not recorded.

    ``phases`` are seconds of wall-clock time during which a step of the phase ran. ``failures`` are
    the first failed tasks; ``tasks.failed`` counts all. ``waits`` are the causes that still blocked
    the run at its end. ``node_hours`` are the counted node-hours by VM size and kind, and
    ``release_hours`` is their part between the end of the run and the expected release of the
    nodes. ``allocated`` is the last event about the nodes of each pool. ``prices`` are the prices
    of a node per hour in ``currency``, if the spec has a ``cost`` section. ``stages`` are the tasks
    of each stage by state, if there are several stages.
    """

    name: str = ""
    target: str = ""
    batch: str = ""
    storage: str = ""
    outcome: Outcome | None = None
    exit: int = Exit.DONE
    began: datetime | None = None
    seconds: float = 0.0
    steps: tuple[StepReport, ...] = ()
    tasks: TaskTally = field(default_factory=TaskTally)
    stages: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    phases: Mapping[Phase, float] = field(default_factory=dict)
    uploaded: int = 0
    downloaded: int = 0
    failures: tuple[events.TaskFailed, ...] = ()
    nodes: tuple[events.NodeFailed, ...] = ()
    schedule: events.ScheduleSeen | None = None
    problems: tuple[Diagnostic, ...] = ()
    waits: tuple[events.Waiting, ...] = ()
    node_hours: Mapping[tuple[str, str], float] = field(default_factory=dict)
    release_hours: float = 0.0
    allocated: Mapping[str, events.NodesSeen] = field(default_factory=dict)
    prices: NodePrices | None = None
    currency: str = ""
    left: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the run ended without a failure."""
        return self.outcome in _GOOD

    @property
    def cost(self) -> float | None:
        """The cost of the counted node-hours in ``currency``; ``None`` if it is not known."""
        return None if self.prices is None else spent(self.node_hours, self.prices)

    @property
    def job_over(self) -> bool:
        """Whether the job ended with the run."""
        return self.outcome in _JOB_OVER


def phase_of(verb: str, subject: str) -> Phase:
    """The phase that a step belongs to."""
    match verb:
        case Verb.UPLOAD:
            return Phase.UPLOAD
        case Verb.DOWNLOAD:
            return Phase.DOWNLOAD
        case Verb.DELETE:
            return Phase.CLEANUP
    kind = subject.partition(" ")[0]
    if kind in {"container", "containers", "files"}:
        return Phase.UPLOAD
    return Phase.POOL if kind in {"pool", "nodes"} else Phase.TASKS


def fold(stamped: Iterable[Stamped]) -> Report:
    """The report of a whole stream of events."""
    tally = Tally()
    for each in stamped:
        tally(each)
    return tally.report()


class Tally:
    """A consumer of events that returns the report at any time."""

    def __init__(self) -> None:
        self._run: events.RunStarted | None = None
        self._end: events.RunEnded | None = None
        self._began: datetime | None = None
        self._last: datetime | None = None
        self._steps: dict[str, StepReport] = {}
        self._open: dict[str, datetime] = {}
        self._spans: dict[Phase, list[tuple[datetime, datetime]]] = {}
        self._tasks: dict[str, TaskTally] = {}
        self._stages: Mapping[str, Mapping[str, int]] = {}
        self._failed = 0
        self._failures: list[events.TaskFailed] = []
        self._nodes: list[events.NodeFailed] = []
        self._schedule: events.ScheduleSeen | None = None
        self._problems: list[Diagnostic] = []
        self._waits: dict[tuple[str, str], events.Waiting] = {}
        self._node_time = NodeTime()
        self._prices: events.PricesSeen | None = None

    def __call__(self, stamped: Stamped) -> None:  # noqa: C901, PLR0912  (one case an event)
        """Add an event."""
        at, event = stamped.at, stamped.event
        self._began, self._last = self._began or at, at
        match event:
            case events.RunStarted():
                self._run = event
            case events.StepStarted(step, verb, subject):
                self._steps[step] = StepReport(step, verb, subject, StepState.RUNNING)
                self._open[step] = at
            case events.StepDone(step, verb, subject, items, seconds, size, note):
                state = StepState.DONE
                self._ended(
                    StepReport(step, verb, subject, state, seconds, items, size or 0, note), at
                )
            case events.StepFailed(step, verb, subject, seconds, problem):
                self._ended(StepReport(step, verb, subject, StepState.FAILED, seconds), at)
                self._problems.append(problem)
            case events.StepSkipped(step, verb, subject, because):
                state = StepState.SKIPPED
                self._ended(StepReport(step, verb, subject, state, note=because), at)
            case events.TasksSeen(job, total, active, running, succeeded, failed):
                self._tasks[job] = TaskTally(total, active, running, succeeded, failed)
            case events.StagesSeen(_, stages):
                self._stages = stages
            case events.TaskFailed():
                self._failed += 1
                self._failures += [event] if len(self._failures) < KEPT else []
            case events.NodeFailed():
                self._nodes += [event] if len(self._nodes) < KEPT else []
            case events.ScheduleSeen():
                self._schedule = event
            case events.Waiting(code, subject):
                self._waits.pop((code, subject), None)
                if not event.resolved:
                    self._waits[code, subject] = event
            case events.Noticed(problem):
                self._problems.append(problem)
            case events.RunEnded():
                self._end = event
            case events.StepProgress(step, moved=moved):
                if step in self._steps:
                    self._steps[step] = replace(self._steps[step], size=moved)
            case events.NodesSeen():
                self._node_time.add(event, at)
            case events.PricesSeen():
                self._prices = event
            case events.LongestSeen() | events.FailuresSeen():
                pass
            case _:
                assert_never(event)

    def report(self, end: events.RunEnded | None = None) -> Report:
        """The report so far, with ``end`` if it is given."""
        run, end = self._run, end or self._end
        releasing = self._node_time.released_at(end.released) if end and end.released else {}
        seconds = (self._last - self._began).total_seconds() if self._began and self._last else 0.0
        return Report(
            name=run.name if run else "",
            target=run.target if run else "",
            batch=run.batch if run else "",
            storage=run.storage if run else "",
            outcome=end.outcome if end else None,
            exit=end.exit if end else Exit.BUG,
            began=self._began,
            seconds=end.seconds if end else seconds,
            steps=tuple(self._steps.values()),
            tasks=self._all_tasks(),
            stages=self._stages,
            phases={phase: _covered(self._spans[phase]) for phase in Phase if phase in self._spans},
            uploaded=self._moved(Verb.UPLOAD),
            downloaded=self._moved(Verb.DOWNLOAD),
            failures=tuple(self._failures),
            nodes=tuple(self._nodes),
            schedule=self._schedule,
            problems=tuple(self._problems),
            waits=tuple(self._waits.values()),
            node_hours=added([self._node_time.hours, releasing]),
            release_hours=sum(releasing.values()),
            allocated=dict(self._node_time.last),
            prices=None if self._prices is None else node_prices(self._prices),
            currency="" if self._prices is None else self._prices.currency,
            left=end.left if end else (),
        )

    def _ended(self, step: StepReport, at: datetime) -> None:
        self._steps[step.step] = step
        began = self._open.pop(step.step, None)
        if began is not None:
            self._spans.setdefault(phase_of(step.verb, step.subject), []).append((began, at))

    def _all_tasks(self) -> TaskTally:
        def total(count: Callable[[TaskTally], int]) -> int:
            return sum(count(tally) for tally in self._tasks.values())

        return TaskTally(
            total(lambda t: t.total),
            total(lambda t: t.active),
            total(lambda t: t.running),
            total(lambda t: t.succeeded),
            # A failed task that was reported may have succeeded since, after a retry.
            total(lambda t: t.failed) if self._tasks else self._failed,
        )

    def _moved(self, verb: Verb) -> int:
        return sum(step.size for step in self._steps.values() if step.verb == verb)


def _covered(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """The seconds that one or more spans cover."""
    seconds, until = 0.0, None
    for begin, end in sorted(spans):
        start = begin if until is None else max(begin, until)
        if end > start:
            seconds += (end - start).total_seconds()
            until = end
    return seconds


def waiting_json(wait: events.Waiting) -> dict[str, object]:
    """A cause that blocks a run, as a JSON object."""
    return {
        "code": wait.code,
        "subject": wait.subject,
        "summary": wait.summary,
        "detail": wait.detail,
        "since": None if wait.since is None else wait.since.isoformat(),
        "action": wait.action,
        "ends": wait.ends,
    }


def _price(report: Report, key: tuple[str, str]) -> float | None:
    price = None if report.prices is None else price_of(key, report.prices)
    return None if price is None else price.per_hour


def report_json(report: Report) -> dict[str, object]:
    """A report as a JSON object, for the run's folder."""
    tasks = report.tasks
    return {
        "version": 1,
        "name": report.name,
        "target": report.target,
        "account": {"batch": report.batch, "storage": report.storage},
        "outcome": None if report.outcome is None else report.outcome.value,
        "exit": int(report.exit),
        "began": None if report.began is None else report.began.isoformat(),
        "seconds": round(report.seconds, 3),
        "steps": [
            {
                "id": step.step,
                "verb": step.verb,
                "subject": step.subject,
                "state": step.state.value,
                "seconds": round(step.seconds, 3),
                "items": step.items,
                "size": step.size,
                "note": step.note,
            }
            for step in report.steps
        ],
        "tasks": {
            "total": tasks.total,
            "active": tasks.active,
            "running": tasks.running,
            "succeeded": tasks.succeeded,
            "failed": tasks.failed,
        },
        "stages": {name: dict(counts) for name, counts in report.stages.items()},
        "phases": {phase.value: round(seconds, 3) for phase, seconds in report.phases.items()},
        "uploaded": report.uploaded,
        "downloaded": report.downloaded,
        "failures": [
            {"job": task.job, "task": task.task, "exit_code": task.exit_code, "code": task.code}
            for task in report.failures
        ],
        "schedule": report.schedule
        and {
            "id": report.schedule.schedule,
            "state": report.schedule.state,
            "next_run": report.schedule.next_run and report.schedule.next_run.isoformat(),
            "recent_job": report.schedule.recent_job,
        },
        "problems": [diagnostic_json(problem) for problem in report.problems],
        "node_hours": [
            {
                "vm_size": size,
                "kind": kind,
                "hours": round(hours, 6),
                "price": _price(report, (size, kind)),
            }
            for (size, kind), hours in report.node_hours.items()
        ],
        "cost": {
            "amount": None if report.cost is None else round(report.cost, 6),
            "currency": report.currency or None,
        },
        "waiting": [waiting_json(wait) for wait in report.waits],
        "left": list(report.left),
    }
