"""Autoscale: samples when they are due, and the formula on its interval.

Pure: a view in, decisions out. Chance in a formula comes from the moment of its evaluation, so
that asking twice gives the same answer.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from batchspec.local.autoscale.run import Sample, run_formula, write_run
from batchspec.local.engine.decision import Decision, NoteScaleRun, ScalePool, TakeSample
from batchspec.local.model.life import AllocationState
from batchspec.local.model.record import Pool, Scale
from batchspec.local.store.scaling import SAMPLING
from batchspec.local.wire.times import read_duration

_FALLBACK = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class ScaleView:
    """A pool for which a sample or its formula is due.

    ``metrics`` are as they are now, ``samples`` those of before, read only when the formula is due.
    """

    pool: Pool
    scale: Scale
    metrics: Mapping[str, float]
    samples: tuple[Sample, ...] = ()


def scale(view: ScaleView, now: datetime) -> Iterator[Decision]:
    """Take the sample that is due, then evaluate the formula if that is due too."""
    pool, when, samples = view.pool, view.scale, list(view.samples)
    if when.sample_due <= now:
        yield TakeSample(pool, view.metrics, _following(when.sample_due, SAMPLING, now))
        samples.append((now, view.metrics))
    if when.due > now or pool.autoscale is None:
        return
    interval = read_duration(pool.autoscale["autoScaleEvaluationInterval"]) or _FALLBACK
    evaluated = run_formula(
        pool.autoscale["autoScaleFormula"],
        now,
        (pool.target_dedicated, pool.target_spot),
        samples,
        random.Random(when.due.timestamp()).random,  # noqa: S311  no secret comes of it
    )
    following = _following(when.due, interval, now)
    yield NoteScaleRun(pool, write_run(evaluated, now), following)
    targets = (evaluated.dedicated, evaluated.spot)
    # A resize that is being stopped ends first; the next evaluation comes in time.
    changes = targets != (pool.target_dedicated, pool.target_spot)
    if changes and pool.allocation is not AllocationState.STOPPING:
        yield ScalePool(pool, *targets, evaluated.option)


def _following(due: datetime, interval: timedelta, now: datetime) -> datetime:
    """The first moment after ``now`` on the beat that ``due`` was on."""
    return due + interval * ((now - due) // interval + 1)
