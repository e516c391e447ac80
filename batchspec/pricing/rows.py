"""Which row of the Azure Retail Prices API is the price of a node. Pure.

The API returns 9 to 13 rows for one size in one region: for Linux and Windows, Spot and the former
low priority, Cloud Services, Dev/Test subscriptions and reservations. A reservation has the price
of its whole term, although its unit is `1 Hour`. Sources: the API's documentation, and its rows for
`Standard_B16als_v2` as published in July 2026.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from math import isfinite

from batchspec.catalog.vm_sizes import arm_name
from batchspec.pricing.model import NodeKind, NodePrices, NodeType, Price, Unknown

FIELDS = (
    "armRegionName",
    "armSkuName",
    "currencyCode",
    "effectiveStartDate",
    "isPrimaryMeterRegion",
    "meterName",
    "productName",
    "retailPrice",
    "serviceName",
    "skuName",
    "tierMinimumUnits",
    "type",
    "unitOfMeasure",
)
"""The fields of a row that decide."""

_SERVICE = "Virtual Machines"
_OTHER_PRODUCTS = ("Cloud Services", "CloudServices", "Dedicated Host")
_WINDOWS = (" Windows", " Win")
"""The ends of the names of products with Windows; ` Win` occurs in series with H100."""
_SPOT = re.compile(r"\bSpot\b")
_LOW_PRIORITY = re.compile(r"\bLow Priority\b")


def choose_all(
    rows: Iterable[Mapping[str, object]],
    node: NodeType,
    *,
    currency: str,
    now: datetime,
    source: str,
) -> NodePrices:
    """The prices of a type of node, each from the row that applies now."""
    rows = list(rows)
    dedicated, spot = (
        choose(rows, node, kind, currency=currency, now=now, source=source)
        for kind in (NodeKind.DEDICATED, NodeKind.SPOT)
    )
    return NodePrices(node, dedicated, spot)


def choose(
    rows: Iterable[Mapping[str, object]],
    node: NodeType,
    kind: NodeKind,
    *,
    currency: str,
    now: datetime,
    source: str,
) -> Price | Unknown:
    """The price of a kind of node; :class:`Unknown` if no row or several rows could be it."""
    matching = [row for row in rows if _is_price(row, node, kind, currency)]
    dated = [(_start(row), row) for row in matching]
    valid = [(start, row) for start, row in dated if start <= now]
    what = f"{arm_name(node.size)} in {node.region}"
    system = "Windows" if node.windows else "Linux"
    if not valid:
        return Unknown(f"no price of a {kind} {system} node of {what} is published in {currency}")
    latest = max(start for start, _ in valid)
    prices = sorted({_amount(row) for start, row in valid if start == latest})
    if len(prices) > 1:
        listed = ", ".join(f"{price:g}" for price in prices)
        return Unknown(f"{len(prices)} prices are published for a {kind} {system} node of {what}"
                       f" ({listed} {currency})")  # fmt: skip
    return Price(prices[0], currency, source)


def _is_price(row: Mapping[str, object], node: NodeType, kind: NodeKind, currency: str) -> bool:
    """Whether a row is an hourly list price of such a node, whenever it applies."""
    product, names = (
        _text(row, "productName"),
        f"{_text(row, 'skuName')}\n{_text(row, 'meterName')}",
    )
    return (
        _text(row, "armSkuName").lower() == node.size.lower()
        and _text(row, "armRegionName").lower() == node.region.lower()
        and _text(row, "serviceName") in {"", _SERVICE}
        and _text(row, "currencyCode") in {"", currency}
        and _text(row, "type") == "Consumption"
        and _text(row, "unitOfMeasure") == "1 Hour"
        and row.get("isPrimaryMeterRegion") is not False
        and not row.get("tierMinimumUnits")
        and product.startswith(_SERVICE)
        and not any(other in product for other in _OTHER_PRODUCTS)
        and product.endswith(_WINDOWS) is node.windows
        and _LOW_PRIORITY.search(names) is None
        and (_SPOT.search(names) is not None) is (kind is NodeKind.SPOT)
        and _amount(row) > 0
    )


def _text(row: Mapping[str, object], name: str) -> str:
    """A text of a row; some have trailing blanks."""
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""


def _amount(row: Mapping[str, object]) -> float:
    """The price of a row; 0 if it has none."""
    value = row.get("retailPrice")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if isinstance(value, int | float) and number and isfinite(value) else 0.0


def _start(row: Mapping[str, object]) -> datetime:
    """From when a row applies; a row without a date always has."""
    try:
        start = datetime.fromisoformat(_text(row, "effectiveStartDate"))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return start if start.tzinfo is not None else start.replace(tzinfo=UTC)


def deciding(rows: Iterable[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """The rows with only the fields that decide, as they are stored."""
    for row in rows:
        yield {name: row[name] for name in FIELDS if name in row}
