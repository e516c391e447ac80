"""Rules about the bound of what a run may cost: `cost.max` and `--max-cost`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

from batchspec.plan.rules.rule import ERROR, NOTE, Finding, RuleGroup
from batchspec.spec import Spec

if TYPE_CHECKING:
    from batchspec.plan.cost import Estimate
    from batchspec.plan.cost_limit import Shortened

BOUND = RuleGroup("Cost", "Prices, and whether the run can cost more than `cost.max`.")

_FIT_LESS = (
    "The time limit cannot be shortened so far that tasks still end. Use fewer nodes, or raise"
    " `cost.max`."
)
for _code, _title, _why, _fix in (
    (
        "bad-amount",
        "An amount of money is not valid",
        "It is a number more than 0, with or without a currency of three letters.",
        "Write `max: 25 USD`, or `--max-cost '25 USD'`.",
    ),
    (
        "different-currencies",
        "The bound and the prices are in different currencies",
        "Amounts in different currencies cannot be compared.",
        "Remove `currency`; the currency of `max` is used for prices, too.",
    ),
    (
        "bad-prices",
        "The table of prices is not valid",
        "It has a price per hour for each VM size, or one for `dedicated` and one for `spot`.",
        "Write `prices: {standard_d2s_v5: {dedicated: 0.1, spot: 0.02}}`.",
    ),
):
    BOUND.describe(_code, ERROR, _title, _why, _fix)


@BOUND.rule(
    "cost-above-max",
    ERROR,
    title="The run could cost more than its bound",
    why="The bound is for what the service allows: the largest number of nodes until the time limit"
    " of the job.",
    fix="Use a shorter `max_wall_clock_time` or fewer nodes, raise `cost.max`, or write"
    " `on_exceed: shorten`.",
)
def cost_above_max(spec: Spec, found: Estimate) -> Iterator[Finding]:
    """The most that the run costs is more than ``cost.max``."""
    most, bound = found.total.most, found.max
    if bound is not None and most is not None and most > bound:
        each = "each job" if found.each_job else "the run"
        yield Finding(
            f"{each} could cost {_amount(most)} {found.currency}, more than the bound of"
            f" {_amount(bound)} {found.currency}",
            spec.place("cost.max"),
            fix=_FIT_LESS if spec.cost is not None and spec.cost.shorten else "",
        )


@BOUND.rule(
    "cost-not-bounded",
    ERROR,
    title="Nothing in the service bounds what the run costs",
    why="A bound must hold when no client is running: the service has to release the nodes by"
    " itself.",
    fix="Use `pool: {lifetime: job, ...}`, or `nodes: {scale: {max: N}}`.",
)
def cost_not_bounded(spec: Spec, found: Estimate) -> Iterator[Finding]:
    """There is a bound, and the pool ends by clean-up or never, or can have any size."""
    from batchspec.plan.cost import End  # noqa: PLC0415 - start time

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
            f"the cost of the run is not bounded by the service: {reason}",
            spec.place("cost.max") or spec.pool.where,
        )


@BOUND.rule(
    "cost-not-known",
    ERROR,
    title="What the run could cost is not known, and it has a bound",
    why="Without a price, nothing can be compared with the bound.",
    fix="Write the price per hour under `cost.prices`.",
)
def cost_not_known(spec: Spec, found: Estimate) -> Iterator[Finding]:
    """There is a bound, and the price of the nodes is not known."""
    if found.max is None:
        return
    for line in found.nodes:
        if line.price_unknown is not None:
            yield Finding(
                f"the most that the run could cost is not known: {line.price_unknown.reason}",
                spec.place("cost.max"),
                fix=line.price_unknown.fix,
            )
            return


@BOUND.rule(
    "cost-shortened",
    NOTE,
    title="The run is shortened so that it costs at most its bound",
    why="`on_exceed: shorten` lowers the time limit of the job, and then the largest number of"
    " nodes. Tasks that have not ended at the limit are terminated.",
    fix="To run longer or on more nodes, raise `cost.max`.",
)
def cost_shortened(spec: Spec, change: Shortened) -> Iterator[Finding]:
    """The run as the spec describes it could cost more than ``cost.max``."""
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
    """A number with two digits that matter."""
    return f"{amount:,.2f}" if amount >= 0.095 else f"{amount:.2g}"


def _duration(limit: timedelta) -> str:
    hours, minutes = divmod(int(limit / timedelta(minutes=1)), 60)
    return " ".join([*([f"{hours}h"] if hours else []), *([f"{minutes}m"] if minutes else [])])
