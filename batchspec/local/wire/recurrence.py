"""When the next job of a schedule is due, from the wire form of the schedule.

Pure. Evidence: the reference of ``JobSchedule``; recorded: the first job is made at once, and
``nextRunTime`` is then the time of creation and the interval.
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
    """When the job after the one that was due at ``due`` is; ``None`` if there is none.

    What was missed is not carried forward: it is the first of the beat that lies after ``now``.
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
    """Whether it is too late for the job that was due at ``due``."""
    end = schedule.get("doNotRunAfter")
    if end is not None and now > read_time(end):
        return True
    window = read_duration(schedule.get("startWindow"))
    return window is not None and now - due > window
