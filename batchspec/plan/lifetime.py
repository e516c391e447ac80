"""How long the addresses signed for a run must be good, and until when those of a pool are.

A run is bounded by its job's limit, so no signature needs to outlive that by more than a margin. A
pool may stay for a later run; its nodes read their start task's files whenever one of them starts,
so the pool's metadata says until when they can.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from batchspec.plan.observed import PoolFacts
from batchspec.spec.model import Spec

UNTIL = "batchspec:until"
"""The pool's metadata that says until when its nodes can read what they start with (RFC 3339)."""

_MARGIN = timedelta(hours=1)
"""The last task may start just before the limit, and a clock may be wrong."""


def sas_lifetime(spec: Spec) -> timedelta:
    """How long the signatures of a run are good."""
    return spec.job.limit + _MARGIN


def runs_out(pool: PoolFacts, spec: Spec, now: datetime) -> datetime | None:
    """When a node of the pool can no longer start, if a run that begins now may last longer."""
    if not spec.pool.start_containers:
        return None
    try:
        until = datetime.fromisoformat(pool.metadata.get(UNTIL, ""))
    except ValueError:
        # Made without it, or touched by somebody: nobody knows, so sign anew.
        return now
    return until if until < now + spec.job.limit else None
