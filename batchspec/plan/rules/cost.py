"""The cost limit of a run (`cost.max`, `--max-cost`): its rules, and the run shortened to fit it.

The cost of a run is nodes times time. `on_exceed: shorten` first lowers the time limit of the job,
because many nodes for a short time do the same work as few nodes for a long time, and finish
earlier. If tasks could not end within the lower limit, it also lowers the largest number of nodes
of `scale`. The requests that create job and pool contain both, so the service enforces them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta

from batchspec.diagnostics import Diagnostics
from batchspec.frozen import frozen
from batchspec.plan.cost import End, Estimate, estimate, most_cost, uploaded_gb
from batchspec.plan.observed import CostFacts, Observed
from batchspec.plan.plan import Step
from batchspec.plan.rules.rule import ERROR, NOTE, Finding, RuleGroup
from batchspec.spec import Cost, Record, ScaleRange, Spec, iso, scale_range, scaled_down

BOUND = RuleGroup("Cost", "Prices, and whether the run can cost more than `cost.max`.")

_FIT_LESS = "With a shorter time limit, tasks could not end. Use fewer nodes, or raise `cost.max`."
for _code, _title, _why, _fix in (
    (
        "bad-amount",
        "An amount of money is not valid",
        "An amount is a number greater than 0, with or without a currency of three letters.",
        "Write `max: 25 USD`, or `--max-cost '25 USD'`.",
    ),
    (
        "different-currencies",
        "The limit and the prices are in different currencies",
        "Amounts in different currencies cannot be compared.",
        "Remove `currency`; the currency of `max` is used for prices, too.",
    ),
    (
        "bad-prices",
        "The table of prices is not valid",
        "Each VM size has a price per hour, or a price for `dedicated` and a price for `spot`.",
        "Write `prices: {standard_d2s_v5: {dedicated: 0.1, spot: 0.02}}`.",
    ),
):
    BOUND.describe(_code, ERROR, _title, _why, _fix)


@BOUND.rule(
    "cost-above-max",
    ERROR,
    title="The run could cost more than its limit",
    why="The limit is compared with the maximum that the service allows: the largest number of"
    " nodes until the time limit of the job.",
    fix="Use a shorter `max_wall_clock_time` or fewer nodes, raise `cost.max`, or write"
    " `on_exceed: shorten`.",
)
def cost_above_max(spec: Spec, found: Estimate) -> Iterator[Finding]:
    """The maximum cost of the run is above ``cost.max``."""
    most, bound = found.total.most, found.max
    if bound is not None and most is not None and most > bound:
        each = "each job" if found.each_job else "the run"
        yield Finding(
            f"{each} could cost {_amount(most)} {found.currency}, more than the limit of"
            f" {_amount(bound)} {found.currency}",
            spec.place("cost.max"),
            fix=_FIT_LESS if spec.cost is not None and spec.cost.shorten else "",
        )


@BOUND.rule(
    "cost-not-bounded",
    ERROR,
    title="The service does not limit the cost of the run",
    why="The limit must also apply when no client is running: the service must release the nodes by"
    " itself.",
    fix="Use `pool: {lifetime: job, ...}`, or `nodes: {scale: {max: N}}`.",
)
def cost_not_bounded(spec: Spec, found: Estimate) -> Iterator[Finding]:
    """The spec has a limit, and the pool is deleted by clean-up or never, or can have any size."""
    if found.max is None:
        return
    reason = {
        End.CLIENT: "its nodes are billed until batchspec deletes the pool",
        End.NEVER: "the pool remains after the run",
    }.get(found.end, "")
    if not reason and found.lifetime.most is None:
        reason = "the formula of the pool can request any number of nodes"
    if reason:
        yield Finding(
            f"the service does not limit the cost of the run: {reason}",
            spec.place("cost.max") or spec.pool.where,
        )


@BOUND.rule(
    "cost-not-known",
    ERROR,
    title="The run has a cost limit, but its cost is not known",
    why="Without a price, batchspec cannot compare the cost with the limit.",
    fix="Write the price per hour under `cost.prices`.",
)
def cost_not_known(spec: Spec, found: Estimate) -> Iterator[Finding]:
    """The spec has a limit, and the price of the nodes is not known."""
    if found.max is None:
        return
    for line in found.nodes:
        if line.price_unknown is not None:
            yield Finding(
                f"the maximum cost of the run is not known: {line.price_unknown.reason}",
                spec.place("cost.max"),
                fix=line.price_unknown.fix,
            )
            return


@BOUND.rule(
    "cost-shortened",
    NOTE,
    title="The run is shortened so that it costs at most its limit",
    why="`on_exceed: shorten` lowers the time limit of the job, and then the largest number of"
    " nodes. Tasks that have not ended at the limit are terminated.",
    fix="To run longer or on more nodes, raise `cost.max`.",
)
def cost_shortened(spec: Spec, change: Shortened) -> Iterator[Finding]:
    """The run was shortened, because it could cost more than ``cost.max``."""
    parts = []
    for what, (before, after) in (
        ("the time limit", tuple(map(_duration, change.limit))),
        ("the largest number of nodes", tuple(map(str, change.nodes))),
    ):
        if before != after:
            parts.append(f"{what} is {after} instead of {before}")
    assert spec.cost is not None
    yield Finding(
        f"{', and '.join(parts)}, so that the run costs at most {_amount(spec.cost.max or 0)}"
        f" {spec.cost.currency}",
        spec.place("cost.on_exceed"),
    )


def _amount(amount: float) -> str:
    """An amount with two decimals; below 0.095 with two significant digits."""
    return f"{amount:,.2f}" if amount >= 0.095 else f"{amount:.2g}"


def _duration(limit: timedelta) -> str:
    hours, minutes = divmod(int(limit / timedelta(minutes=1)), 60)
    return " ".join([*([f"{hours}h"] if hours else []), *([f"{minutes}m"] if minutes else [])])


_SHORTEST = timedelta(minutes=30)
"""The shortest time limit while the number of nodes can be lowered instead."""
_MARGIN = 1.5
"""The shortest time limit as a multiple of the time that an earlier run needed for a first task."""
_FORMULA = "autoScaleFormula"


def estimate_of(
    spec: Spec,
    observed: Observed,
    pool: Record,
    steps: Sequence[Step],
    problems: Diagnostics,
    *,
    in_progress: int = 0,
) -> Estimate | None:
    """The estimate of a plan with these steps; ``None`` if none is requested.

    ``pool`` is the body of Create Pool; ``in_progress`` is the number of tasks that are already in
    the job. Adds errors to ``problems`` if the cost is above its limit, or has none.
    """
    if spec.cost is None:
        return None
    found = estimate(spec, observed, pool, steps, in_progress=in_progress)
    if found is not None:
        for rule in (cost_not_known, cost_not_bounded, cost_above_max):
            problems.extend(rule(spec, found))
    return found


def fit_to_bound(spec: Spec, observed: Observed, problems: Diagnostics) -> Spec:
    """The spec, shortened if it has `on_exceed: shorten` and could cost more than its limit.

    The spec is unchanged if no time limit and no scale fit: then a rule rejects the run.
    """
    cost, facts = spec.cost, observed.cost
    if cost is None or facts is None or cost.max is None or not cost.shorten:
        return spec
    shortening = _Shortening(spec, observed, cost, facts, cost.max, uploaded_gb(observed))
    whole = shortening.most(spec)
    if whole is None or whole <= cost.max:
        return spec
    found, change = shortening.fitted()
    if change is not None:
        problems.extend(cost_shortened(spec, change))
    return found


@frozen
class Shortened:
    """The changes: the time limit and the largest number of nodes, before and after."""

    limit: tuple[timedelta, timedelta]
    nodes: tuple[int, int]


@frozen
class _Shortening:
    """Shortens a spec; ``bound`` is the maximum amount, ``uploaded`` the size of uploads in GB."""

    spec: Spec
    observed: Observed
    cost: Cost
    facts: CostFacts
    bound: float
    uploaded: float

    @property
    def _formula(self) -> str:
        return self.spec.pool.properties.string(_FORMULA) or ""

    @property
    def _scale(self) -> ScaleRange | None:
        """The scale whose largest number of nodes can be lowered; ``None`` if there is none."""
        scale = scale_range(self._formula)
        return None if scale is None or scale.timed or scale.fixed else scale

    def most(self, spec: Spec) -> float | None:
        """The maximum cost of a spec."""
        return most_cost(spec, self.observed, self.uploaded)

    def fitted(self) -> tuple[Spec, Shortened | None]:
        """The spec with the most nodes that can run for the shortest time."""
        scale = self._scale
        before = scale.most + scale.most_spot if scale is not None else 0
        least = max(scale.least, 1) if scale is not None else 0
        shortest = self._shortest()
        # More nodes leave less time: the counts that fit come before those that do not.
        counts = range(least, before + 1)
        at = bisect_right(counts, False, key=lambda count: self._time(count) < shortest)
        if not at:
            return self.spec, None
        nodes = counts[at - 1]
        limit = self._time(nodes)
        spec = self._with(nodes, limit)
        return spec, Shortened((self.spec.job.limit, limit), (before, nodes))

    def _shortest(self) -> timedelta:
        """The shortest useful limit: enough time for a first task, if an earlier run shows it."""
        earlier = self.facts.earlier
        needed = 0.0 if earlier is None else _MARGIN * (earlier.before + earlier.task)
        return min(max(_SHORTEST, timedelta(seconds=needed)), self.spec.job.limit)

    def _time(self, nodes: int) -> timedelta:
        """The time limit, in whole minutes, with which this number of nodes fits the bound."""
        limit = self.spec.job.limit
        none, whole = self.most(self._with(nodes, timedelta())), self.most(self._with(nodes, limit))
        assert none is not None and whole is not None
        if whole <= self.bound:
            return limit
        minutes = (self.bound - none) / (whole - none) * (limit / timedelta(minutes=1))
        return timedelta(minutes=int(max(minutes, 0)))

    def _with(self, nodes: int, limit: timedelta) -> Spec:
        """The spec with this time limit; a pool that scales has at most this number of nodes."""
        job = self.spec.job
        constraints = job.properties.record("constraints").with_(maxWallClockTime=iso(limit))
        job = replace(job, limit=limit, properties=job.properties.with_(constraints=constraints))
        pool, scale = self.spec.pool, self._scale
        if scale is not None:
            dedicated = min(scale.most, nodes)
            if scale.spot_first:
                dedicated = nodes - min(scale.most_spot, nodes)
            smaller = scaled_down(self._formula, dedicated, nodes - dedicated)
            pool = replace(pool, properties=pool.properties.with_(**{_FORMULA: smaller}))
        return replace(self.spec, job=job, pool=pool)
