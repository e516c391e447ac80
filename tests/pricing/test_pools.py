"""What the nodes of unused pools cost per hour, for `list --orphans`."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.api import orphan_costs, prices
from batchspec.observe import Kind, OwnedResource
from batchspec.plan.observed import AccountNames, PoolFacts
from batchspec.pricing import Price, PriceCache, RetailPrices, Unknown
from batchspec.spec import Record
from tests.pricing.rows import ROWS
from tests.pricing.server import PriceServer, page

AZURE = AccountNames("azure", "ada.westeurope.batch.azure.com", "ada")


@pytest.fixture(autouse=True)
def _prices(monkeypatch: pytest.MonkeyPatch, server: PriceServer, tmp_path: Path) -> None:
    server.answers = [page(ROWS)]
    monkeypatch.setattr(prices, "RetailPrices", lambda: RetailPrices(server.url))
    monkeypatch.setattr(prices, "price_cache", lambda: PriceCache(tmp_path))


def pool(
    name: str, dedicated: int, spot: int = 0, agent: str = "", orphan: bool = True
) -> OwnedResource:
    machine = Record(nodeAgentSKUId=agent or "batch.node.ubuntu 24.04")
    body = Record(vmSize="STANDARD_D2S_V5", virtualMachineConfiguration=machine)
    facts = PoolFacts(name, "active", "steady", body, {}, dedicated, spot, dedicated, spot)
    nodes = dedicated + spot
    return OwnedResource(
        Kind.POOL, name, "demo", "active", None, not orphan, orphan, nodes, nodes, facts
    )


async def test_pools_that_no_job_uses_have_a_cost(server: PriceServer) -> None:
    """Both kinds of nodes, Windows, no nodes, and a pool in use; one request for one size."""
    found = await orphan_costs(
        AZURE,
        [
            pool("mixed", 2, 4),
            pool("windows", 1, agent="batch.node.windows amd64"),
            pool("empty", 0),
            pool("used", 9, orphan=False),
        ],
    )
    amounts = {name: cost.per_hour for name, cost in found.items() if isinstance(cost, Price)}
    assert amounts == {"mixed": pytest.approx(2 * 0.11 + 4 * 0.05), "windows": 0.21}
    assert len(server.paths) == 1


async def test_without_a_price_the_reason_is_known(server: PriceServer) -> None:
    server.answers = [(403, {}, b"")]
    found = await orphan_costs(AZURE, [pool("a", 1), pool("b", 1)])
    assert all(isinstance(cost, Unknown) for cost in found.values())
    assert len(server.paths) == 1


async def test_nodes_of_the_embedded_service_cost_nothing(server: PriceServer) -> None:
    assert await orphan_costs(AccountNames("local", "batch", "storage"), [pool("a", 1)]) == {}
    assert server.paths == []
