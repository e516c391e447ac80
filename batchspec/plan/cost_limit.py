"""Shortens a run so that it cannot cost more than its bound: `on_exceed: shorten`. Pure.

What a run can cost is nodes times time. The time limit of the job is lowered first, because many
nodes for a short time do as much as few for a long time, and earlier; below a time in which tasks
can still end, the largest number of nodes of `scale` is lowered, too. Both are in the requests that
create the job and the pool, so that the service enforces them.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import timedelta

from batchspec.plan.cost import most_cost, uploaded_gb
from batchspec.plan.observed import CostFacts, Observed
from batchspec.spec import Cost, Record, Spec, iso, scale_range, scaled_down

_SHORTEST = timedelta(minutes=30)
"""The shortest time limit as long as the number of nodes can be lowered instead."""
_MARGIN = 1.5
"""How many times as long as an earlier run needed for a first task."""
_FORMULA = "autoScaleFormula"


@dataclass(frozen=True, slots=True)
class Shortened:
    """What was changed: the time limit and the largest number of nodes, before and after."""

    limit: tuple[timedelta, timedelta]
    nodes: tuple[int, int]


def fitted(spec: Spec, observed: Observed) -> tuple[Spec, Shortened | None]:
    """The spec with a limit and a scale that fit its bound; unchanged if it fits, or if none does.

    A rule refuses a run that does not fit.
    """
    cost, facts = spec.cost, observed.cost
    if cost is None or facts is None or cost.max is None or not cost.shorten:
        return spec, None
    fit = _Fit(spec, observed, cost, facts, cost.max, uploaded_gb(observed))
    whole = fit.most(spec)
    if whole is None or whole <= cost.max:
        return spec, None
    return fit.fitted()


@dataclass(frozen=True, slots=True)
class _Fit:
    """The inputs; ``bound`` is an amount, ``uploaded`` in GB."""

    spec: Spec
    observed: Observed
    cost: Cost
    facts: CostFacts
    bound: float
    uploaded: float

    def most(self, spec: Spec) -> float | None:
        """The most that a spec can cost."""
        return most_cost(spec, self.observed, self.uploaded)

    def fitted(self) -> tuple[Spec, Shortened | None]:
        """The spec with the most nodes that can run for the shortest time."""
        formula = self.spec.pool.properties.get(_FORMULA)
        scale = scale_range(formula) if isinstance(formula, str) else None
        if scale is not None and (scale.timed or scale.held):
            scale = None
        before = scale.most + scale.most_spot if scale is not None else 0
        least = max(scale.least, 1) if scale is not None else 0
        shortest = self._shortest()
        # More nodes leave less time, so that the counts are ordered by whether they fit.
        counts = range(least, before + 1)
        at = bisect_right(counts, False, key=lambda count: self._time(count) < shortest)
        if not at:
            return self.spec, None
        nodes = counts[at - 1]
        limit = self._time(nodes)
        spec = self._with(nodes, limit)
        return spec, Shortened((self.spec.job.limit, limit), (before, nodes))

    def _shortest(self) -> timedelta:
        """The shortest useful limit: time for a first task, as far as it is known."""
        earlier = self.facts.earlier
        needed = 0.0 if earlier is None else _MARGIN * (earlier.before + earlier.task)
        return min(max(_SHORTEST, timedelta(seconds=needed)), self.spec.job.limit)

    def _time(self, nodes: int) -> timedelta:
        """The time limit with which that many nodes cost as much as the bound, in minutes."""
        limit = self.spec.job.limit
        none, whole = self.most(self._with(nodes, timedelta())), self.most(self._with(nodes, limit))
        assert none is not None and whole is not None
        if whole <= self.bound:
            return limit
        minutes = (self.bound - none) / (whole - none) * (limit / timedelta(minutes=1))
        return timedelta(minutes=int(max(minutes, 0)))

    def _with(self, nodes: int, limit: timedelta) -> Spec:
        """The spec with that limit; its pool has at most that many nodes if it scales."""
        job = self.spec.job
        given = job.properties.get("constraints")
        constraints = (given if isinstance(given, Record) else Record()).with_(
            maxWallClockTime=iso(limit)
        )
        job = replace(job, limit=limit, properties=job.properties.with_(constraints=constraints))
        pool = self.spec.pool
        formula = pool.properties.get(_FORMULA)
        scale = scale_range(formula) if isinstance(formula, str) else None
        if isinstance(formula, str) and scale is not None and not (scale.timed or scale.held):
            dedicated = min(scale.most, nodes)
            if scale.spot_first:
                dedicated = nodes - min(scale.most_spot, nodes)
            smaller = scaled_down(formula, dedicated, nodes - dedicated)
            pool = replace(pool, properties=pool.properties.with_(**{_FORMULA: smaller}))
        return replace(self.spec, job=job, pool=pool)
