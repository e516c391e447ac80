"""How often a step says how far it is."""

from __future__ import annotations

from batchspec.apply.context import Progress
from batchspec.apply.events import Event, StepProgress
from batchspec.plan.plan import Step, Verb


def counter(said: list[Event], *, items: int = 0, growing: bool = False) -> Progress:
    step = Step("download:output", None, Verb.DOWNLOAD, "results from output", "because")
    return Progress(step, said.append, lambda: 0.0, items, growing=growing)


def test_the_end_is_said_at_once() -> None:
    said: list[Event] = []
    so_far = counter(said, items=3)
    for _ in range(3):
        so_far.finish()
    assert said == [
        StepProgress("download:output", 1, 3, 0),
        StepProgress("download:output", 3, 3, 0),
    ]


def test_items_that_are_counted_as_they_come_are_not_said_one_by_one() -> None:
    said: list[Event] = []
    so_far = counter(said, growing=True)
    for _ in range(100):
        so_far.items += 1
        so_far.finish()
    so_far.end()
    assert said == [
        StepProgress("download:output", 1, 1, 0),
        StepProgress("download:output", 100, 100, 0),
    ]


def test_the_end_is_not_said_twice() -> None:
    said: list[Event] = []
    so_far = counter(said, growing=True)
    so_far.items += 1
    so_far.finish()
    so_far.end()
    assert said == [StepProgress("download:output", 1, 1, 0)]


def test_nothing_is_said_of_nothing() -> None:
    said: list[Event] = []
    counter(said, growing=True).end()
    assert said == []
