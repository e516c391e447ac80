"""Text formats: durations and times in a spec and in a request, and names as parts of an id."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta

_SHORT = re.compile(
    r"(?=.)(?:(?P<d>[0-9]+)d)?(?:(?P<h>[0-9]+)h)?(?:(?P<m>[0-9]+)m)?"
    r"(?:(?P<s>[0-9]+(?:\.[0-9]+)?)s)?"
)
_ISO = re.compile(
    r"P(?=.)(?:(?P<w>[0-9]+)W|(?:(?P<d>[0-9]+)D)?"
    r"(?:T(?=.)(?:(?P<h>[0-9]+)H)?(?:(?P<m>[0-9]+)M)?(?:(?P<s>[0-9]+(?:\.[0-9]+)?)S)?)?)"
)
_PARTS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
_MOST_DIGITS = 30
"""Of a number in a duration; the longest duration has fewer."""
_CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d\d)")
_LONG_UNIT = re.compile(r"days?|hours?|hrs|min(?:ute)?s?|sec(?:ond)?s?")
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")


LONGEST = timedelta(days=10_675_199, hours=2, minutes=48, seconds=5, microseconds=477_580)
"""The longest duration of the service (a .NET ``TimeSpan``), in whole microseconds; in its replies
it means that there is no limit."""


def duration(text: str) -> timedelta | None:
    """Parse a duration such as ``90s``, ``1h30m`` or ``PT30M``, in whole microseconds.

    ``None`` if it is not valid, or longer than the service can store (:func:`is_too_long`).
    """
    match = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    if match is None or any(len(part or "") > _MOST_DIGITS for part in match.groups()):
        return None
    microseconds = 0
    for unit, number in match.groupdict().items():
        whole, _, fraction = (number or "0").partition(".")
        length = timedelta(**{_PARTS[unit]: 1}) // timedelta(microseconds=1)
        microseconds += int(whole) * length + int(f"{fraction:0<6.6}")
    if microseconds > LONGEST // timedelta(microseconds=1):
        return None
    return timedelta(microseconds=microseconds)


def is_too_long(text: str) -> bool:
    """Whether a text is a duration that is longer than the service can store."""
    well_formed = _SHORT.fullmatch(text) or _ISO.fullmatch(text)
    return well_formed is not None and duration(text) is None


def iso(length: timedelta) -> str:
    """Format a duration in ISO 8601 as the service does: ``PT30M``, ``P1DT2H``, ``PT0S``."""
    if length == LONGEST:
        return "P10675199DT2H48M5.4775807S"
    hours, rest = divmod(length.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    second = f"{seconds + length.microseconds / 1_000_000:.6f}".rstrip("0").rstrip(".")
    parts = ((hours, f"{hours}H"), (minutes, f"{minutes}M"), (float(second), f"{second}S"))
    clock = "".join(text for value, text in parts if value)
    days = f"{length.days}D" if length.days else ""
    return f"P{days}T{clock}" if clock else f"P{days}" if days else "PT0S"


def suggested(text: str) -> str:
    """The fix for a string that is not a valid duration."""
    if _NUMBER.fullmatch(text):
        return f"Write a unit: `{text}s`, `{text}m` or `{text}h`."
    if clock := _CLOCK.fullmatch(text):
        hours, minutes, seconds = clock.groups()
        if hours is None:
            return f"Write `{int(minutes)}h{int(seconds)}m` or `{int(minutes)}m{int(seconds)}s`."
        return f"Write `{int(hours)}h{int(minutes)}m{int(seconds)}s`."
    packed = _LONG_UNIT.sub(lambda match: match[0][0], text.replace(" ", "").lower())
    if packed != text and duration(packed) is not None:
        return f"Write `{packed}`."
    return "Write a duration such as `90s`, `30m`, `2h`, `7d`, `1h30m` or `PT30M`."


def moment(text: str) -> str | None:
    """A time with an offset, such as ``2026-12-01T06:00:00Z``, in UTC; ``None`` if not valid."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    if found.tzinfo is None:
        return None
    try:
        return found.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except OverflowError:  # before year 1 or after year 9999 in UTC
        return None


def slug(text: str, longest: int = 64) -> str:
    """Convert a string to a part of an id: ``A-Za-z0-9_`` and single hyphens.

    Accents are removed. The result has at most ``longest`` characters and may be empty.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_]+", "-", text).strip("-")[:longest].rstrip("-")
