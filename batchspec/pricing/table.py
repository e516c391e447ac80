"""The user's prices: a table by VM size. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from batchspec.pricing.model import USD, NodeKind, PriceTable


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
