"""Times, durations, recurrence and ETags in the notation of the protocol.

The unit of durations is a tick of 100 ns, as in Azure Batch. The longest duration,
``P10675199DT2H48M5.4775807S``, means "no limit".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from functools import lru_cache
from typing import Any

TICKS = 10_000_000
"""Ticks in a second."""

UNLIMITED_TICKS = 2**63 - 1
UNLIMITED = "P10675199DT2H48M5.4775807S"

_FIRST = datetime(1, 1, 1, tzinfo=UTC)
_DURATION = re.compile(
    r"(?P<sign>-)?P(?=.)(?:(?P<years>\d+)Y)?(?:(?P<months>\d+)M)?(?:(?P<days>\d+)D)?"
    r"(?:T(?=.)(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?"
    r"(?:(?P<seconds>\d+)(?:\.(?P<fraction>\d{1,9})\d*)?S)?)?",
    re.ASCII,
)
_SECONDS = {
    # A year has 365 days and a month 30, as in .NET's XmlConvert.ToTimeSpan.
    "years": 365 * 86400,
    "months": 30 * 86400,
    "days": 86400,
    "hours": 3600,
    "minutes": 60,
    "seconds": 1,
}


def ticks_of(text: str) -> int:
    """Parse an ISO 8601 duration to ticks.

    Raises:
        ValueError: ``text`` is not a duration, or does not fit into 64 bits.
    """
    found = _DURATION.fullmatch(text)
    if found is None or text.endswith("T"):
        raise ValueError(f"'{text}' is not a duration.")
    total = sum(int(found[name] or 0) * size for name, size in _SECONDS.items()) * TICKS
    total += int((found["fraction"] or "0").ljust(7, "0")[:7])
    if found["sign"]:
        total = -total
    if not -UNLIMITED_TICKS - 1 <= total <= UNLIMITED_TICKS:
        raise ValueError(f"'{text}' is too long.")
    return total


def write_duration(ticks: int) -> str:
    """The shortest notation of a duration, as in recorded replies: ``PT15M``, ``P1D``, ``PT0S``."""
    rest = abs(ticks)
    days, rest = divmod(rest, 86400 * TICKS)
    hours, rest = divmod(rest, 3600 * TICKS)
    minutes, rest = divmod(rest, 60 * TICKS)
    seconds, fraction = divmod(rest, TICKS)
    clock = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes)
    if fraction:
        clock += f"{seconds}." + f"{fraction:07}".rstrip("0") + "S"
    elif seconds:
        clock += f"{seconds}S"
    text = f"{days}D" * bool(days) + f"T{clock}" * bool(clock)
    return ("-" if ticks < 0 else "") + "P" + (text or "T0S")


@lru_cache(maxsize=1024)  # most tasks have the same few durations
def read_duration(text: str | None) -> timedelta | None:
    """A validated duration as a ``timedelta``; ``None`` means no limit.

    A duration that is too long for a ``timedelta`` means no limit.
    """
    if text is None:
        return None
    ticks = ticks_of(text)
    return None if ticks >= 10**17 * 8 else timedelta(microseconds=ticks // 10)


def add_duration(moment: datetime, duration: timedelta | None) -> datetime | None:
    """The time after ``duration``; ``None`` without a duration or after the year 9999."""
    if duration is None:
        return None
    try:
        return moment + duration
    except OverflowError:
        return None


def write_time(moment: datetime) -> str:
    """A time in RFC 3339, UTC, without trailing zeros: ``2024-04-18T19:12:27.9903444Z``."""
    # isoformat is several times faster than strftime, and a page of a list has thousands of times.
    text = (moment if moment.tzinfo is UTC else moment.astimezone(UTC)).isoformat()[:-6]
    return (text.rstrip("0") if "." in text else text) + "Z"


def write_exact(moment: datetime) -> str:
    """As :func:`write_time` with all seven digits, for the ``Time:`` of an error message."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"


def read_time(text: str) -> datetime:
    """Parse an ISO 8601 time to UTC.

    Raises:
        ValueError: ``text`` is not a time, or is outside the years 1 to 9999.
    """
    moment = datetime.fromisoformat(text)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:  # before year 1 or after year 9999 in UTC
        raise ValueError(text) from None


def write_http_date(moment: datetime) -> str:
    """A time in RFC 1123, for ``Date`` and ``Last-Modified``."""
    return format_datetime(moment.astimezone(UTC), usegmt=True)


def read_http_date(text: str) -> datetime:
    """Parse the date of a conditional header to UTC.

    Raises:
        ValueError: ``text`` is not an HTTP date.
    """
    moment = parsedate_to_datetime(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def etag_of(modified: datetime) -> str:
    """The ETag of a resource: its ``lastModified`` in ticks since year 1, in hexadecimal digits.

    Recorded: ``0x8DC5FDB7D07BCD4`` is the ETag of ``2024-04-18T19:12:27.9903444Z``.
    """
    return f"0x{(modified - _FIRST) // timedelta(microseconds=1) * 10:X}"


# The recurrence of a job schedule, from the JSON of ``schedule``. Source: the REST reference of
# ``JobSchedule``. Recorded: the first job is created at once, and ``nextRunTime`` is the creation
# time plus the interval.


def first_run(schedule: Mapping[str, Any], now: datetime) -> datetime:
    """The due time of the first job: now, or ``doNotRunUntil``."""
    until = schedule.get("doNotRunUntil")
    return now if until is None else max(now, read_time(until))


def next_run(schedule: Mapping[str, Any], due: datetime, now: datetime) -> datetime | None:
    """The due time of the job that follows the job of ``due``; ``None`` after the last job.

    The schedule skips missed jobs: the result is the first multiple of the interval after ``now``.
    """
    interval = read_duration(schedule.get("recurrenceInterval"))
    if interval is None:
        return None
    following = due + interval * max(1, (now - due) // interval + 1)
    until = schedule.get("doNotRunUntil")
    following = following if until is None else max(following, read_time(until))
    end = schedule.get("doNotRunAfter")
    return None if end is not None and following > read_time(end) else following


def window_passed(schedule: Mapping[str, Any], due: datetime, now: datetime) -> bool:
    """Whether the start window of the job due at ``due`` has passed."""
    end = schedule.get("doNotRunAfter")
    if end is not None and now > read_time(end):
        return True
    window = read_duration(schedule.get("startWindow"))
    return window is not None and now - due > window
