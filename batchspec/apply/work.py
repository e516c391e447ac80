"""What performing a step needs and what comes of it; nothing is performed here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batchspec.apply.arrivals import Arrivals
from batchspec.apply.events import Emit, Outcome, StepProgress
from batchspec.apply.ledger import Ledger
from batchspec.apply.monitor import Monitor
from batchspec.apply.ports import World
from batchspec.plan.plan import Step


@dataclass(frozen=True, slots=True)
class Tools:
    """What every step of a run is performed with.

    ``monitor`` is what every wait listens to. ``receipt`` is the file that says which results are
    on this disk. ``proved_later`` are the jobs with a step further on that looks for the tasks in
    the ``ledger``. ``incomplete`` are jobs whose tasks did not write what they must.
    """

    world: World
    emit: Emit
    receipt: Path
    monitor: Monitor
    arrivals: Arrivals = field(default_factory=Arrivals)
    ledger: Ledger = field(default_factory=Ledger)
    proved_later: frozenset[str] = frozenset()
    incomplete: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Performed:
    """How a step that did not fail ended.

    ``trouble`` is set when the run as a whole cannot end well any more although this step did what
    it is there for: tasks failed, or the time limit passed. ``created`` is false where what it was
    to create existed already.
    """

    items: int = 1
    size: int | None = None
    note: str = ""
    trouble: Outcome | None = None
    created: bool = True


@dataclass(slots=True)
class Progress:
    """Counts what a step has done and says so, at most every ``every`` seconds and at the end.

    ``growing`` is for items that are counted as they are found: that all of those found so far are
    done is then not the end. ``end`` is said of it.
    """

    step: Step
    emit: Emit
    now: Callable[[], float]
    items: int
    size: int | None = None
    every: float = 0.1
    growing: bool = False
    done: int = 0
    moved: int = 0
    _last: float = field(default=float("-inf"), init=False)
    _said: tuple[int, int] = field(default=(0, 0), init=False)

    def move(self, count: int) -> None:
        """So many bytes more."""
        self.moved += count
        self._say()

    def finish(self, count: int = 1) -> None:
        """So many items more."""
        self.done += count
        self._say()

    def end(self) -> None:
        """No more items will be found."""
        self.growing = False
        if self.done and (self.done, self.moved) != self._said:
            self._say()

    def _say(self) -> None:
        now = self.now()
        ended = self.done == self.items and not self.growing
        if now - self._last >= self.every or ended:
            self._last, self._said = now, (self.done, self.moved)
            self.emit(StepProgress(self.step.id, self.done, self.items, self.moved, self.size))


def progress(step: Step, tools: Tools, *, items: int | None, size: int | None = None) -> Progress:
    """A progress counter for a step; ``items`` is ``None`` where they are counted as they come."""
    now, growing = tools.world.clock.monotonic, items is None
    return Progress(step, tools.emit, now, items or 0, size, growing=growing)
