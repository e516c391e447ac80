"""The cells of the parts of a bar; rates; the throttle of reports."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.apply.events import NodesSeen
from batchspec.render.output import UNICODE
from batchspec.render.progress.live_tasks import node_parts, shares, strip
from batchspec.render.progress.state import Rate, Throttle
from tests.render.recordings import START

counts = st.lists(st.integers(0, 10**7), min_size=1, max_size=8)


@given(counts, st.integers(0, 300))
def test_shares_fill_the_bar(numbers: list[int], width: int) -> None:
    cells = shares(numbers, width)
    assert sum(cells) == (width if sum(numbers) else 0)
    assert all(cell >= 0 for cell in cells)
    assert all(cell == 0 for cell, count in zip(cells, numbers, strict=True) if not count)


@given(counts, st.integers(8, 300))
def test_every_part_has_a_cell(numbers: list[int], width: int) -> None:
    cells = shares(numbers, width)
    assert all(cell for cell, count in zip(cells, numbers, strict=True) if count)


@given(counts, st.integers(8, 300))
def test_a_larger_part_never_has_fewer_cells(numbers: list[int], width: int) -> None:
    cells = shares(numbers, width)
    for one, a in zip(numbers, cells, strict=True):
        for other, b in zip(numbers, cells, strict=True):
            assert one <= other or a >= b - 1


def test_one_failed_node_of_many_is_visible() -> None:
    parts = node_parts(NodesSeen("p", {"idle": 5000, "unusable": 1}, 5001), UNICODE)
    cells = dict(zip([p.name for p in parts], [n for _, n in strip(parts, 70)], strict=True))
    assert cells == {"idle": 69, "unusable": 1}


@pytest.mark.parametrize("state", ["startTaskFailed", "starttaskfailed"])
def test_the_case_of_a_state_does_not_matter(state: str) -> None:
    (part,) = node_parts(NodesSeen("p", {state: 2}, 2), UNICODE)
    assert (part.name, part.symbol) == ("start task failed", "!")


def test_an_unknown_state_is_shown_by_its_name() -> None:
    (part,) = node_parts(NodesSeen("p", {"meditating": 1}, 1), UNICODE)
    assert part.name == "meditating"


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


def test_rate_covers_the_last_30_seconds() -> None:
    rate = Rate()
    for second in range(100):
        rate.add(START + seconds(second), min(second, 50) * 10 + max(second - 50, 0) * 2)
    assert rate.per_second(START + seconds(99)) == pytest.approx(2, rel=0.1)
    assert rate.seconds_left(START + seconds(99), 798) == pytest.approx(100, rel=0.1)


def test_rate_keeps_few_samples() -> None:
    rate = Rate()
    for number in range(100_000):
        rate.add(START + seconds(number / 1000), number)
    assert len(rate._samples) < 100
    assert rate.per_second(START + seconds(100)) == pytest.approx(1000, rel=0.05)


def test_rate_ignores_short_gaps_between_samples() -> None:
    rate = Rate()
    rate.add(START, 0)
    rate.add(START + seconds(60), 600)
    assert rate.per_second(START + seconds(110)) == 10
    assert rate.per_second(START + seconds(540)) == pytest.approx(600 / 540)


def test_rate_is_unknown_at_first() -> None:
    rate = Rate()
    assert rate.per_second(START) is None
    rate.add(START, 0)
    rate.add(START + seconds(0.3), 50)
    assert rate.per_second(START + seconds(0.3)) is None
    assert rate.seconds_left(START, 10) is None


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


def test_throttle_reports_less_often_in_a_long_run() -> None:
    throttle = Throttle(START)
    hour = range(3600, 7200)
    said = [second for second in hour if throttle.due("x", START + seconds(second), 0)]
    assert len(said) == 60
