"""The price of nodes: from the user's table, the cache, or the API, in this order."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

from batchspec.catalog.vm_sizes import is_well_formed
from batchspec.pricing.cache import FRESH, Entry, PriceCache
from batchspec.pricing.model import NodeKind, NodePrices, NodeType, Price, PriceTable, Unknown
from batchspec.pricing.retail import PricesUnavailableError
from batchspec.pricing.rows import choose_all

PATIENCE = 5.0
"""Seconds that a command waits for prices at most."""

GIVEN = "given"
"""The source of a price from the user's table."""
_GIVE = "Write the price per hour under `cost.prices`."

T = TypeVar("T")
Rows = Sequence[Mapping[str, object]]


class PriceSource(Protocol):
    """The API: see :class:`~batchspec.pricing.retail.RetailPrices`."""

    def rows(self, size: str, region: str, currency: str, seconds: float) -> Rows:
        """Every row for a VM size in a region."""
        ...


async def find_prices(
    node: NodeType,
    *,
    now: datetime,
    source: PriceSource,
    cache: PriceCache,
    table: PriceTable | None = None,
    kinds: Collection[NodeKind] = tuple(NodeKind),
    patience: float = PATIENCE,
) -> NodePrices:
    """The prices of these ``kinds`` of nodes. Never raises; waits ``patience`` seconds at most.

    Prices of the ``table`` take precedence; the API is asked only if one of the kinds is not in it.
    """
    table = table or PriceTable()
    given = {kind: _given(table, node, kind) for kind in NodeKind}
    if all(given[kind] is not None for kind in kinds):
        public = _unknown(node, "it was not needed", "")
    else:
        public = await _public(
            node,
            now=now,
            source=source,
            cache=cache,
            currency=table.currency,
            patience=patience,
        )
    return NodePrices(
        node,
        given[NodeKind.DEDICATED] or public.dedicated,
        given[NodeKind.SPOT] or public.spot,
    )


def _given(table: PriceTable, node: NodeType, kind: NodeKind) -> Price | None:
    price = table.price(node.size, kind)
    return None if price is None else Price(price, table.currency, GIVEN)


async def _public(
    node: NodeType,
    *,
    now: datetime,
    source: PriceSource,
    cache: PriceCache,
    currency: str,
    patience: float,
) -> NodePrices:
    """The list prices: from the cache while they are fresh, otherwise from the API."""
    if not node.region:
        fix = f"Write `cost: {{region: westeurope}}`, or another region. {_GIVE}"
        return _unknown(node, "the region is not known", fix)
    if not is_well_formed(node.size):
        return _unknown(node, f"{node.size!r} is not the name of a VM size", _GIVE)
    entry = cache.read(node, currency, now)
    if entry is not None and now - entry.at < FRESH:
        return _chosen(entry, node, currency, now)
    reason = cache.failed_recently(now)
    if not reason:
        try:
            rows = await _bounded(
                lambda: source.rows(node.size, node.region, currency, patience), patience
            )
        except (PricesUnavailableError, TimeoutError) as error:
            reason = str(error) or "it did not answer in time"
            cache.fail(reason, now)
        else:
            cache.write(node, currency, rows, now)
            return _chosen(Entry(now, tuple(rows)), node, currency, now)
    if entry is not None:
        return _chosen(entry, node, currency, now)
    return _unknown(node, f"prices.azure.com gave no price: {reason}", _GIVE)


def _chosen(entry: Entry, node: NodeType, currency: str, now: datetime) -> NodePrices:
    source = f"Azure Retail Prices of {entry.at:%Y-%m-%d}"
    return choose_all(entry.rows, node, currency=currency, now=now, source=source)


def _unknown(node: NodeType, reason: str, fix: str) -> NodePrices:
    return NodePrices(node, Unknown(reason, fix), Unknown(reason, fix))


async def _bounded(call: Callable[[], T], seconds: float) -> T:
    """The result of a blocking call.

    In a thread that does not keep the process: looking up a name has no time limit, and the
    executor of the loop waits for its threads at exit.

    Raises:
        TimeoutError: it takes longer.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def work() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = call()
        except Exception as error:  # noqa: BLE001 - raised by the awaiting task
            failure = error
        # The loop is closed if the command ended first.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="prices", daemon=True).start()
    return await asyncio.wait_for(future, seconds)
