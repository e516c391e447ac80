"""What performing a step needs and what comes of it; nothing is performed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batchspec.apply.arrivals import Arrivals
from batchspec.apply.events import Emit, Outcome, StepProgress
from batchspec.apply.ledger import Ledger
from batchspec.apply.ports import World
from batchspec.plan.plan import Step


@dataclass(frozen=True, slots=True)
class Tools:
    """What every step of a run is performed with.

    ``receipt`` is the file that says which results are on this disk. ``proved_later`` are the jobs
    with a step further on that looks for the tasks in the ``ledger``.
    """

    world: World
    emit: Emit
    receipt: Path
    arrivals: Arrivals = field(default_factory=Arrivals)
    ledger: Ledger = field(default_factory=Ledger)
    proved_later: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Performed:
    """How a step that did not fail ended.

    ``trouble`` is set when the run as a whole cannot end well any more although this step did what
    it is there for: tasks failed, or the time limit passed.
    """

    items: int = 1
    size: int | None = None
    note: str = ""
    trouble: Outcome | None = None


@dataclass(slots=True)
class Progress:
    """Counts what a step has done and says so, at most every ``every`` seconds."""

    step: Step
    emit: Emit
    now: Callable[[], float]
    items: int
    size: int | None = None
    every: float = 0.1
    done: int = 0
    moved: int = 0
    _last: float = field(default=float("-inf"), init=False)

    def move(self, count: int) -> None:
        """So many bytes more."""
        self.moved += count
        self._say()

    def finish(self, count: int = 1) -> None:
        """So many items more."""
        self.done += count
        self._say()

    def _say(self) -> None:
        now = self.now()
        if now - self._last >= self.every or self.done == self.items:
            self._last = now
            self.emit(StepProgress(self.step.id, self.done, self.items, self.moved, self.size))


def progress(step: Step, tools: Tools, *, items: int, size: int | None = None) -> Progress:
    """A progress counter for a step."""
    return Progress(step, tools.emit, tools.world.clock.monotonic, items, size)
