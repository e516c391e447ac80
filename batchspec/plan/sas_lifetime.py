"""How long the addresses signed for a run must be good, and until when those of a pool are.

A run is bounded by its job's limit, so no signature needs to outlive that by more than a margin.
The jobs of a schedule have it from the schedule, so that those signatures outlive its last job. A
pool may stay for a later run; its nodes read their start task's files whenever one of them starts,
so the pool's metadata says until when they can.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from batchspec.plan.metadata import UNTIL
from batchspec.plan.observed import PoolFacts
from batchspec.spec import Record, Spec, duration

_MARGIN = timedelta(hours=1)
"""The last task may start just before the limit, and a clock may be wrong."""


def sas_lifetime(spec: Spec, now: datetime) -> timedelta:
    """How long the signatures of a run that begins now are good."""
    return run_ends(spec, now) - now + _MARGIN


def run_ends(spec: Spec, now: datetime) -> datetime:
    """When a run that begins now is over at the latest; of a schedule, its last job.

    A schedule without an end has no last job: the first one stands for it (:func:`is_endless`).
    """
    last = now if spec.job.schedule is None else max(now, _last_start(spec.job.schedule, now))
    return last + spec.job.limit


def is_endless(schedule: Record) -> bool:
    """Whether a schedule (``BatchJobScheduleConfiguration``) makes jobs without an end."""
    return "recurrenceInterval" in schedule and "doNotRunAfter" not in schedule


def is_over(schedule: Record, now: datetime) -> bool:
    """Whether the time is over in which a schedule makes jobs."""
    end = _time(schedule, "doNotRunAfter")
    return end is not None and end <= now


def _last_start(schedule: Record, now: datetime) -> datetime:
    end = _time(schedule, "doNotRunAfter")
    if end is not None:
        return end
    window = schedule.get("startWindow")
    late = duration(window) if isinstance(window, str) else None
    return (_time(schedule, "doNotRunUntil") or now) + (late or timedelta())


def _time(schedule: Record, key: str) -> datetime | None:
    given = schedule.get(key)
    return datetime.fromisoformat(given) if isinstance(given, str) else None


def runs_out(pool: PoolFacts, spec: Spec, now: datetime) -> datetime | None:
    """When a node of the pool can no longer start, if a run that begins now may last longer."""
    if not spec.pool.start_containers:
        return None
    try:
        until = datetime.fromisoformat(pool.metadata.get(UNTIL, ""))
    except ValueError:
        # Not recorded, or changed by another client: sign again.
        return now
    return until if until < run_ends(spec, now) else None
