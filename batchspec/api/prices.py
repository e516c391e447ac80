"""Prices of nodes from the public price list, with a cache in the cache folder of the user."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from platformdirs import user_cache_path

from batchspec.cloud import AccountClient
from batchspec.observe import OwnedResource, cost_per_hour, observe_cost
from batchspec.plan import region_of
from batchspec.plan.observed import AccountNames, Observed, PoolFacts
from batchspec.pricing import Price, PriceCache, RetailPrices, Unknown
from batchspec.spec import Spec


def price_cache() -> PriceCache:
    """The cache of prices."""
    return PriceCache(user_cache_path("batchspec") / "prices")


async def with_cost(spec: Spec, observed: Observed, cloud: AccountClient) -> Observed:
    """The observations with the facts for an estimate.

    Raises:
        ServiceError: a service refused a request or could not be reached.
    """
    found = await observe_cost(
        spec,
        observed,
        cloud,
        source=RetailPrices(),
        cache=price_cache(),
        now=datetime.now(UTC),
    )
    return replace(observed, cost=found)


async def pool_cost(pool: PoolFacts, account: AccountNames, spec: Spec) -> Price | Unknown:
    """The cost per hour of the present nodes of the pool of a spec."""
    cost = spec.cost
    return await cost_per_hour(
        pool,
        (cost.region if cost is not None else "") or region_of(account),
        source=RetailPrices(),
        cache=price_cache(),
        now=datetime.now(UTC),
        table=cost.prices if cost is not None else None,
    )


async def orphan_costs(
    account: AccountNames, found: Iterable[OwnedResource]
) -> Mapping[str, Price | Unknown]:
    """The cost per hour of the nodes of unused pools, by the id of the pool.

    Nodes of the embedded service cost nothing, so no price is read.
    """
    if account.target == "local":
        return {}
    costs: dict[str, Price | Unknown] = {}
    for owned in found:
        # After a failure, the price list is not read again: `PriceCache.failed_recently`.
        if owned.orphan and owned.pool is not None and owned.nodes:
            costs[owned.id] = await cost_per_hour(
                owned.pool,
                region_of(account),
                source=RetailPrices(),
                cache=price_cache(),
                now=datetime.now(UTC),
            )
    return costs
