"""Prices as frozen values, and the user's prices: a table by VM size. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from enum import StrEnum

from batchspec.frozen import frozen

USD = "USD"
"""The currency of Azure's prices; those in other currencies are converted for reference."""


class NodeKind(StrEnum):
    """How nodes are billed: `targetDedicatedNodes` or `targetLowPriorityNodes`.

    Low-priority nodes have been Spot nodes since March 2026, and are billed as such (Azure/Batch
    issue 196).
    """

    DEDICATED = "dedicated"
    SPOT = "spot"


@frozen
class NodeType:
    """What is priced. ``size`` is a VM size in any case; ``region`` is empty if it is not known."""

    size: str
    region: str
    windows: bool = False


@frozen
class Price:
    """The price of a node for an hour; ``source`` is where it is from, with its date."""

    per_hour: float
    currency: str
    source: str


@frozen
class Unknown:
    """No price is known: ``reason`` is a part of a sentence, ``fix`` what to do about it."""

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
