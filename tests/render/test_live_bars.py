"""How many cells each part of a bar gets; how fast, and how often."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.apply.events import NodesSeen
from batchspec.render.progress.live_bars import node_parts, shares, strip
from batchspec.render.progress.rate import Rate, Throttle
from batchspec.render.symbols import UNICODE
from tests.render.recordings import START

counts = st.lists(st.integers(0, 10**7), min_size=1, max_size=8)


@given(counts, st.integers(0, 300))
def test_shares_fill_the_bar(numbers: list[int], width: int) -> None:
    cells = shares(numbers, width)
    assert sum(cells) == (width if sum(numbers) else 0)
    assert all(cell >= 0 for cell in cells)
    assert all(cell == 0 for cell, count in zip(cells, numbers, strict=True) if not count)


@given(counts, st.integers(8, 300))
def test_what_is_there_is_seen(numbers: list[int], width: int) -> None:
    cells = shares(numbers, width)
    assert all(cell for cell, count in zip(cells, numbers, strict=True) if count)


@given(counts, st.integers(8, 300))
def test_more_never_gets_less(numbers: list[int], width: int) -> None:
    cells = shares(numbers, width)
    for one, a in zip(numbers, cells, strict=True):
        for other, b in zip(numbers, cells, strict=True):
            assert one <= other or a >= b - 1


def test_one_failed_node_of_many_is_seen() -> None:
    parts = node_parts(NodesSeen("p", {"idle": 5000, "unusable": 1}, 5001), UNICODE)
    cells = dict(zip([p.name for p in parts], [n for _, n in strip(parts, 70)], strict=True))
    assert cells == {"idle": 69, "unusable": 1}


@pytest.mark.parametrize("state", ["startTaskFailed", "starttaskfailed"])
def test_the_case_of_a_state_does_not_matter(state: str) -> None:
    (part,) = node_parts(NodesSeen("p", {state: 2}, 2), UNICODE)
    assert (part.name, part.sign) == ("start task failed", UNICODE.node_failed)


def test_a_state_that_nobody_knows_is_shown_by_its_name() -> None:
    (part,) = node_parts(NodesSeen("p", {"meditating": 1}, 1), UNICODE)
    assert part.name == "meditating"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_pace_is_of_the_last_half_minute() -> None:
    pace = Rate()
    for second in range(100):
        pace.see(START + seconds(second), min(second, 50) * 10 + max(second - 50, 0) * 2)
    assert pace.rate(START + seconds(99)) == pytest.approx(2, rel=0.1)
    assert pace.left(START + seconds(99), 798) == pytest.approx(100, rel=0.1)


def test_pace_keeps_few_samples() -> None:
    pace = Rate()
    for number in range(100_000):
        pace.see(START + seconds(number / 1000), number)
    assert len(pace._samples) < 100
    assert pace.rate(START + seconds(100)) == pytest.approx(1000, rel=0.05)


def test_pace_between_rare_looks_is_not_a_standstill() -> None:
    pace = Rate()
    pace.see(START, 0)
    pace.see(START + seconds(60), 600)
    assert pace.rate(START + seconds(110)) == 10
    assert pace.rate(START + seconds(540)) == pytest.approx(600 / 540)


def test_nobody_knows_the_pace_at_first() -> None:
    pace = Rate()
    assert pace.rate(START) is None
    pace.see(START, 0)
    pace.see(START + seconds(0.3), 50)
    assert pace.rate(START + seconds(0.3)) is None
    assert pace.left(START, 10) is None


def test_throttle() -> None:
    throttle = Throttle(START)
    said = [
        second / 10
        for second in range(400)
        if throttle.due("x", START + seconds(second / 10), second / 4000)
    ]
    assert said == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0, 35.0]
    assert throttle.due("y", START + seconds(40), 0)
    assert not throttle.due("y", START + seconds(40.5), 0.9), "never twice within a second"
    assert throttle.due("y", START + seconds(41), 0.9), "a tenth more is news"


def test_throttle_speaks_less_as_hours_pass() -> None:
    throttle = Throttle(START)
    hour = range(3600, 7200)
    said = [second for second in hour if throttle.due("x", START + seconds(second), 0)]
    assert len(said) == 60
