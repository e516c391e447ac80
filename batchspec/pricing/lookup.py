"""The price of nodes: from the user's table, the cache on disk, or the Retail Prices API.

``GET https://prices.azure.com/api/retail/prices`` needs no account and no key, and returns pages of
rows with a ``NextPageLink``. Values in its filter are case-sensitive since version
2023-01-01-preview. One size in one region is one page; longer lists lose rows
(microsoft/finops-toolkit issue 2164), so the number of pages is limited.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO, Protocol, TypeVar
from urllib.parse import quote, urlsplit

from batchspec.catalog.vm_sizes import arm_name, is_well_formed
from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.pricing.model import (
    NodeKind,
    NodePrices,
    NodeType,
    Price,
    PriceTable,
    Unknown,
    choose_all,
    deciding,
)

API = "https://prices.azure.com/api/retail/prices"
_API_VERSION = "2023-01-01-preview"
_MOST_PAGES = 20
_MOST_BYTES = 16 << 20
_BUSY = {429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed."""
_FIRST_PAUSE = 0.5
"""Seconds before the first retry, if the service names no time; each further pause is twice as
long."""


class PricesUnavailableError(Exception):
    """The API returned no complete response; the message is a part of a sentence."""


@frozen
class _Response:
    status: int
    headers: Mapping[str, str]
    body: bytes


_LATE = "it did not answer in time"


@frozen
class RetailPrices:
    """A client of the API. ``monotonic`` and ``sleep`` are in seconds, ``now`` is the time."""

    url: str = API
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def rows(
        self, size: str, region: str, currency: str, seconds: float
    ) -> list[Mapping[str, object]]:
        """Every row for a VM size in a region; blocks for about ``seconds`` at most.

        Raises:
            PricesUnavailableError: the API cannot be reached, or its response is not complete.
        """
        deadline = self.monotonic() + seconds
        link: str | None = self._first(size, region, currency)
        rows: list[Mapping[str, object]] = []
        for _ in range(_MOST_PAGES):
            page = self._page(link, deadline)
            items, link = page.get("Items"), _next_link(page, self.url)
            if not isinstance(items, list):
                raise PricesUnavailableError("its response has no list of prices")
            rows += [row for row in items if isinstance(row, dict)]
            if link is None:
                return rows
        raise PricesUnavailableError(f"its response has more than {_MOST_PAGES} pages")

    def _first(self, size: str, region: str, currency: str) -> str:
        clauses = {
            "serviceName": "Virtual Machines",
            "armRegionName": region.lower(),
            "armSkuName": arm_name(size),
            "priceType": "Consumption",
        }
        found = " and ".join(f"{name} eq {_literal(value)}" for name, value in clauses.items())
        return (
            f"{self.url}?api-version={_API_VERSION}&currencyCode={quote(_literal(currency))}"
            f"&meterRegion={quote(_literal('primary'))}&$filter={quote(found)}"
        )

    def _page(self, url: str | None, deadline: float) -> Mapping[str, object]:
        """One page, requested again while the service is busy."""
        assert url is not None
        pause = _FIRST_PAUSE
        while True:
            left = deadline - self.monotonic()
            if left <= 0:
                raise PricesUnavailableError(_LATE)
            response = _get(url, left)
            if response.status == http.client.OK:
                return _parsed(response.body)
            wait = _wait(response, pause, self.now())
            if response.status not in _BUSY:
                raise PricesUnavailableError(f"it returned HTTP status {response.status}")
            if wait >= deadline - self.monotonic():
                raise PricesUnavailableError(
                    f"it is busy (HTTP status {response.status}); it may answer in {wait:.0f} s"
                )
            self.sleep(wait)
            pause *= 2


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Redirections are refused: the API does not redirect, but sign-in pages of networks do."""

    def redirect_request(  # noqa: PLR0917 - the signature of the base class
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Message,
        newurl: str,
    ) -> None:
        """Treat a redirection as an error."""


def _get(url: str, timeout: float) -> _Response:
    """One request; the proxy is that of the environment."""
    try:
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - `API`, or a page of it
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=timeout) as response:
            body = response.read(_MOST_BYTES + 1)
            if len(body) > _MOST_BYTES:
                raise PricesUnavailableError("its response is too long")
            return _Response(response.status, dict(response.headers), body)
    except urllib.error.HTTPError as error:
        with error:
            return _Response(error.code, dict(error.headers), b"")
    except (OSError, http.client.HTTPException, ValueError) as error:
        # The address of a proxy in the environment can be wrong.
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, TimeoutError):
            raise PricesUnavailableError(_LATE) from error
        text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
        raise PricesUnavailableError(f"it cannot be reached ({text})") from error


def _parsed(body: bytes) -> Mapping[str, object]:
    try:
        page = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PricesUnavailableError("its response is not JSON") from error
    if not isinstance(page, dict):
        raise PricesUnavailableError("its response is not an object")
    return page


def _next_link(page: Mapping[str, object], url: str) -> str | None:
    """The link to the next page, unchanged; it may name the port of the same server."""
    link = page.get("NextPageLink")
    if not isinstance(link, str) or not link:
        return None
    try:
        same = _server(link) == _server(url)
    except ValueError:
        same = False
    if not same:
        raise PricesUnavailableError("its next page is on another server")
    return link


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, parts.port or default


def _wait(response: _Response, pause: float, now: datetime) -> float:
    """Seconds until the next request, from a header in seconds or with a date."""
    text = next((v for k, v in response.headers.items() if k.lower() == "retry-after"), "")
    if text.strip().isdecimal():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return pause
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(pause, (moment - now).total_seconds())


def _literal(text: str) -> str:
    """A string of OData."""
    return "'" + text.replace("'", "''") + "'"


FRESH = timedelta(days=1)
"""The time for which stored rows are current."""
RETRY = timedelta(minutes=10)
"""The time without requests after the API could not be reached."""
_CACHE_FORMAT = 1
_UNSAFE = re.compile(r"[^a-z0-9_-]")


@frozen
class Entry:
    """The rows of one size in one region, and the time at which they were read."""

    at: datetime
    rows: tuple[Mapping[str, object], ...]


@frozen
class PriceCache:
    """Entries in a folder, one file each.

    Without a writable folder, each command sends its requests again.
    """

    folder: Path

    def read(self, node: NodeType, currency: str, now: datetime) -> Entry | None:
        """The stored rows of any age; ``None`` if there are none or they are damaged."""
        stored = self._load(self._path(node, currency))
        at, rows = _moment(stored.get("at")), stored.get("rows")
        if stored.get("version") != _CACHE_FORMAT or at is None or not isinstance(rows, list):
            return None
        if at > now + FRESH:
            # The clock was wrong when they were stored, and they would never expire.
            return None
        return Entry(at, tuple(row for row in rows if isinstance(row, dict)))

    def write(
        self, node: NodeType, currency: str, rows: Sequence[Mapping[str, object]], now: datetime
    ) -> None:
        """Store rows that were read now."""
        entry = {"version": _CACHE_FORMAT, "at": now.isoformat(), "rows": list(deciding(rows))}
        self._store(self._path(node, currency), entry)

    def failed_recently(self, now: datetime) -> str:
        """The recent error that prevented access to the API; empty if there is none."""
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
            return json_object(path.read_bytes())
        except OSError:
            return {}  # Without a valid file, the API is asked.

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
"""The maximum seconds that a command waits for prices."""

GIVEN = "given"
"""The source of a price from the user's table."""
_GIVE = "Write the price per hour under `cost.prices`."

T = TypeVar("T")
Rows = Sequence[Mapping[str, object]]


class PriceSource(Protocol):
    """The API: see :class:`~batchspec.pricing.lookup.RetailPrices`."""

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
    """The prices of these ``kinds`` of nodes.

    Never raises an exception; waits at most ``patience`` seconds.

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
        fix = (
            "Write `cost: {region: westeurope}` with your region, or the price per hour under"
            " `cost.prices`."
        )
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
    """The result of a blocking call in a daemon thread.

    A name lookup has no time limit, and the executor of the loop waits for its threads at exit.

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
        # The loop is closed if the command ended before the call.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=work, name="prices", daemon=True).start()
    return await asyncio.wait_for(future, seconds)
