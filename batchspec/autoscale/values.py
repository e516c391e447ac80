"""The values of a formula, and what operators make of them.

The table of operators is the documented one. A double is a ``float``, a doubleVec a ``tuple``.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
SECOND = 10_000_000.0
"""Ticks in a second; a tick is 100 ns."""
MAX_LENGTH = 100_000
"""How long a vector may grow; no limit is documented."""


class FormulaValueError(Exception):
    """Values do not go together; the text says why."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A timeinterval."""

    ticks: float


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A moment, in whole ticks since the year 1: more than a double can count."""

    ticks: int

    @classmethod
    def of(cls, moment: datetime) -> Timestamp:
        """The timestamp of an aware ``moment``."""
        return cls((moment - _EPOCH) // timedelta(microseconds=1) * 10)

    def member(self, name: str) -> float:
        """``year``, ``month``, ``day``, ``weekday``, ``hour``, ``minute`` or ``second``.

        Raises:
            ValueFault: it has no such member, or is beyond the calendar.
        """
        try:
            moment = _EPOCH + timedelta(microseconds=self.ticks // 10)
        except OverflowError:
            raise FormulaValueError("The timestamp is out of range") from None
        if name == "weekday":
            # Sunday is 0 where the service runs; the page gives Monday as 1.
            return float(moment.isoweekday() % 7)
        if name not in {"year", "month", "day", "hour", "minute", "second"}:
            raise FormulaValueError(f"A timestamp has no member '{name}'")
        return float(getattr(moment, name))


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of a metric that there are, oldest first: when, and how much."""

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
    """As IEEE 754 has it: division by zero is infinity, or no number."""
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
    """``value``; a metric that is used like a number is its last sample.

    Raises:
        ValueFault: the metric has no sample.
    """
    if not isinstance(value, Series):
        return value
    if not value.samples:
        raise FormulaValueError(f"There is no sample of ${value.name}")
    return value.samples[-1][1]


def truth(value: Value) -> bool:
    """A double that is not zero.

    Raises:
        ValueFault: it is not a double.
    """
    value = last_sample(value)
    if not isinstance(value, float):
        raise FormulaValueError(f"A double is needed, not a {type_name(value)}")
    return value != 0


def apply_unary(mark: str, value: Value) -> Value:
    """``-value`` or ``!value``.

    Raises:
        ValueFault: the operator is not defined for it.
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
    """Two values by an operator that needs both.

    Raises:
        ValueFault: the operator is not defined for them.
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
            return Timestamp(_whole_ticks(left) + right.ticks)
        case Timestamp(), "+", Interval():
            return Timestamp(left.ticks + _whole_ticks(right))
        case Timestamp(), "-", Interval():
            return Timestamp(left.ticks - _whole_ticks(right))
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
        ValueFault: one is neither a double nor a doubleVec, or they are too many.
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
