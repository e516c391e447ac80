"""The Azure Retail Prices API: HTTPS, no account, no key.

``GET https://prices.azure.com/api/retail/prices`` returns pages of rows with a ``NextPageLink``.
Values in its filter are case-sensitive since version 2023-01-01-preview. One size in one region is
one page; longer walks lose rows (microsoft/finops-toolkit issue 2164), so that there is a bound.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from typing import IO
from urllib.parse import quote, urlsplit

from batchspec.catalog.vm_sizes import arm_name
from batchspec.frozen import frozen

API = "https://prices.azure.com/api/retail/prices"
_VERSION = "2023-01-01-preview"
_MOST_PAGES = 20
_MOST_BYTES = 16 << 20
_BUSY = {429, 500, 502, 503, 504}
"""Statuses after which the same request may succeed."""
_FIRST_PAUSE = 0.5
"""Seconds before the first repetition, if the service names no time; then twice as long."""


class PricesUnavailableError(Exception):
    """The API gave no complete answer; the message is a part of a sentence."""


@frozen
class _Answer:
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
            PricesUnavailableError: the API cannot be reached, or its answer is not complete.
        """
        deadline = self.monotonic() + seconds
        link: str | None = self._first(size, region, currency)
        rows: list[Mapping[str, object]] = []
        for _ in range(_MOST_PAGES):
            page = self._page(link, deadline)
            items, link = page.get("Items"), _next_link(page, self.url)
            if not isinstance(items, list):
                raise PricesUnavailableError("its answer has no list of prices")
            rows += [row for row in items if isinstance(row, dict)]
            if link is None:
                return rows
        raise PricesUnavailableError(f"its answer has more than {_MOST_PAGES} pages")

    def _first(self, size: str, region: str, currency: str) -> str:
        clauses = {
            "serviceName": "Virtual Machines",
            "armRegionName": region.lower(),
            "armSkuName": arm_name(size),
            "priceType": "Consumption",
        }
        found = " and ".join(f"{name} eq {_literal(value)}" for name, value in clauses.items())
        return (
            f"{self.url}?api-version={_VERSION}&currencyCode={quote(_literal(currency))}"
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
            answer = _get(url, left)
            if answer.status == http.client.OK:
                return _parsed(answer.body)
            wait = _wait(answer, pause, self.now())
            if answer.status not in _BUSY:
                raise PricesUnavailableError(f"it answered with HTTP status {answer.status}")
            if wait >= deadline - self.monotonic():
                raise PricesUnavailableError(
                    f"it is busy (HTTP status {answer.status}); it may answer in {wait:.0f} s"
                )
            self.sleep(wait)
            pause *= 2


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API does not redirect; a sign-in page of a network does."""

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


def _get(url: str, timeout: float) -> _Answer:
    """One request; the proxy is that of the environment."""
    try:
        request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - `API`, or a page of it
        opener = urllib.request.build_opener(_NoRedirect)
        with opener.open(request, timeout=timeout) as response:
            body = response.read(_MOST_BYTES + 1)
            if len(body) > _MOST_BYTES:
                raise PricesUnavailableError("its answer is too long")
            return _Answer(response.status, dict(response.headers), body)
    except urllib.error.HTTPError as error:
        with error:
            return _Answer(error.code, dict(error.headers), b"")
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
        raise PricesUnavailableError("its answer is not JSON") from error
    if not isinstance(page, dict):
        raise PricesUnavailableError("its answer is not an object")
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


def _wait(answer: _Answer, pause: float, now: datetime) -> float:
    """Seconds until the next request: as the service says, in seconds or as a date."""
    text = next((v for k, v in answer.headers.items() if k.lower() == "retry-after"), "")
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
