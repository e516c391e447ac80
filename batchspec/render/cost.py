"""The cost of a run, as text, markdown lines and JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from batchspec.frozen import frozen
from batchspec.plan import NOT_KNOWN, Amounts, End, Estimate, NodeCost, Plan
from batchspec.pricing import NodePrices, Price
from batchspec.render import units
from batchspec.render.output import Style, flat, json_text, wrap
from batchspec.render.report import Report, added, price_of, spent
from batchspec.render.run_text import account_line

_NUMBERS = ("least", "expected", "most")


def estimate_lines(estimate: Estimate, target: str) -> Iterator[str]:
    """The estimate: the total, then its parts, one fact on each line."""
    yield f"{_head(estimate, target)}: {_total(estimate)}"
    for line in estimate.nodes:
        yield _node_line(line, estimate)
    for other in estimate.included:
        yield f"{other.name}: {_range(other.cost, estimate.currency)}"
    yield _expectation(estimate)
    yield _end(estimate)
    if estimate.missing:
        yield f"not included: {units.listed((each.name for each in estimate.missing), most=9)}"


def _head(estimate: Estimate, target: str) -> str:
    what = "Cost of each job" if estimate.each_job else "Cost"
    # Nodes of the embedded service are processes of this machine.
    return f"{what} on Azure" if target == "local" else what


def _total(estimate: Estimate) -> str:
    total, currency = estimate.total, estimate.currency
    least, expected, most = (
        "not known" if amount is None else units.money(amount, currency)
        for amount in (total.least, total.expected, total.most)
    )
    bound = "no upper bound" if estimate.lifetime.most is None else f"at most {most}"
    if total == NOT_KNOWN:
        return "not known"
    return f"at least {least}, expected {expected}, {bound}"


def _node_line(line: NodeCost, estimate: Estimate) -> str:
    least, most = line.nodes
    count = f"{least:,}" if least == most else f"{least:,} to {most:,}" if most else "any number of"
    # Spot is a name; dedicated is not.
    kind = "Spot" if line.kind == "spot" else "dedicated"
    noun = "node" if (least, most) == (1, 1) else "nodes"
    size = f"{flat(estimate.prices.node.size)}, {_system(estimate.prices)}"
    hours = _hours(line.hours)
    price = line.price
    if isinstance(price, Price):
        text = f"{units.price(price.per_hour, price.currency)} per hour ({flat(price.source)})"
    else:
        text = f"price not known: {flat(price.reason)}"
    return f"{count} {kind} {noun} ({size}): {hours}; {text}"


def _system(prices: NodePrices) -> str:
    return "Windows" if prices.node.windows else "Linux"


def _hours(hours: Amounts) -> str:
    """The minimum and maximum of the node-hours."""
    least = "?" if hours.least is None else f"{hours.least:,.2f}"
    if hours.most is None:
        return f"at least {least} node-hours"
    return f"{least} to {hours.most:,.2f} node-hours"


def _range(cost: Amounts, currency: str) -> str:
    least, most = cost.least, cost.most
    if least is None or most is None:
        return "no limit" if least is not None else "not known"
    if least == most:
        return units.money(least, currency)
    return f"{units.money(least, currency)} to {units.money(most, currency)}"


def _expectation(estimate: Estimate) -> str:
    earlier = estimate.earlier
    if estimate.tasks is None:
        return "expected: not known, because the tasks are created by the job"
    if earlier is None:
        return "expected: not known before the first run"
    tasks = units.counted(estimate.tasks, "task")
    return (
        f"expected: {tasks} of {units.duration(earlier.task)} each, as in job {flat(earlier.job)}"
        f" of {units.moment(earlier.ended)}"
    )


def _end(estimate: Estimate) -> str:
    limit = units.limit(estimate.limit.total_seconds())
    match estimate.end:
        case End.JOB:
            return f"limited by the service: the job ends after {limit}, and the pool with it"
        case End.SCALE if estimate.lifetime.most is not None:
            return f"limited by the service: the job ends after {limit}, and the pool scales to 0"
        case End.SCALE:
            return (
                "no limit: the number of nodes that the formula of the pool requests is not known"
            )
        case End.CLIENT:
            return (
                f"limited only while batchspec runs: the job ends after {limit}, and clean-up "
                "deletes the pool"
            )
        case End.OTHER:
            return (
                f"limited by the service: the job ends after {limit}; the pool is not created by"
                " this spec, and its nodes are billed before and after the run"
            )
        case End.NEVER:
            stays = estimate.stays
            cost = (
                "its nodes are billed"
                if stays is None
                else f"it costs {units.money(stays, estimate.currency)} per hour"
            )
            return f"no limit: the pool remains after the run, and {cost} until it is deleted"


def estimate_json(estimate: Estimate) -> dict[str, object]:
    """The estimate as a JSON object; amounts are in ``currency``, unknown numbers are null."""
    earlier = estimate.earlier
    return {
        "currency": estimate.currency,
        **_amounts(estimate.total),
        "max": estimate.max,
        "each_job": estimate.each_job,
        "vm_size": estimate.prices.node.size,
        "region": estimate.prices.node.region or None,
        "os": _system(estimate.prices).lower(),
        "nodes": [_node_json(line) for line in estimate.nodes],
        "included": [
            {"name": other.name, "rate": other.rate, **_amounts(other.cost)}
            for other in estimate.included
        ],
        "not_included": [
            {"name": other.name, "rate": other.rate, "reason": other.reason}
            for other in estimate.missing
        ],
        "hours": _amounts(estimate.lifetime),
        "limit_hours": round(estimate.limit.total_seconds() / 3600, 6),
        "end": estimate.end.value,
        "per_hour_after": estimate.stays,
        "tasks": estimate.tasks,
        "earlier_run": None
        if earlier is None
        else {
            "job": earlier.job,
            "ended": earlier.ended.isoformat(),
            "tasks": earlier.tasks,
            "seconds_per_task": round(earlier.task, 3),
            "seconds_before": round(earlier.before, 3),
            "seconds_after": round(earlier.after, 3),
        },
    }


def _node_json(line: NodeCost) -> dict[str, object]:
    price = line.price
    return {
        "kind": line.kind.value,
        "least_nodes": line.nodes[0],
        "most_nodes": line.nodes[1],
        "price_per_hour": price.per_hour if isinstance(price, Price) else None,
        "price_source": price.source if isinstance(price, Price) else None,
        "price_unknown": None if line.price_unknown is None else line.price_unknown.reason,
        "node_hours": _amounts(line.hours),
        "cost": _amounts(line.cost),
    }


def _amounts(amounts: Amounts) -> dict[str, float | None]:
    values = (amounts.least, amounts.expected, amounts.most)
    return {
        name: None if value is None else round(value, 6)
        for name, value in zip(_NUMBERS, values, strict=True)
    }


NOTHING_TO_ESTIMATE = "Nothing to estimate: the run has nothing to do."


def cost_text(
    plan: Plan,
    runs: Sequence[ActualRun],
    prices: NodePrices,
    currency: str,
    *,
    color: bool = False,
    width: int = 80,
) -> str:
    """The account, the estimate of a plan and the cost of ``runs``, in ``width`` columns."""
    style, target = Style(color), plan.account.target
    lines = [style("bold", account_line(plan.account))]
    if plan.estimate is None:
        lines.append(NOTHING_TO_ESTIMATE)
    else:
        lines += estimate_text(plan.estimate, target, style, width)
    return "\n".join([*lines, *_headed(actual_lines(runs, prices, currency, target), style, width)])


def estimate_text(estimate: Estimate, target: str, style: Style, width: int) -> Iterator[str]:
    """The estimate in lines of ``width`` columns; the total is bold."""
    yield from _headed(estimate_lines(estimate, target), style, width)


def _headed(lines: Iterator[str], style: Style, width: int) -> Iterator[str]:
    """Lines below the first one, which is bold."""
    for number, text in enumerate(lines):
        if number:
            yield from wrap(text, width, first="  ", rest="    ")
        else:
            yield from (style("bold", line) for line in wrap(text, width, rest="  "))


def cost_json(plan: Plan, runs: Sequence[ActualRun], prices: NodePrices) -> str:
    """The estimate of a plan and the cost of ``runs``, as indented JSON.

    ``estimate`` is null if there is nothing to do.
    """
    account = plan.account
    return json_text(
        {
            "version": 1,
            "target": account.target,
            "account": {"batch": account.batch, "storage": account.storage},
            "spec": {"name": plan.name, "digest": plan.digest},
            "estimate": None if plan.estimate is None else estimate_json(plan.estimate),
            "runs": actual_json(runs, prices),
        },
        indent=2,
    )


@frozen
class ActualRun:
    """A recorded run: its start, and its node-hours by VM size and kind."""

    began: datetime | None
    node_hours: Mapping[tuple[str, str], float]


def spent_text(
    node_hours: Mapping[tuple[str, str], float], prices: NodePrices, currency: str, target: str
) -> str:
    """Node-hours of a run and their cost: ``0.12 USD: 1.23 node-hours of 4 ...``."""
    parts = []
    for (size, kind), hours in node_hours.items():
        price = price_of((size, kind), prices)
        each = (
            "price not known" if price is None else f"{units.price(price.per_hour, currency)} each"
        )
        parts.append(f"{hours:,.2f} node-hours of {kind} {flat(size)} ({each})")
    total = spent(node_hours, prices)
    amount = "not known" if total is None else units.money(total, currency)
    where = " on Azure" if target == "local" else ""
    return f"{amount}{where} for {units.listed(parts)}" if parts else f"{units.money(0, currency)}"


def kept_text(report: Report, pool: str, prices: NodePrices, currency: str) -> str:
    """The cost per hour of the remaining nodes of a pool; empty if there are none."""
    seen = report.allocated.get(pool)
    counts = (("dedicated", seen.dedicated), ("spot", seen.spot)) if seen is not None else ()
    size = seen.vm_size.lower() if seen is not None else ""
    hourly = {(size, kind): float(count) for kind, count in counts if count}
    total = spent(hourly, prices)
    if not hourly or total is None:
        return ""
    nodes = units.counted(round(sum(hourly.values())), "node")
    where = " on Azure" if report.target == "local" else ""
    return f"{nodes} left: {units.money(total, currency)} per hour{where}"


def actual_lines(
    runs: Sequence[ActualRun], prices: NodePrices, currency: str, target: str
) -> Iterator[str]:
    """The total of the recorded runs, then each run, the oldest first."""
    if not runs:
        return
    total = spent(added(run.node_hours for run in runs), prices)
    amount = "not known" if total is None else units.money(total, currency)
    where = " on Azure" if target == "local" else ""
    yield f"Spent{where} by {units.counted(len(runs), 'recorded run')}: {amount}"
    for run in runs:
        began = "a run" if run.began is None else units.moment(run.began)
        yield f"{began}: {spent_text(run.node_hours, prices, currency, 'azure')}"


def actual_json(runs: Sequence[ActualRun], prices: NodePrices) -> list[dict[str, object]]:
    """The recorded runs as JSON; ``cost`` is null if a price is not known."""
    return [
        {
            "began": None if run.began is None else run.began.isoformat(),
            "node_hours": [
                {"vm_size": size, "kind": kind, "hours": round(hours, 6)}
                for (size, kind), hours in run.node_hours.items()
            ],
            "cost": _rounded(spent(run.node_hours, prices)),
        }
        for run in runs
    ]


def _rounded(amount: float | None) -> float | None:
    return None if amount is None else round(amount, 6)
