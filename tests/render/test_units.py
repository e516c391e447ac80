"""Numbers as text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.render import units, wrap


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "0.98 KiB"),
        (1024, "1.0 KiB"),
        (1229, "1.2 KiB"),
        (102_300, "99.9 KiB"),
        (1024 * 999.6, "0.98 MiB"),
        (1024**2, "1.0 MiB"),
        (123_456_789, "118 MiB"),
        (20 * 1024**3, "20.0 GiB"),
        (5 * 1024**5, "5.0 PiB"),
        (5000 * 1024**5, "5,000 PiB"),
    ],
)
def test_size(count: float, text: str) -> None:
    assert units.size(count) == text


@given(st.integers(0, 2**59))
def test_a_size_has_few_digits(count: int) -> None:
    number = units.size(count).split()[0]
    assert len(re.sub(r"\D", "", number)) <= 3
    assert "," not in number


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0s"),
        (0.04, "0.0s"),
        (9.94, "9.9s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.6, "1m 00s"),
        (200, "3m 20s"),
        (3599.9, "1h 00m"),
        (7500, "2h 05m"),
        (86_399.9, "1d 00h"),
        (3 * 86_400 + 4 * 3600, "3d 04h"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert units.duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (1800, "30m"), (5400, "1h 30m"), (604_800, "7d"), (90_061, "1d 1h 1m 1s")],
)
def test_limit(seconds: float, text: str) -> None:
    assert units.limit(seconds) == text


def test_rates() -> None:
    assert units.rate(12.34, "files") == "12.3 files/s"
    assert units.rate(0.05, "tasks") == "3.0 tasks/min"
    assert units.rate(12_345, "tasks") == "12,345 tasks/s"
    assert units.byte_rate(4.1 * 1024**2) == "4.1 MiB/s"


def test_amount() -> None:
    assert units.amount(12_900_000, 21_000_000) == "12.3/20.0 MiB"
    assert units.amount(5, 21_000_000) == "5 B/20.0 MiB"
    assert units.amount(5, None) == "5 B"


def test_percent_is_100_only_at_the_end() -> None:
    assert units.percent(999_999, 1_000_000) == 99
    assert units.percent(1, 1) == units.percent(0, 0) == 100


def test_lists() -> None:
    assert units.counted(1, "file") == "1 file"
    assert units.counted(1000, "file") == "1,000 files"
    assert units.counted(2, "entry", "entries") == "2 entries"
    assert units.listed([]) == ""
    assert units.listed(["a"]) == "a"
    assert units.listed(["a", "b", "c"]) == "a, b and c"
    assert units.listed([str(n) for n in range(9)]) == "0, 1, 2, 3 and 5 more"
    assert units.clock(3) == "00:03"
    assert units.clock(3723.9) == "1:02:03"


@pytest.mark.parametrize("width", [20, 40, 60])
def test_wrapping_never_breaks_a_command(width: int) -> None:
    text = (
        "Fix the start task and apply again; `batchspec logs --start-task NODE` shows its output."
    )
    lines = wrap(text, width, first="- ", rest="  ")
    assert any("`batchspec logs --start-task NODE`" in line for line in lines)
    assert all(len(line) <= width or "`" in line for line in lines)
