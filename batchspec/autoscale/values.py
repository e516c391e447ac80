"""The values of a formula and the operators on them.

The table of operators is the documented one. A double is a ``float``, a doubleVec a ``tuple``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from batchspec.frozen import frozen

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MAX_TICKS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1) * 10
SECOND = 10_000_000.0
"""Ticks of a second; a tick is 100 ns."""
MEMBERS = ("year", "month", "day", "weekday", "hour", "minute", "second")
"""The members of a timestamp."""
MAX_LENGTH = 100_000
"""The largest length of a vector; no limit is documented."""


class FormulaValueError(Exception):
    """Values do not go together; the text says why."""


@frozen
class Interval:
    """A timeinterval."""

    ticks: float


@frozen
class Timestamp:
    """A time in whole ticks since the year 1, which a double could not count exactly."""

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
            # Sunday is 0 where the service runs; the page gives Monday as 1.
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
