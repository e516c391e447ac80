"""The price of nodes by size and kind."""

from __future__ import annotations

import pytest

from batchspec.pricing import NodePrices, NodeType, Price, Unknown
from batchspec.render.report import price_of

PRICES = NodePrices(
    NodeType("Standard_D2s_v5", "westeurope"), Price(0.1, "USD", "table"), Unknown("no row")
)


@pytest.mark.parametrize(
    ("key", "price"),
    [
        (("standard_d2s_v5", "dedicated"), 0.1),
        (("standard_d2s_v5", "spot"), None),
        (("standard_d4s_v5", "dedicated"), None),
        (("standard_d2s_v5", ""), None),
        (("", ""), None),
    ],
)
def test_only_nodes_of_a_known_size_and_kind_have_a_price(
    key: tuple[str, str], price: float | None
) -> None:
    found = price_of(key, PRICES)
    assert (None if found is None else found.per_hour) == price
