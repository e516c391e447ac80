"""The functions of the language, by name."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeAlias

from batchspec.local.autoscale.values import (
    Timestamp,
    Value,
    ValueFault,
    Vector,
    flatten,
    kind_of,
    plain,
)

Function: TypeAlias = Callable[[tuple[Value, ...]], Value]


def _over(name: str, compute: Callable[[Vector], float]) -> Function:
    """A function of a doubleVecList that has at least one value."""

    def call(arguments: tuple[Value, ...]) -> Value:
        items = flatten(arguments)
        if not items:
            raise ValueFault(f"{name} of no values")
        return float(compute(items))

    return call


def _each(name: str, compute: Callable[[float], float]) -> Function:
    """A function of a double, or of each value of a list."""

    def call(arguments: tuple[Value, ...]) -> Value:
        if len(arguments) == 1 and isinstance(value := plain(arguments[0]), float):
            return _logarithm(compute, value)
        if not arguments:
            raise ValueFault(f"{name} needs an argument")
        return tuple(_logarithm(compute, item) for item in flatten(arguments))

    return call


def _logarithm(compute: Callable[[float], float], value: float) -> float:
    """As IEEE 754 has it: minus infinity of zero, no number of less."""
    if value > 0:
        return compute(value)
    return -math.inf if value == 0 else math.nan


def _len(arguments: tuple[Value, ...]) -> Value:
    return float(len(flatten(arguments)))


def _sum(arguments: tuple[Value, ...]) -> Value:
    return _total(flatten(arguments))


def _total(items: Vector) -> float:
    """The sum, rounded once; of infinities what IEEE 754 says."""
    return math.fsum(items) if all(map(math.isfinite, items)) else sum(items)


def _deviation(items: Vector) -> float:
    """The sample standard deviation: none of one value, and no number where one is infinite."""
    if not all(map(math.isfinite, items)):
        return math.nan
    return statistics.stdev(items) if len(items) > 1 else 0.0


def _vec(arguments: tuple[Value, ...]) -> Value:
    return flatten(arguments)


def _pair(name: str, arguments: tuple[Value, ...]) -> tuple[Vector, float]:
    if len(arguments) == 2 and isinstance(number := plain(arguments[1]), float):
        return flatten(arguments[:1]), number
    raise ValueFault(f"{name} needs a doubleVec and a double")


def _percentile(arguments: tuple[Value, ...]) -> Value:
    items, percent = _pair("percentile", arguments)
    if not items or not 0 <= percent <= 100:
        raise ValueFault("percentile needs values, and a percentage from 0 to 100")
    rank = max(1, math.ceil(percent / 100 * len(items)))
    return sorted(items)[rank - 1]


def _val(arguments: tuple[Value, ...]) -> Value:
    items, index = _pair("val", arguments)
    if not 0 <= index < len(items):
        raise ValueFault(f"The vector has no element {index:g}")
    return items[int(index)]


def read_time(text: str) -> Timestamp:
    """A W3C-DTF or RFC 1123 time; without a zone it is UTC.

    Raises:
        ValueFault: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            moment = parsedate_to_datetime(text)
        except ValueError:
            raise ValueFault(f"'{text}' is not a time") from None
    return Timestamp.of(moment if moment.tzinfo else moment.replace(tzinfo=UTC))


def functions(now: Timestamp, rand: Callable[[], float]) -> Mapping[str, Function]:
    """All functions but ``stop``; ``rand`` gives numbers from 0 to 1."""

    def time(arguments: tuple[Value, ...]) -> Value:
        if not arguments or arguments == ("",):
            return now
        if len(arguments) == 1 and isinstance(arguments[0], str):
            return read_time(arguments[0])
        raise ValueFault(f"time needs a string, not a {kind_of(arguments[0])}")

    def random(arguments: tuple[Value, ...]) -> Value:
        if arguments:
            raise ValueFault("rand takes no argument")
        return rand()

    return {**_FUNCTIONS, "time": time, "rand": random}


_FUNCTIONS: Mapping[str, Function] = {
    "avg": _over("avg", lambda items: _total(items) / len(items)),
    "len": _len,
    "lg": _each("lg", math.log2),
    "ln": _each("ln", math.log),
    "log": _each("log", math.log10),
    "max": _over("max", max),
    "min": _over("min", min),
    "norm": _over("norm", lambda items: math.hypot(*items)),
    "percentile": _percentile,
    "range": _over("range", lambda items: max(items) - min(items)),
    "std": _over("std", _deviation),
    "sum": _sum,
    "val": _val,
    "vec": _vec,
}
