"""The methods of metrics: samples of a time, and how many of them there are.

A sample is taken every 30 seconds. What the service takes from a minute to propagate is there at
once here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import TypeAlias

from batchspec.local.autoscale.values import (
    SECOND,
    Interval,
    Series,
    Timestamp,
    Value,
    ValueFault,
    kind_of,
)

PERIOD = Interval(30 * SECOND)
"""The time between two samples."""

Method: TypeAlias = Callable[[Series, tuple[Value, ...], Timestamp], Value]


def call_method(series: Series, name: str, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    """``$Metric.name(arguments)``.

    Raises:
        ValueFault: there is no such method, its arguments are not right, or too few samples are
            there.
    """
    method = _METHODS.get(name)
    if method is None:
        raise ValueFault(f"A metric has no method '{name}'")
    return method(series, arguments, now)


def _get_sample(series: Series, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    if len(arguments) == 1 and isinstance(count := arguments[0], float):
        wanted = int(count) if 0 < count < len(series.samples) else len(series.samples)
        return tuple(value for _, value in series.samples[-wanted:]) if count >= 1 else ()
    times, percent = arguments, 0.0
    if len(arguments) > 1 and isinstance(arguments[-1], float):
        times, percent = arguments[:-1], arguments[-1]
    first, last = _window(times, now)
    there = _within(series, first, last)
    known = _percent(len(there), first, last)
    if known < percent:
        raise ValueFault(
            f"Only {known:g} percent of the samples of ${series.name} are there, "
            f"{percent:g} are needed"
        )
    return there


def _get_sample_percent(series: Series, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    first, last = _window(arguments, now)
    return _percent(len(_within(series, first, last)), first, last)


def _get_sample_period(_series: Series, arguments: tuple[Value, ...], _now: Timestamp) -> Value:
    _none(arguments)
    return PERIOD


def _count(series: Series, arguments: tuple[Value, ...], _now: Timestamp) -> Value:
    _none(arguments)
    return float(len(series.samples))


def _history_begin_time(series: Series, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    _none(arguments)
    return series.samples[0][0] if series.samples else now


_METHODS: Mapping[str, Method] = {
    "GetSample": _get_sample,
    "GetSamplePercent": _get_sample_percent,
    "GetSamplePeriod": _get_sample_period,
    "Count": _count,
    "HistoryBeginTime": _history_begin_time,
}


def _none(arguments: tuple[Value, ...]) -> None:
    if arguments:
        raise ValueFault("The method takes no argument")


def _window(times: tuple[Value, ...], now: Timestamp) -> tuple[float, float]:
    """The span of one or two times; an interval counts back from now."""
    ticks = []
    for time in times:
        if isinstance(time, Interval):
            ticks.append(now.ticks - time.ticks)
        elif isinstance(time, Timestamp):
            ticks.append(time.ticks)
        else:
            raise ValueFault(f"A timestamp or a timeinterval is needed, not a {kind_of(time)}")
    if len(ticks) not in (1, 2):
        raise ValueFault("One or two times are needed")
    ((first, last),) = pairwise(sorted([*ticks, now.ticks][:2]))
    return first, last


def _within(series: Series, first: float, last: float) -> tuple[float, ...]:
    return tuple(value for at, value in series.samples if first < at.ticks <= last)


def _percent(there: int, first: float, last: float) -> float:
    """How many of the samples that a span can have are there, in per cent."""
    possible = max(1, int((last - first) // PERIOD.ticks))
    return min(100.0, 100.0 * there / possible)
