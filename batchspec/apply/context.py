"""What a step is given, and what it returns. Nothing is done here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batchspec.apply.events import Emit, Outcome, StepProgress
from batchspec.apply.monitor import Monitor
from batchspec.apply.ports import World
from batchspec.apply.submitted_ids import SubmittedIds
from batchspec.apply.upload_progress import UploadProgress
from batchspec.plan import Step


@dataclass(frozen=True, slots=True)
class StepContext:
    """A step, and what all steps of a run share.

    ``monitor`` watches the pool and the job for every wait. ``receipt`` is the file that lists the
    results on this disk. ``verified_later`` are the jobs for which a later step verifies
    ``submitted``. ``incomplete`` are the jobs whose tasks did not write their required outputs.
    """

    step: Step
    world: World
    emit: Emit
    receipt: Path
    monitor: Monitor
    uploads: UploadProgress
    submitted: SubmittedIds
    verified_later: frozenset[str]
    incomplete: set[str]

    def progress(self, *, items: int | None, size: int | None = None) -> Progress:
        """A progress counter; ``items`` is ``None`` if they are counted as they are found."""
        now, growing = self.world.clock.monotonic, items is None
        return Progress(self.step, self.emit, now, items or 0, size, growing=growing)


@dataclass(frozen=True, slots=True)
class StepResult:
    """How a step that did not fail ended.

    ``outcome`` is set if the run cannot succeed any more although the step itself is done: tasks
    failed, or the time limit has passed. ``created`` is false if the object existed already.
    """

    items: int = 1
    size: int | None = None
    note: str = ""
    outcome: Outcome | None = None
    created: bool = True


@dataclass(slots=True)
class Progress:
    """Counts the items and bytes of a step; emits at most every ``every`` seconds and at the end.

    With ``growing``, items are counted as they are found, so that ``done == items`` is not the end;
    call :meth:`end` when no more will be found.
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
    _emitted_at: float = field(default=float("-inf"), init=False)
    _emitted: tuple[int, int] = field(default=(0, 0), init=False)

    def move(self, count: int) -> None:
        """Add ``count`` transferred bytes."""
        self.moved += count
        self._emit()

    def finish(self, count: int = 1) -> None:
        """Add ``count`` finished items."""
        self.done += count
        self._emit()

    def end(self) -> None:
        """No more items will be found."""
        self.growing = False
        if self.done and (self.done, self.moved) != self._emitted:
            self._emit()

    def _emit(self) -> None:
        now = self.now()
        ended = self.done == self.items and not self.growing
        if now - self._emitted_at >= self.every or ended:
            self._emitted_at, self._emitted = now, (self.done, self.moved)
            self.emit(StepProgress(self.step.id, self.done, self.items, self.moved, self.size))
