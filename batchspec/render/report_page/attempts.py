"""The attempts at a run: recorded runs of a command, and which of them belong together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from batchspec.apply import events
from batchspec.apply.events import Outcome, Stamped
from batchspec.plan import Verb
from batchspec.render.node_hours import added
from batchspec.render.report import Phase, Report, StepState, Tally

POINTS = 400
"""The largest number of points of a curve."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a step ran, in seconds since the start of the run."""

    step: str
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """A recorded run of a command; ``id`` is what ``report --run`` takes.

    ``recorded_tasks``: it recorded facts about tasks, its own or those of an attempt before it.
    """

    id: str
    timeline: Timeline
    recorded_tasks: bool = False


def last_run(newest_first: Iterable[Attempt]) -> tuple[Attempt, ...]:
    """The attempts of the last run that had tasks, oldest first; reads no more than needed.

    A completed attempt ends a run, and so does the deletion of its job by another command. One that
    only downloaded results or deleted the job belongs to the run if it recorded the facts that the
    run lacks. If no record has tasks, the result is the newest record.
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
        if found and _ends_before(report, found[-1].timeline.report):
            break
        found.append(attempt)
    if not found:
        return () if newest is None else (newest,)
    return tuple(reversed(found))


def combined_report(attempts: Sequence[Attempt]) -> Report:
    """The report of the last attempt, with the times and sizes of all attempts.

    If the last attempt only deleted the job, how the run ended is in the report before it.
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


def _ends_before(report: Report, later: Report) -> bool:
    """Whether the run of an attempt had ended before the ``later`` one, which is of another run."""
    if report.target != later.target:
        return True
    return report.outcome is Outcome.DONE and _had_tasks(later)


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
