"""The formulas of ``nodes: {scale: ...}``, evaluated over samples and over times of the week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from batchspec.autoscale import FormulaInputs, Series, Timestamp, evaluate, parse
from batchspec.spec import Scale, Scenario, read_spec, scale_bounds

MONDAY = datetime(2026, 3, 2, 12, tzinfo=UTC)
IDLE = timedelta(minutes=10)


def targets(
    scale: Scale, now: datetime = MONDAY, metrics: Mapping[str, Sequence[float]] | None = None
) -> tuple[int, int]:
    """The targets of a formula of :class:`Scale`."""
    return evaluated(scale.formula, now, metrics)


def evaluated(
    formula: str, now: datetime = MONDAY, metrics: Mapping[str, Sequence[float]] | None = None
) -> tuple[int, int]:
    """The targets of a formula; each metric has a sample every 30 seconds, the newest last."""
    series = {}
    for name, values in (metrics or {}).items():
        times = [now - timedelta(seconds=30 * back) for back in reversed(range(len(values)))]
        samples = zip(map(Timestamp.of, times), values, strict=True)
        series[name] = Series(name, tuple(samples))
    found = evaluate(parse(formula), FormulaInputs(Timestamp.of(now), 0, 0, series, lambda: 0.5))
    assert found.error is None, found.error
    return found.dedicated, found.spot


def tasks(values: Sequence[float], spot: Sequence[float] = ()) -> dict[str, Sequence[float]]:
    return {
        "PendingTasks": values,
        "ActiveTasks": values,
        "CurrentLowPriorityNodes": spot or [0] * len(values),
    }


WHOLE = 21
"""Samples within :data:`IDLE`."""


@pytest.mark.parametrize("scenario", [Scenario.PENDING_TASKS, Scenario.ACTIVE_TASKS])
def test_nodes_follow_the_tasks(scenario: Scenario) -> None:
    scale = Scale(1, 4, 3, IDLE, 2, scenario=scenario)
    assert targets(scale, metrics=tasks([0] * WHOLE)) == (1, 0)
    assert targets(scale, metrics=tasks([5] * WHOLE)) == (3, 0)
    assert targets(scale, metrics=tasks([100] * WHOLE)) == (4, 3)


def test_nodes_stay_for_a_quarter_of_an_hour_without_tasks(tmp_path: Path) -> None:
    """The formula of a pool whose end the spec does not set."""
    path = tmp_path / "spec.yaml"
    path.write_text(ENDS_WITH_ITS_WORK)
    formula = read_spec(path).pool.properties["autoScaleFormula"]
    assert isinstance(formula, str)
    quarter = 30  # samples
    assert evaluated(formula, metrics={"PendingTasks": []}) == (3, 2)
    assert evaluated(formula, metrics={"PendingTasks": [0]}) == (3, 2)
    assert evaluated(formula, metrics={"PendingTasks": [1] * quarter}) == (3, 2)
    assert evaluated(formula, metrics={"PendingTasks": [1, *[0] * (quarter - 1)]}) == (3, 2)
    assert evaluated(formula, metrics={"PendingTasks": [0] * quarter}) == (0, 0)
    assert evaluated(formula, metrics={"PendingTasks": [*[0] * quarter, 1]}) == (3, 2)
    assert scale_bounds(formula) == (0, 5)


ENDS_WITH_ITS_WORK = """\
version: 1
name: demo
pool: {vm_size: standard_d2s_v5, nodes: {dedicated: 3, spot: 2}, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks: {run: {command: hostname}}
"""


def test_spot_nodes_first() -> None:
    scale = Scale(0, 5, 10, IDLE, 1, prefers_spot=True)
    # New tasks: the formula waits for Spot nodes.
    assert targets(scale, metrics=tasks([*[0] * (WHOLE - 1), 8])) == (0, 8)
    # A new pool has no samples for the whole interval.
    assert targets(scale, metrics=tasks([8])) == (0, 8)
    # No Spot nodes were allocated: dedicated nodes, up to their maximum.
    assert targets(scale, metrics=tasks([8] * WHOLE)) == (5, 8)
    # Some Spot nodes were allocated.
    assert targets(scale, metrics=tasks([8] * WHOLE, [6] * WHOLE)) == (2, 8)
    # All Spot nodes were allocated.
    assert targets(scale, metrics=tasks([8] * WHOLE, [8] * WHOLE)) == (0, 8)
    # More tasks than the maximum of Spot nodes.
    assert targets(scale, metrics=tasks([12] * WHOLE, [10] * WHOLE)) == (2, 10)


def at(day: int, hour: int) -> datetime:
    """A time of the week; 0 is Sunday."""
    return datetime(2026, 3, 1 + day, hour, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("scenario", "monday_noon", "monday_night", "sunday_noon"),
    [
        (Scenario.WORKDAY, (8, 4), (1, 0), (1, 0)),
        (Scenario.WORKDAY_WITH_OFFPEAK, (8, 0), (1, 4), (1, 4)),
        (Scenario.WEEKDAY, (8, 4), (8, 4), (1, 0)),
        (Scenario.WEEKEND, (1, 0), (1, 0), (8, 4)),
    ],
)
def test_nodes_follow_the_time(
    scenario: Scenario,
    monday_noon: tuple[int, int],
    monday_night: tuple[int, int],
    sunday_noon: tuple[int, int],
) -> None:
    scale = Scale(1, 8, 4, IDLE, 1, scenario=scenario)
    assert targets(scale, at(1, 12)) == monday_noon
    assert targets(scale, at(1, 22)) == monday_night
    assert targets(scale, at(0, 12)) == sunday_noon
    every = [targets(scale, at(day, hour)) for day in range(7) for hour in range(24)]
    assert scale_bounds(scale.formula) == (min(map(sum, every)), max(map(sum, every)))


def test_working_days_and_hours() -> None:
    scale = Scale(0, 2, 0, IDLE, 1, scenario=Scenario.WORKDAY, days=(0, 4), hours=(6, 7))
    busy = {
        (day, hour) for day in range(7) for hour in range(24) if targets(scale, at(day, hour))[0]
    }
    assert busy == {(day, 6) for day in range(5)}
