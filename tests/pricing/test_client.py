"""The client of the Retail Prices API, its cache, and the order in which prices are looked up."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from batchspec.pricing import (
    NodeKind,
    NodePrices,
    NodeType,
    Price,
    PriceCache,
    PricesUnavailableError,
    RetailPrices,
    Unknown,
    find_prices,
    parse_table,
)
from tests.pricing.rows import NOW, ROWS, row
from tests.pricing.server import PriceServer, page

D2 = NodeType("standard_d2s_v5", "westeurope")
TODAY = "Azure Retail Prices of 2026-12-02"


@dataclass(slots=True)
class Time:
    """Passes only while somebody sleeps."""

    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return sum(self.slept)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


def client(server: PriceServer, time: Time | None = None) -> RetailPrices:
    time = time or Time()
    return RetailPrices(server.url, lambda: NOW, time.monotonic, time.sleep)


def rows_of(prices: RetailPrices, seconds: float = 60) -> Sequence[Mapping[str, object]]:
    return prices.rows(D2.size, "WestEurope", "EUR", seconds)


def test_the_request_names_one_size_in_one_region(server: PriceServer) -> None:
    server.answers = [page(ROWS)]
    assert rows_of(client(server)) == list(ROWS)
    (path,) = server.paths
    query = parse_qs(urlsplit(path).query)
    assert query == {
        "api-version": ["2023-01-01-preview"],
        "currencyCode": ["'EUR'"],
        "meterRegion": ["'primary'"],
        "$filter": [
            "serviceName eq 'Virtual Machines' and armRegionName eq 'westeurope' and "
            "armSkuName eq 'Standard_D2s_v5' and priceType eq 'Consumption'"
        ],
    }


def test_pages_are_followed_as_the_links_are(server: PriceServer) -> None:
    link = f"{server.url}?$filter=x%20eq%20'y'&$skip=100&weird=%2f+"
    server.answers = [page(ROWS[:5], link), page(ROWS[5:7], link + "0"), page(ROWS[7:])]
    assert rows_of(client(server)) == list(ROWS)
    assert server.paths[1].endswith("?$filter=x%20eq%20'y'&$skip=100&weird=%2f+")
    assert server.paths[2].endswith("weird=%2f+0")


def test_pages_without_an_end_are_an_error(server: PriceServer) -> None:
    server.answers = [page(ROWS[:1], server.url)]
    with pytest.raises(PricesUnavailableError, match="more than 20 pages"):
        rows_of(client(server))
    assert len(server.paths) == 20


def test_a_page_on_another_server_is_not_followed(server: PriceServer) -> None:
    server.answers = [page(ROWS[:1], "http://prices.example.org/api")]
    with pytest.raises(PricesUnavailableError, match="another server"):
        rows_of(client(server))


@pytest.mark.parametrize(
    ("status", "headers", "waits"),
    [
        (429, {"Retry-After": "7"}, [7.0, 7.0]),
        (503, {"Retry-After": "Wed, 02 Dec 2026 09:00:12 GMT"}, [12.0, 12.0]),
        (429, {}, [0.5, 1.0]),
        (500, {"Retry-After": "soon"}, [0.5, 1.0]),
    ],
)
def test_a_busy_service_is_asked_again(
    server: PriceServer, status: int, headers: dict[str, str], waits: list[float]
) -> None:
    busy = (status, headers, b"")
    server.answers = [busy, busy, page(ROWS)]
    time = Time()
    assert rows_of(client(server, time)) == list(ROWS)
    assert time.slept == waits


def test_a_wait_longer_than_the_bound_is_not_waited_for(server: PriceServer) -> None:
    server.answers = [(429, {"Retry-After": "61"}, b"")]
    time = Time()
    with pytest.raises(PricesUnavailableError) as error:
        rows_of(client(server, time))
    assert str(error.value) == "it is busy (HTTP status 429); it may answer in 61 s"
    assert time.slept == []


def test_a_service_that_stays_busy_is_given_up_at_the_bound(server: PriceServer) -> None:
    server.answers = [(503, {}, b"")]
    time = Time()
    with pytest.raises(PricesUnavailableError, match="busy"):
        rows_of(client(server, time), seconds=10)
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((400, {}, b"no"), "it returned HTTP status 400"),
        ((302, {"Location": "https://sign-in.example.org"}, b""), "returned HTTP status 302"),
        ((200, {}, b"<html>"), "its response is not JSON"),
        ((200, {}, b"[]"), "its response is not an object"),
        ((200, {}, b"{}"), "its response has no list of prices"),
        ((200, {}, b"[" * 100_000), "its response is not JSON"),
        ((200, {}, b'{"Items": [], "NextPageLink": "http://x:y/"}'), "on another server"),
        ((200, {}, b'{"Items": [], "NextPageLink": "http://[::1"}'), "on another server"),
    ],
)
def test_another_answer_is_an_error(
    server: PriceServer, answer: tuple[int, dict[str, str], bytes], reason: str
) -> None:
    server.answers = [answer]
    with pytest.raises(PricesUnavailableError, match=reason):
        rows_of(client(server))
    assert len(server.paths) == 1


async def prices(server: PriceServer | RetailPrices, cache: Path, **options: object) -> NodePrices:
    source = client(server) if isinstance(server, PriceServer) else server
    given = {"now": NOW, "source": source, "cache": PriceCache(cache), "node": D2, **options}
    return await find_prices(**given)  # type: ignore[arg-type]


async def test_prices_are_read_once_a_day(server: PriceServer, tmp_path: Path) -> None:
    server.answers = [page(ROWS), page([row(0.2)])]
    first = await prices(server, tmp_path)
    assert first == NodePrices(D2, Price(0.11, "USD", TODAY), Price(0.05, "USD", TODAY))
    later = NOW + timedelta(hours=23)
    assert await prices(server, tmp_path, now=later) == first
    windows = NodeType(D2.size, D2.region, windows=True)
    assert (await prices(server, tmp_path, node=windows)).dedicated == Price(0.21, "USD", TODAY)
    assert len(server.paths) == 1
    next_day = await prices(server, tmp_path, now=NOW + timedelta(hours=25))
    assert next_day.dedicated == Price(0.2, "USD", "Azure Retail Prices of 2026-12-03")
    assert len(server.paths) == 2


async def test_an_old_price_is_used_with_its_date_while_the_service_is_away(
    server: PriceServer, tmp_path: Path
) -> None:
    server.answers = [page(ROWS), (404, {}, b"")]
    await prices(server, tmp_path)
    found = await prices(server, tmp_path, now=NOW + timedelta(days=20))
    assert found.dedicated == Price(0.11, "USD", TODAY)


async def test_an_unreachable_service_is_unknown_and_is_left_alone_for_a_while(
    server: PriceServer, tmp_path: Path
) -> None:
    server.answers = [(404, {}, b""), page(ROWS)]
    found = await prices(server, tmp_path)
    reason = "prices.azure.com gave no price: it returned HTTP status 404"
    assert found.spot == Unknown(reason, "Write the price per hour under `cost.prices`.")
    assert await prices(server, tmp_path, now=NOW + timedelta(minutes=9)) == found
    assert len(server.paths) == 1
    after = await prices(server, tmp_path, now=NOW + timedelta(minutes=11))
    assert isinstance(after.spot, Price)


async def test_a_proxy_that_is_no_address_is_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http:///")
    monkeypatch.delenv("no_proxy", raising=False)
    found = await prices(RetailPrices("http://prices.invalid/"), tmp_path)
    assert isinstance(found.dedicated, Unknown)
    assert "it cannot be reached" in found.dedicated.reason


async def test_a_closed_port_is_unknown(tmp_path: Path) -> None:
    with PriceServer() as server:
        url = server.url
    found = await prices(RetailPrices(url), tmp_path)
    assert isinstance(found.dedicated, Unknown)
    assert "it cannot be reached (Connection refused)" in found.dedicated.reason


async def test_a_silent_service_does_not_hold_a_command(
    server: PriceServer, tmp_path: Path
) -> None:
    """The answer arrives only after the command has given up."""
    given_up = threading.Event()

    def late() -> tuple[int, Mapping[str, str], bytes]:
        given_up.wait(60)
        return page(ROWS)

    server.answers = [late]
    # The client itself would wait for an hour.
    source = RetailPrices(server.url, monotonic=lambda: -3600.0)
    found = await prices(source, tmp_path, patience=0.05)
    given_up.set()
    assert isinstance(found.dedicated, Unknown)
    assert found.dedicated.reason == "prices.azure.com gave no price: it did not answer in time"


async def test_a_size_without_a_price_is_asked_for_once(
    server: PriceServer, tmp_path: Path
) -> None:
    for _ in range(2):
        found = await prices(server, tmp_path)
        assert found.dedicated == Unknown(
            "no price of a dedicated Linux node of Standard_D2s_v5 in westeurope is published"
            " in USD"
        )
    assert len(server.paths) == 1


async def test_a_given_price_takes_precedence(server: PriceServer, tmp_path: Path) -> None:
    server.answers = [page(ROWS)]
    table = parse_table({"Standard_D2s_v5": 0.5}, "USD")
    found = await prices(server, tmp_path, table=table)
    assert found.dedicated == Price(0.5, "USD", "given")
    assert found.spot == Price(0.05, "USD", TODAY)


async def test_no_request_is_sent_if_all_prices_that_are_needed_are_given(
    server: PriceServer, tmp_path: Path
) -> None:
    table = parse_table({"standard_d2s_v5": {"spot": 0.5}})
    found = await prices(server, tmp_path, table=table, kinds=[NodeKind.SPOT])
    assert found.spot == Price(0.5, "USD", "given")
    assert server.paths == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("node", "reason"),
    [
        (NodeType("standard_d2s_v5", ""), "the region is not known"),
        (NodeType("d2' or 1", "westeurope"), '"d2\' or 1" is not the name of a VM size'),
    ],
)
async def test_nothing_is_asked_without_a_region_or_a_size(
    server: PriceServer, tmp_path: Path, node: NodeType, reason: str
) -> None:
    found = await prices(server, tmp_path, node=node)
    assert isinstance(found.dedicated, Unknown)
    assert found.dedicated.reason == reason
    assert server.paths == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"version": 1, "at": "yesterday", "rows": []}',
        '{"version": 9, "at": "2026-12-02T09:00:00+00:00", "rows": []}',
        '{"version": 1, "at": "2030-12-02T09:00:00+00:00", "rows": []}',
        '{"version": 1, "at": "2026-12-02T09:00:00", "rows": []}',
    ],
)
async def test_a_damaged_cache_is_read_again(
    server: PriceServer, tmp_path: Path, text: str
) -> None:
    server.answers = [page(ROWS)]
    await prices(server, tmp_path)
    (stored,) = tmp_path.iterdir()
    stored.write_text(text)
    assert (await prices(server, tmp_path)).dedicated == Price(0.11, "USD", TODAY)
    assert len(server.paths) == 2
    assert json.loads(stored.read_text())["version"] == 1


async def test_a_cache_that_cannot_be_written_costs_only_requests(
    server: PriceServer, tmp_path: Path
) -> None:
    server.answers = [page(ROWS)]
    blocked = tmp_path / "file"
    blocked.write_text("")
    for _ in range(2):
        assert isinstance((await prices(server, blocked / "prices")).dedicated, Price)
    assert len(server.paths) == 2
