"""The price of nodes: from the user's table, the cache on disk, or the API, in this order.

An entry of the cache counts for a day; when the API cannot be reached, an older one is used and its
date shown.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import tempfile
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol, TypeVar

from batchspec.catalog.vm_sizes import is_well_formed
from batchspec.frozen import frozen
from batchspec.pricing.model import NodeKind, NodePrices, NodeType, Price, PriceTable, Unknown
from batchspec.pricing.retail import PricesUnavailableError
from batchspec.pricing.rows import choose_all, deciding

FRESH = timedelta(days=1)
"""How long rows count without asking again."""
RETRY = timedelta(minutes=10)
"""How long the API is not asked again after it could not be reached."""
_VERSION = 1
_UNSAFE = re.compile(r"[^a-z0-9_-]")


@frozen
class Entry:
    """The rows of one size in one region, and when they were read."""

    at: datetime
    rows: tuple[Mapping[str, object], ...]


@frozen
class PriceCache:
    """Entries in a folder, one file each. A folder that cannot be written only costs requests."""

    folder: Path

    def read(self, node: NodeType, currency: str, now: datetime) -> Entry | None:
        """The stored rows, however old they are; ``None`` without any, or if they are damaged."""
        stored = self._load(self._path(node, currency))
        at, rows = _moment(stored.get("at")), stored.get("rows")
        if stored.get("version") != _VERSION or at is None or not isinstance(rows, list):
            return None
        if at > now + FRESH:
            # The clock was wrong when they were stored: they would never be read again.
            return None
        return Entry(at, tuple(row for row in rows if isinstance(row, dict)))

    def write(
        self, node: NodeType, currency: str, rows: Sequence[Mapping[str, object]], now: datetime
    ) -> None:
        """Store rows that were read now."""
        entry = {"version": _VERSION, "at": now.isoformat(), "rows": list(deciding(rows))}
        self._store(self._path(node, currency), entry)

    def failed_recently(self, now: datetime) -> str:
        """Why the API could not be reached within the last minutes; empty if it could."""
        stored = self._load(self._failure)
        at, reason = _moment(stored.get("at")), stored.get("reason")
        if at is None or not isinstance(reason, str) or not at <= now < at + RETRY:
            return ""
        return reason

    def fail(self, reason: str, now: datetime) -> None:
        """Record that the API could not be reached."""
        self._store(self._failure, {"at": now.isoformat(), "reason": reason})

    @property
    def _failure(self) -> Path:
        return self.folder / "unreachable.json"

    def _path(self, node: NodeType, currency: str) -> Path:
        name = "-".join((node.region.lower(), node.size.lower(), currency.lower()))
        return self.folder / f"{_UNSAFE.sub('_', name)}.json"

    def _load(self, path: Path) -> Mapping[str, object]:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            # Without the file, or with a damaged one, the API is asked.
            return {}
        return found if isinstance(found, dict) else {}

    def _store(self, path: Path, content: Mapping[str, object]) -> None:
        # Without a cache, the next command asks the API again.
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file)
                Path(part).replace(path)
            except OSError:
                Path(part).unlink(missing_ok=True)
                raise


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None


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
