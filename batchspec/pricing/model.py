"""Prices as frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

USD = "USD"
"""The currency of Azure's prices; those in other currencies are converted for reference."""


class NodeKind(StrEnum):
    """How nodes are billed: `targetDedicatedNodes` or `targetLowPriorityNodes`.

    Low-priority nodes have been Spot nodes since March 2026, and are billed as such (Azure/Batch
    issue 196).
    """

    DEDICATED = "dedicated"
    SPOT = "spot"


@dataclass(frozen=True, slots=True)
class NodeType:
    """What is priced. ``size`` is a VM size in any case; ``region`` is empty if it is not known."""

    size: str
    region: str
    windows: bool = False


@dataclass(frozen=True, slots=True)
class Price:
    """The price of a node for an hour; ``source`` is where it is from, with its date."""

    per_hour: float
    currency: str
    source: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No price is known: ``reason`` is a part of a sentence, ``fix`` what to do about it."""

    reason: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class NodePrices:
    """The prices of one type of node, by kind."""

    node: NodeType
    dedicated: Price | Unknown
    spot: Price | Unknown

    def of(self, kind: NodeKind) -> Price | Unknown:
        """The price of nodes of a kind."""
        return self.dedicated if kind is NodeKind.DEDICATED else self.spot


@dataclass(frozen=True, slots=True)
class PriceTable:
    """Prices that the user gives: per hour, by VM size in lower case and by kind."""

    currency: str = USD
    sizes: Mapping[str, Mapping[NodeKind, float]] = field(default_factory=dict)

    def price(self, size: str, kind: NodeKind) -> float | None:
        """The price of a size; ``None`` if the table does not have it."""
        return self.sizes.get(size.lower(), {}).get(kind)
