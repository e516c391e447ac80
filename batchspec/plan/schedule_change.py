"""What there is to change about a job schedule that is there: what can be, and what takes another.

What is changed holds for the jobs that are made afterwards; the one that goes on stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.plan.changes import SCHEDULE, How
from batchspec.plan.diff import Difference, differences
from batchspec.plan.first_task import MANAGER
from batchspec.plan.job_change import job_differences
from batchspec.plan.observed import ScheduleFacts
from batchspec.plan.pool_body import DIGEST, metadata_of, own_metadata
from batchspec.plan.schedule_body import POOL
from batchspec.spec import Record

_JOBS = "jobSpecification"
_TASK = f"{_JOBS}.{MANAGER}.id"
_CONTENT = "what its task works on has changed"
_UNSEEN = "the spec has changed in what the account does not show"
_LASTING = "the pool that lives as long as the schedule is another now"
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class ScheduleChange:
    """Why a schedule is to change. ``patch`` does it in place; empty: it has to be made anew."""

    reason: str
    patch: Record


def schedule_change(body: Record, facts: ScheduleFacts) -> ScheduleChange | None:
    """What makes the schedule what the spec says now; ``None`` if it was made from the same.

    ``body`` is that of Create Job Schedule. Its jobs are always among what is updated, so that the
    addresses in them are signed for as long as the new schedule lasts.
    """
    wanted = metadata_of(body)
    found = [d for d in _found(body, facts) if SCHEDULE[d.property] is How.NOW]
    same = all(facts.metadata.get(name) == wanted.get(name) for name in (DIGEST, POOL))
    if same and not any(d.property == "metadata" for d in found):
        return None
    if facts.metadata.get(POOL) != wanted.get(POOL):
        return ScheduleChange(f"{_joined(found)}; {_LASTING}" if found else _LASTING, Record())
    changed = {d.property for d in found} | {_JOBS, "metadata"}
    return ScheduleChange(
        _joined(found) or _UNSEEN, Record({key: body[key] for key in SCHEDULE if key in changed})
    )


def for_the_next(body: Record, facts: ScheduleFacts) -> str:
    """Words on what only a schedule that is made anew will have; empty if that is nothing."""
    fixed = [key for key, how in SCHEDULE.items() if how is How.NEXT]
    wanted, there = ({key: value.get(key) for key in fixed} for value in (body, facts.properties))
    found = (Difference(key, wanted[key], there[key]) for key in fixed)
    return "".join(
        f"; one that is made anew has {difference.words}"
        for difference in found
        if difference.wanted != difference.found
    )


def drift(body: Record, facts: ScheduleFacts) -> tuple[Difference, ...]:
    """In what a schedule made from the same spec is another now: somebody has changed it."""
    keys = ("schedule", _JOBS)
    wanted = Record({key: body[key] for key in keys})
    return tuple(d for d in differences(wanted, facts.properties) if _counts(d))


def _found(body: Record, facts: ScheduleFacts) -> Iterator[Difference]:
    """Every property in which the schedule is not what the body says."""
    times, there = body["schedule"], facts.properties.get("schedule")
    assert isinstance(times, Record)
    there = there if isinstance(there, Record) else Record()
    yield from differences(times, there, "schedule.")
    yield from (Difference(f"schedule.{k}", None, v) for k, v in there.items() if k not in times)
    jobs, found = body[_JOBS], facts.properties.get(_JOBS)
    assert isinstance(jobs, Record)
    found = found if isinstance(found, Record) else Record()
    ends = "onAllTasksComplete"
    for d in (*job_differences(jobs, found), *differences(Record({ends: jobs[ends]}), found)):
        if _counts(d):
            yield Difference(f"{_JOBS}.{d.path}", d.wanted, d.found)
    pairs, given = own_metadata(metadata_of(body)), own_metadata(facts.metadata)
    for name in dict.fromkeys((*pairs, *given)):
        if pairs.get(name) != given.get(name):
            yield Difference(f"metadata.{name}", pairs.get(name), given.get(name))


def _counts(difference: Difference) -> bool:
    """Whether somebody made it: until when the nodes of an auto pool can read is always another."""
    return "metadata" not in difference.path


def _joined(found: list[Difference]) -> str:
    # The task's id says what it computes: alone, it tells of files that are others now.
    words = [difference.words for difference in found if difference.path != _TASK]
    words = words or [_CONTENT for _ in found]
    more = len(words) - _SHOWN
    words = words[:_SHOWN]
    return "; ".join([*words, *([f"{more} more"] if more > 0 else [])])
