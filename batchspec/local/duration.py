"""Durations as users write them: ``500ms``, ``20s``, ``4m``, ``1.5h``.

The ISO 8601 durations of the protocol are in ``wire.times``. Specs have another notation
(docs/adr/0012-own-parts-of-the-embedded-service.md).
"""

from __future__ import annotations

import re
from datetime import timedelta

_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)(ms|s|m|h)", re.ASCII)
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
"""In milliseconds, the finest resolution here."""


def parse_duration(text: str) -> timedelta:
    """The duration that ``text`` describes, in whole milliseconds; ``0`` needs no unit.

    Raises:
        ValueError: the text is not a duration, or the duration is longer than a year.
    """
    found = _DURATION.fullmatch(text)
    if text != "0" and found is None:
        raise ValueError(f"{text!r} is not a duration")
    duration = timedelta(milliseconds=round(float(found[1]) * _UNITS[found[2]]) if found else 0)
    if duration > timedelta(days=365):
        raise ValueError(f"{text!r} is longer than a year")
    return duration


def format_duration(duration: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads as ``duration``."""
    count = duration // timedelta(milliseconds=1)
    unit = max((unit for unit, size in _UNITS.items() if not count % size), key=_UNITS.__getitem__)
    return f"{count // _UNITS[unit]}{unit}" if count else "0"
