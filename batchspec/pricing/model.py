"""Prices as frozen values, the user's table, and the choice of a row of the price list. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from enum import StrEnum
from math import isfinite

from batchspec.catalog.vm_sizes import arm_name
from batchspec.frozen import frozen

USD = "USD"
"""The currency of Azure's prices; prices in other currencies are converted for reference."""


class NodeKind(StrEnum):
    """The billing of nodes: `targetDedicatedNodes` or `targetLowPriorityNodes`.

    Low-priority nodes have been Spot nodes since March 2026, and are billed as such (Azure/Batch
    issue 196).
    """

    DEDICATED = "dedicated"
    SPOT = "spot"


@frozen
class NodeType:
    """A type of node.

    ``size`` is a VM size in any letter case; ``region`` is empty if it is not known.
    """

    size: str
    region: str
    windows: bool = False


@frozen
class Price:
    """The price of a node for an hour; ``source`` is its source with the date."""

    per_hour: float
    currency: str
    source: str


@frozen
class Unknown:
    """No price is known: ``reason`` is a part of a sentence, ``fix`` is the fix."""

    reason: str
    fix: str = ""


@frozen
class NodePrices:
    """The prices of one type of node, by kind."""

    node: NodeType
    dedicated: Price | Unknown
    spot: Price | Unknown

    def of(self, kind: NodeKind) -> Price | Unknown:
        """The price of nodes of a kind."""
        return self.dedicated if kind is NodeKind.DEDICATED else self.spot


@frozen
class PriceTable:
    """Prices that the user gives: per hour, by VM size in lower case and by kind."""

    currency: str = USD
    sizes: Mapping[str, Mapping[NodeKind, float]] = field(default_factory=dict)

    def price(self, size: str, kind: NodeKind) -> float | None:
        """The price of a size; ``None`` if the table does not have it."""
        return self.sizes.get(size.lower(), {}).get(kind)


class TableError(ValueError):
    """A table is not valid: ``path`` are the keys of the wrong value."""

    def __init__(self, reason: str, *path: str) -> None:
        super().__init__(reason)
        self.path = path


def parse_table(value: object, currency: str = USD) -> PriceTable:
    """A table ``{SIZE: PRICE}`` or ``{SIZE: {dedicated: PRICE, spot: PRICE}}``, per node and hour.

    A single price is that of dedicated nodes.

    Raises:
        TableError: the table has another form.
    """
    if not isinstance(value, Mapping):
        raise TableError("prices are a table of VM sizes")
    sizes: dict[str, dict[NodeKind, float]] = {}
    for size, given in value.items():
        if not isinstance(size, str):
            raise TableError(f"{size!r} is not the name of a VM size", str(size))
        kinds = given if isinstance(given, Mapping) else {NodeKind.DEDICATED: given}
        sizes[size.lower()] = {
            _kind(kind, size): _price(price, size, str(kind)) for kind, price in kinds.items()
        }
    return PriceTable(currency, sizes)


def _kind(kind: object, size: str) -> NodeKind:
    try:
        return NodeKind(str(kind))
    except ValueError:
        raise TableError(f"{kind!r} is not a kind of node; use dedicated or spot", size) from None


def _price(price: object, size: str, kind: str) -> float:
    number = isinstance(price, int | float) and not isinstance(price, bool)
    if not isinstance(price, int | float) or not number or not 0 <= price < math.inf:
        raise TableError(f"the price of a {kind} node is not a number of at least 0", size)
    return float(price)


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
"""The fields of a row that determine the choice."""

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
    """The price of a kind of node; :class:`Unknown` if no row or several rows match."""
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
    """Whether a row is an hourly list price of a kind of node, for any period."""
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
    """The date from which a row applies; a row without a date applies always."""
    try:
        start = datetime.fromisoformat(_text(row, "effectiveStartDate"))
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)
    return start if start.tzinfo is not None else start.replace(tzinfo=UTC)


def deciding(rows: Iterable[Mapping[str, object]]) -> Iterator[dict[str, object]]:
    """The rows with only the fields that determine the choice, for the cache."""
    for row in rows:
        yield {name: row[name] for name in FIELDS if name in row}
