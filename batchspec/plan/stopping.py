"""Why a user ended a run or a task: what ``stop`` records in the account, and how it is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from batchspec.plan.observed import JobFacts
from batchspec.spec import Record

_TASK = "batchspec:stopped:"
"""Metadata of a job: before the id of a task that was ended. The service has no other place."""
_MOST = 50
"""How many tasks the reason is recorded for; each is an entry of the job's metadata."""
_LONGEST = 400
"""Characters of a reason; the reference gives no limit of ``terminateReason``."""


def stop_reason(by: str, reason: str) -> str:
    """The reason as it is recorded: ``stopped by ada@host: wrong input``."""
    words = " ".join(reason.split())[:_LONGEST]
    return f"stopped by {by}" + (f": {words}" if words else "")


def stopped_metadata(job: JobFacts, tasks: Sequence[str], reason: str) -> Record:
    """The body of Update Job that records why these tasks were ended, beside what is recorded."""
    earlier = {name: value for name, value in job.metadata.items() if name.startswith(_TASK)}
    added = {f"{_TASK}{task}": reason for task in tasks}
    kept = dict([*earlier.items(), *added.items()][-_MOST:])
    other = {name: value for name, value in job.metadata.items() if name not in earlier}
    pairs = [Record(name=name, value=value) for name, value in {**other, **kept}.items()]
    return Record(metadata=tuple(pairs))


def why_stopped(metadata: Mapping[str, str], task: str) -> str:
    """Why a user ended a task of a job with this metadata; empty where that is not recorded."""
    return metadata.get(f"{_TASK}{task}", "")
