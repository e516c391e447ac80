"""How often the progress of a step is emitted."""

from __future__ import annotations

from batchspec.apply.context import Progress
from batchspec.apply.events import Event, StepProgress
from batchspec.plan import Step, Verb


def counter(emitted: list[Event], *, items: int = 0, growing: bool = False) -> Progress:
    step = Step("download:output", None, Verb.DOWNLOAD, "results from output", "because")
    return Progress(step, emitted.append, lambda: 0.0, items, growing=growing)


def test_the_end_is_emitted_at_once() -> None:
    emitted: list[Event] = []
    progress = counter(emitted, items=3)
    for _ in range(3):
        progress.finish()
    assert emitted == [
        StepProgress("download:output", 1, 3, 0),
        StepProgress("download:output", 3, 3, 0),
    ]


def test_growing_items_are_not_emitted_one_by_one() -> None:
    emitted: list[Event] = []
    progress = counter(emitted, growing=True)
    for _ in range(100):
        progress.items += 1
        progress.finish()
    progress.end()
    assert emitted == [
        StepProgress("download:output", 1, 1, 0, growing=True),
        StepProgress("download:output", 100, 100, 0),
    ]


def test_the_end_is_emitted_once() -> None:
    emitted: list[Event] = []
    progress = counter(emitted, growing=True)
    progress.items += 1
    progress.finish()
    progress.end()
    assert emitted == [StepProgress("download:output", 1, 1, 0, growing=True)]


def test_no_items_emit_nothing() -> None:
    emitted: list[Event] = []
    counter(emitted, growing=True).end()
    assert emitted == []
