"""Reads the facts of an estimate: prices of the pool's nodes, and times of an earlier run."""

from __future__ import annotations

from datetime import datetime

from batchspec.account import Account
from batchspec.plan import node_type, node_type_of, pool_kinds
from batchspec.plan.observed import CostFacts, EarlierRun, JobFacts, Observed, PoolFacts
from batchspec.pricing import (
    USD,
    NodeKind,
    Price,
    PriceCache,
    PriceSource,
    PriceTable,
    Unknown,
    find_prices,
)
from batchspec.spec import Spec

_MOST_TASKS = 1_000
"""How many tasks of an earlier run are read at most."""


async def observe_cost(
    spec: Spec,
    observed: Observed,
    account: Account,
    *,
    source: PriceSource,
    cache: PriceCache,
    now: datetime,
) -> CostFacts:
    """The facts for an estimate. A price that cannot be read is unknown, with the reason.

    ``now`` is the real time, since the embedded service may be ahead of it.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    prices = await find_prices(
        node_type(spec, observed),
        now=now,
        source=source,
        cache=cache,
        table=spec.cost.prices if spec.cost is not None else None,
        kinds=pool_kinds(spec, observed),
    )
    return CostFacts(prices, await _earlier_run(observed, account))


async def cost_per_hour(
    pool: PoolFacts,
    region: str,
    *,
    source: PriceSource,
    cache: PriceCache,
    now: datetime,
    table: PriceTable | None = None,
) -> Price | Unknown:
    """The cost per hour of all present nodes of a pool.

    ``now`` is the real time, since the embedded service may be ahead of it.
    """
    counts = {NodeKind.DEDICATED: pool.dedicated, NodeKind.SPOT: pool.spot}
    kinds = [kind for kind, count in counts.items() if count]
    currency = table.currency if table is not None else USD
    if not kinds:
        return Price(0.0, currency, "no nodes")
    found = await find_prices(
        node_type_of(pool, region), now=now, source=source, cache=cache, table=table, kinds=kinds
    )
    total = 0.0
    for kind in kinds:
        price = found.of(kind)
        if isinstance(price, Unknown):
            return price
        total += counts[kind] * price.per_hour
        origin = price.source
    return Price(total, currency, origin)


async def _earlier_run(observed: Observed, account: Account) -> EarlierRun | None:
    """The times of the newest job that ended with tasks that succeeded."""
    for job in reversed(observed.jobs):
        if job.ended is not None and job.state == "completed":
            found = await _times(job, account)
            if found is not None:
                return found
    return None


async def _times(job: JobFacts, account: Account) -> EarlierRun | None:
    assert job.ended is not None
    spans: list[tuple[datetime, datetime]] = []
    whole = True
    async for task in account.tasks.list_times(job.id, running=False):
        if len(spans) == _MOST_TASKS:
            whole = False
            break
        if task.started is not None and task.ended is not None:
            spans.append((task.started, task.ended))
    if not spans:
        return None
    lasted = sum((end - start).total_seconds() for start, end in spans)
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    return EarlierRun(
        job=job.id,
        ended=job.ended,
        tasks=len(spans),
        task=lasted / len(spans),
        before=max((first - job.created).total_seconds(), 0.0),
        # If not all tasks were read, their last end is not the last end of all.
        after=max((job.ended - last).total_seconds(), 0.0) if whole else 0.0,
    )
