"""A run over time: when each step ran, and how many tasks were in which state. Nothing is drawn."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.render.report import Report, Tally

POINTS = 400
"""How many points a curve has at most."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a step ran, in seconds since the run began."""

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
        """All that were seen then."""
        return self.succeeded + self.failed + self.running + self.active


@dataclass(frozen=True, slots=True)
class Trace:
    """A whole run: what it came to, and how it came to it."""

    report: Report
    spans: tuple[Span, ...]
    points: tuple[Point, ...]


def trace_of(stamped: Iterable[Stamped]) -> Trace:
    """The trace of a stream of events, gone through once."""
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
    return Trace(tally.report(), tuple(sorted(spans, key=lambda s: s.begin)), _thinned(points))


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """As many points as can be told apart; the last one is always among them."""
    every = max(1, -(-len(points) // POINTS))
    kept = points[::every]
    return tuple(kept if not points or kept[-1] is points[-1] else [*kept, points[-1]])
