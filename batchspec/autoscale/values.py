"""The values of a formula: their operators (the documented table), methods, and functions.

A double is a ``float``, a doubleVec a ``tuple``.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TypeAlias

from batchspec.frozen import frozen

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MAX_TICKS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) * 10
SECOND = 10_000_000.0
"""Ticks of a second; a tick is 100 ns."""
MEMBERS = ("year", "month", "day", "weekday", "hour", "minute", "second")
"""The members of a timestamp."""
MAX_LENGTH = 100_000
"""The maximum length of a vector; no limit is documented."""


class FormulaValueError(Exception):
    """Values cannot be combined; the text is the reason."""


@frozen
class Interval:
    """A timeinterval."""

    ticks: float


@frozen
class Timestamp:
    """A time in whole ticks since the year 1; a double is not exact enough."""

    ticks: int

    @classmethod
    def of(cls, moment: datetime) -> Timestamp:
        """The timestamp of ``moment``, which is aware."""
        return cls.at((moment - _EPOCH) // timedelta(microseconds=1) * 10)

    @classmethod
    def at(cls, ticks: int) -> Timestamp:
        """The timestamp at ``ticks``.

        Raises:
            FormulaValueError: it is outside the calendar.
        """
        if not 0 <= ticks < _MAX_TICKS:
            raise FormulaValueError("The timestamp is out of range")
        return cls(ticks)

    def member(self, name: str) -> float:
        """``year``, ``month``, ``day``, ``weekday``, ``hour``, ``minute`` or ``second``.

        Raises:
            FormulaValueError: there is no such member.
        """
        moment = _EPOCH + timedelta(microseconds=self.ticks // 10)
        if name == "weekday":
            # In the service, Sunday is 0; in the documentation, Monday is 1.
            return float(moment.isoweekday() % 7)
        if name not in MEMBERS:
            raise FormulaValueError(f"A timestamp has no member '{name}'")
        return float(getattr(moment, name))


@frozen
class Series:
    """The samples of a metric, oldest first, each with its time."""

    name: str
    samples: tuple[tuple[Timestamp, float], ...]


Vector: TypeAlias = tuple[float, ...]
Value: TypeAlias = float | Vector | str | Interval | Timestamp | Series

_TYPE_NAMES: Mapping[type, str] = {
    float: "double",
    tuple: "doubleVec",
    str: "string",
    Interval: "timeinterval",
    Timestamp: "timestamp",
    Series: "metric",
}


def divide(left: float, right: float) -> float:
    """Division by IEEE 754: division by zero is an infinity, or not a number."""
    if right != 0:
        return left / right
    if left == 0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


_ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": divide,
}
_ORDER: Mapping[str, Callable[[float | str, float | str], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    ">=": operator.ge,
    ">": operator.gt,
    "!=": operator.ne,
}


def type_name(value: Value) -> str:
    """The name of a value's type in the language."""
    return _TYPE_NAMES[type(value)]


def last_sample(value: Value) -> Value:
    """``value``; a metric that is used as a number is its last sample.

    Raises:
        FormulaValueError: the metric has no sample.
    """
    if not isinstance(value, Series):
        return value
    if not value.samples:
        raise FormulaValueError(f"There is no sample of ${value.name}")
    return value.samples[-1][1]


def truth(value: Value) -> bool:
    """Whether a double is not zero.

    Raises:
        FormulaValueError: the value is not a double.
    """
    value = last_sample(value)
    if not isinstance(value, float):
        raise FormulaValueError(f"A double is needed, not a {type_name(value)}")
    return value != 0


def apply_unary(mark: str, value: Value) -> Value:
    """``-value`` or ``!value``.

    Raises:
        FormulaValueError: the operator is not defined for the value.
    """
    value = last_sample(value)
    if mark == "!" and isinstance(value, float):
        return float(value == 0)
    if mark == "-" and isinstance(value, float):
        return -value
    if mark == "-" and isinstance(value, Interval):
        return Interval(-value.ticks)
    raise FormulaValueError(f"Operator {mark} is not defined for {type_name(value)}")


def apply_binary(mark: str, left: Value, right: Value) -> Value:
    """``left`` and ``right`` combined by an operator that needs both.

    Raises:
        FormulaValueError: the operator is not defined for them, or the result is out of range.
    """
    left, right = last_sample(left), last_sample(right)
    if mark in _ORDER:
        order = _comparable(left, right)
        if order is not None:
            return float(_ORDER[mark](*order))
    else:
        result = _arithmetic(mark, left, right)
        if result is not None:
            return result
    raise FormulaValueError(
        f"Operator {mark} is not defined for {type_name(left)} and {type_name(right)}"
    )


def _comparable(left: Value, right: Value) -> tuple[float, float] | tuple[str, str] | None:
    if isinstance(left, float) and isinstance(right, float):
        return left, right
    if isinstance(left, str) and isinstance(right, str):
        return left, right
    if isinstance(left, Interval) and isinstance(right, Interval):
        return left.ticks, right.ticks
    if isinstance(left, Timestamp) and isinstance(right, Timestamp):
        return left.ticks, right.ticks
    return None


def _arithmetic(mark: str, left: Value, right: Value) -> Value | None:
    compute = _ARITHMETIC[mark]
    if isinstance(left, float) and isinstance(right, float):
        return compute(left, right)
    if isinstance(left, tuple):
        return _vector_arithmetic(compute, left, right)
    return _time_arithmetic(mark, left, right)


def _vector_arithmetic(
    compute: Callable[[float, float], float], left: Vector, right: Value
) -> Vector | None:
    if isinstance(right, float):
        return tuple(compute(item, right) for item in left)
    if not isinstance(right, tuple):
        return None
    if len(left) != len(right):
        raise FormulaValueError("The vectors differ in length")
    return tuple(map(compute, left, right))


def _time_arithmetic(  # noqa: PLR0911  one for each line of the documented table
    mark: str, left: Value, right: Value
) -> Value | None:
    compute = _ARITHMETIC[mark]
    match left, mark, right:
        case float(), "*", Interval():
            return Interval(left * right.ticks)
        case Interval(), "*" | "/", float():
            return Interval(compute(left.ticks, right))
        case Interval(), "+" | "-", Interval():
            return Interval(compute(left.ticks, right.ticks))
        case Interval(), "+", Timestamp():
            return Timestamp.at(_whole_ticks(left) + right.ticks)
        case Timestamp(), "+", Interval():
            return Timestamp.at(left.ticks + _whole_ticks(right))
        case Timestamp(), "-", Interval():
            return Timestamp.at(left.ticks - _whole_ticks(right))
        case Timestamp(), "-", Timestamp():
            return Interval(float(left.ticks - right.ticks))
    return None


def _whole_ticks(value: Interval) -> int:
    if not math.isfinite(value.ticks):
        raise FormulaValueError("The timeinterval is not finite")
    return round(value.ticks)


def flatten(values: tuple[Value, ...]) -> Vector:
    """A doubleVecList as one vector.

    Raises:
        FormulaValueError: a value is neither a double nor a doubleVec, or there are too many.
    """
    items: list[float] = []
    for value in map(last_sample, values):
        if isinstance(value, float):
            items.append(value)
        elif isinstance(value, tuple):
            items += value
        else:
            raise FormulaValueError(f"A double or a doubleVec is needed, not a {type_name(value)}")
        if len(items) > MAX_LENGTH:
            raise FormulaValueError(f"A vector can have at most {MAX_LENGTH} values")
    return tuple(items)


Function: TypeAlias = Callable[[tuple[Value, ...]], Value]


def _reduction(name: str, compute: Callable[[Vector], float]) -> Function:
    """A function of a doubleVecList with at least one value."""

    def call(arguments: tuple[Value, ...]) -> Value:
        items = flatten(arguments)
        if not items:
            raise FormulaValueError(f"{name} needs at least one value")
        return float(compute(items))

    return call


def _elementwise(name: str, compute: Callable[[float], float]) -> Function:
    """A function of a double, or of each value of a list."""

    def call(arguments: tuple[Value, ...]) -> Value:
        if len(arguments) == 1 and isinstance(value := last_sample(arguments[0]), float):
            return _logarithm(compute, value)
        if not arguments:
            raise FormulaValueError(f"{name} needs an argument")
        return tuple(_logarithm(compute, item) for item in flatten(arguments))

    return call


def _logarithm(compute: Callable[[float], float], value: float) -> float:
    """A logarithm by IEEE 754: minus infinity for zero, not a number below zero."""
    if value > 0:
        return compute(value)
    return -math.inf if value == 0 else math.nan


def _len(arguments: tuple[Value, ...]) -> Value:
    return float(len(flatten(arguments)))


def _sum(arguments: tuple[Value, ...]) -> Value:
    return _total(flatten(arguments))


def _total(items: Vector) -> float:
    """The sum, rounded once; for infinities as IEEE 754 defines it."""
    return math.fsum(items) if all(map(math.isfinite, items)) else sum(items)


def _deviation(items: Vector) -> float:
    """The sample standard deviation: 0 for one value, not a number if a value is infinite."""
    if not all(map(math.isfinite, items)):
        return math.nan
    return statistics.stdev(items) if len(items) > 1 else 0.0


def _vec(arguments: tuple[Value, ...]) -> Value:
    return flatten(arguments)


def _vector_and_number(name: str, arguments: tuple[Value, ...]) -> tuple[Vector, float]:
    if len(arguments) == 2 and isinstance(number := last_sample(arguments[1]), float):
        return flatten(arguments[:1]), number
    raise FormulaValueError(f"{name} needs a doubleVec and a double")


def _percentile(arguments: tuple[Value, ...]) -> Value:
    items, percent = _vector_and_number("percentile", arguments)
    if not items or not 0 <= percent <= 100:
        raise FormulaValueError("percentile needs values, and a percentage from 0 to 100")
    rank = max(1, math.ceil(percent / 100 * len(items)))
    return sorted(items)[rank - 1]


def _val(arguments: tuple[Value, ...]) -> Value:
    items, index = _vector_and_number("val", arguments)
    if not 0 <= index < len(items):
        raise FormulaValueError(f"The vector has no element {index:g}")
    return items[int(index)]


def parse_time(text: str) -> Timestamp:
    """A W3C-DTF or RFC 1123 time; without a time zone it is UTC.

    Raises:
        FormulaValueError: the text is neither, or is outside the calendar.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except (ValueError, TypeError, IndexError, OverflowError):
            raise FormulaValueError(f"'{text}' is not a time") from None
    return Timestamp.of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def functions(now: Timestamp, rand: Callable[[], float]) -> Mapping[str, Function]:
    """All functions except ``stop``; ``rand`` returns numbers from 0 to 1."""

    def time(arguments: tuple[Value, ...]) -> Value:
        if not arguments or arguments == ("",):
            return now
        if len(arguments) == 1 and isinstance(arguments[0], str):
            return parse_time(arguments[0])
        raise FormulaValueError(f"time needs a string, not a {type_name(arguments[0])}")

    def random(arguments: tuple[Value, ...]) -> Value:
        if arguments:
            raise FormulaValueError("rand takes no argument")
        return rand()

    return {**_FUNCTIONS, "time": time, "rand": random}


_FUNCTIONS: Mapping[str, Function] = {
    "avg": _reduction("avg", lambda items: _total(items) / len(items)),
    "len": _len,
    "lg": _elementwise("lg", math.log2),
    "ln": _elementwise("ln", math.log),
    "log": _elementwise("log", math.log10),
    "max": _reduction("max", max),
    "min": _reduction("min", min),
    "norm": _reduction("norm", lambda items: math.hypot(*items)),
    "percentile": _percentile,
    "range": _reduction("range", lambda items: max(items) - min(items)),
    "std": _reduction("std", _deviation),
    "sum": _sum,
    "val": _val,
    "vec": _vec,
}

PERIOD = Interval(30 * SECOND)
"""The time between two samples."""

Method: TypeAlias = Callable[[Series, tuple[Value, ...], Timestamp], Value]


def call_method(series: Series, name: str, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    """``$Metric.name(arguments)``.

    Raises:
        FormulaValueError: there is no such method, its arguments are wrong, or samples are missing.
    """
    method = METHODS.get(name)
    if method is None:
        raise FormulaValueError(f"A metric has no method '{name}'")
    return method(series, arguments, now)


def _get_sample(series: Series, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    if len(arguments) == 1 and isinstance(count := arguments[0], float):
        wanted = int(count) if 0 < count < len(series.samples) else len(series.samples)
        return tuple(value for _, value in series.samples[-wanted:]) if count >= 1 else ()
    times, percent = arguments, 0.0
    if len(arguments) > 1 and isinstance(arguments[-1], float):
        times, percent = arguments[:-1], arguments[-1]
    first, last = _time_window(times, now)
    there = _samples_between(series, first, last)
    known = _sample_percent(len(there), first, last)
    if known < percent:
        raise FormulaValueError(
            f"Only {known:g} percent of the samples of ${series.name} exist, "
            f"{percent:g} percent are required"
        )
    return there


def _get_sample_percent(series: Series, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    first, last = _time_window(arguments, now)
    return _sample_percent(len(_samples_between(series, first, last)), first, last)


def _get_sample_period(_series: Series, arguments: tuple[Value, ...], _now: Timestamp) -> Value:
    _require_no_arguments(arguments)
    return PERIOD


def _count(series: Series, arguments: tuple[Value, ...], _now: Timestamp) -> Value:
    _require_no_arguments(arguments)
    return float(len(series.samples))


def _history_begin_time(series: Series, arguments: tuple[Value, ...], now: Timestamp) -> Value:
    _require_no_arguments(arguments)
    return series.samples[0][0] if series.samples else now


METHODS: Mapping[str, Method] = {
    "GetSample": _get_sample,
    "GetSamplePercent": _get_sample_percent,
    "GetSamplePeriod": _get_sample_period,
    "Count": _count,
    "HistoryBeginTime": _history_begin_time,
}


def _require_no_arguments(arguments: tuple[Value, ...]) -> None:
    if arguments:
        raise FormulaValueError("The method takes no argument")


def _time_window(times: tuple[Value, ...], now: Timestamp) -> tuple[float, float]:
    """The window of one or two times; an interval counts back from now."""
    ticks = []
    for time in times:
        if isinstance(time, Interval):
            ticks.append(now.ticks - time.ticks)
        elif isinstance(time, Timestamp):
            ticks.append(time.ticks)
        else:
            raise FormulaValueError(
                f"A timestamp or timeinterval is required, not a {type_name(time)}"
            )
    if len(ticks) not in (1, 2):
        raise FormulaValueError("One or two times are required")
    ((first, last),) = pairwise(sorted([*ticks, now.ticks][:2]))
    return first, last


def _samples_between(series: Series, first: float, last: float) -> tuple[float, ...]:
    return tuple(value for at, value in series.samples if first < at.ticks <= last)


def _sample_percent(there: int, first: float, last: float) -> float:
    """The percentage of the samples of a window that exist."""
    possible = max(1, int((last - first) // PERIOD.ticks))
    return min(100.0, 100.0 * there / possible)
