"""Prices of nodes: rows of the Azure Retail Prices API, a cache on disk, a table of the user.

In: the size, operating system and region of nodes, and a currency. Out: for each kind of node a
:class:`Price`, or an :class:`Unknown` with its reason. Functions: ``find_prices`` (table, cache,
API), ``choose`` (pure: which row is the price), ``parse_table`` (pure: the user's table).

Not here: the number of nodes of a run and their time (``plan``), and formatted output (``render``).
A price that cannot be read is not an error, and reading takes at most :data:`PATIENCE` seconds.

Modules are imported on first use, because imports add to the start time of a command.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchspec.lazy_imports import lazy_names
from batchspec.pricing.model import (
    USD,
    NodeKind,
    NodePrices,
    NodeType,
    Price,
    PriceTable,
    TableError,
    Unknown,
    parse_table,
)

if TYPE_CHECKING:
    from batchspec.pricing.lookup import (
        PATIENCE,
        PriceCache,
        PriceSource,
        PricesUnavailableError,
        RetailPrices,
        find_prices,
    )
    from batchspec.pricing.model import choose, choose_all

__getattr__ = lazy_names(
    __name__,
    {
        "lookup": "PATIENCE PriceCache PriceSource PricesUnavailableError RetailPrices find_prices",
        "model": "choose choose_all",
    },
)
