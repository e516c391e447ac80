"""The recurrence of a job schedule: when its next job is due.

Pure functions on the JSON of ``schedule``. Source: the REST reference of ``JobSchedule``. Recorded:
the first job is created at once, and ``nextRunTime`` is the creation time plus the interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchspec.local.wire.times import read_duration, read_time


def first_run(schedule: Mapping[str, Any], now: datetime) -> datetime:
    """When the first job is due: now, or at ``doNotRunUntil``."""
    until = schedule.get("doNotRunUntil")
    return now if until is None else max(now, read_time(until))


def next_run(schedule: Mapping[str, Any], due: datetime, now: datetime) -> datetime | None:
    """When the job after the one due at ``due`` is due; ``None`` if there is none.

    Missed jobs are skipped: the result is the first multiple of the interval after ``now``.
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
