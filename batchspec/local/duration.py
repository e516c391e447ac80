"""Lengths of time as people write them: ``500ms``, ``20s``, ``4m``, ``1.5h``.

What may not live here: the durations of the protocol (``wire.times``).
"""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", re.ASCII)
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
"""In milliseconds, which nothing here is finer than."""


def parse_duration(text: str) -> timedelta:
    """The length of time that ``text`` says, in whole milliseconds; ``0`` needs no unit.

    Raises:
        ValueError: it says none, or one of more than a year.
    """
    found = _DURATION.fullmatch(text)
    if text != "0" and found is None:
        raise ValueError(f"{text!r} is no length of time")
    span = timedelta(milliseconds=round(float(found[1]) * _UNITS[found[2]]) if found else 0)
    if span > timedelta(days=365):
        raise ValueError(f"{text!r} is longer than a year")
    return span


def format_duration(span: timedelta) -> str:
    """The shortest form that :func:`parse_duration` takes for ``span``."""
    count = span // timedelta(milliseconds=1)
    unit = max((unit for unit, size in _UNITS.items() if not count % size), key=_UNITS.__getitem__)
    return f"{count // _UNITS[unit]}{unit}" if count else "0"
