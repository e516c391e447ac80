"""The cost of runs: node-hours from the events of a run, and their prices."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from batchspec.apply.events import (
    NodesSeen,
    Outcome,
    PricesSeen,
    RunEnded,
    RunStarted,
    Stamped,
)
from batchspec.observe import Kind, OwnedResource
from batchspec.plan.observed import AccountNames
from batchspec.pricing import NodePrices, NodeType, Price, Unknown
from batchspec.render import (
    ActualRun,
    Attempt,
    JsonView,
    RunHistory,
    Status,
    actual_lines,
    build_timeline,
    inventory_json,
    inventory_text,
    kept_text,
    page_html,
    read_record,
    report_as_json,
    spent_text,
    status_json,
    status_text,
)
from batchspec.render.report import fold

BEGAN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
PRICES = NodePrices(
    NodeType("Standard_D2s_v5", "westeurope"), Price(0.5, "USD", "list"), Price(0.1, "USD", "list")
)
NO_PRICE = NodePrices(PRICES.node, Unknown("no row"), Unknown("no row"))


def seen(minutes: float, dedicated: int, spot: int = 0, pool: str = "p") -> NodesSeen:
    at = BEGAN + timedelta(minutes=minutes)
    return NodesSeen(pool, {}, dedicated + spot, "STANDARD_D2s_v5", dedicated, spot, at)


def hours(*events: NodesSeen) -> dict[tuple[str, str], float]:
    stamped = [Stamped(number, BEGAN, event) for number, event in enumerate(events)]
    return dict(fold(stamped).node_hours)


def test_node_hours_are_counts_times_the_time_of_the_service() -> None:
    """The events arrive at the same time here: the service's time counts."""
    found = hours(seen(0, 4), seen(30, 4), seen(60, 4, 2), seen(120, 4, 2))
    assert found == {
        ("standard_d2s_v5", "dedicated"): pytest.approx(8),
        ("standard_d2s_v5", "spot"): pytest.approx(0.5 + 2),
    }


def test_a_pool_without_nodes_costs_nothing() -> None:
    assert hours(seen(0, 0), seen(60, 0)) == {}
    assert hours(seen(0, 3)) == {}


def test_pools_are_counted_one_by_one() -> None:
    found = hours(seen(0, 1), seen(0, 2, pool="q"), seen(60, 1), seen(60, 2, pool="q"))
    assert found == {("standard_d2s_v5", "dedicated"): pytest.approx(3)}


def test_time_that_goes_back_counts_as_none() -> None:
    assert hours(seen(60, 1), seen(0, 1)) == {("standard_d2s_v5", "dedicated"): 0}


def test_events_of_earlier_versions_have_no_time() -> None:
    assert hours(NodesSeen("p", {"idle": 3}, 3), NodesSeen("p", {"idle": 3}, 3)) == {}


def test_a_record_contains_the_node_hours() -> None:
    """A record is read back from its file."""
    stream = io.StringIO()
    view = JsonView(stream, "1")
    events = [RunStarted("demo", "azure", "b", "s", 1), seen(0, 2), seen(90, 2)]
    for number, event in enumerate(events):
        view(Stamped(number, BEGAN, event))
    report = fold(read_record(stream.getvalue().splitlines()))
    assert report.node_hours == {("standard_d2s_v5", "dedicated"): pytest.approx(3)}


def test_node_hours_contain_the_release_of_the_nodes() -> None:
    """The service releases the nodes after the run; a pool that is deleted has none."""
    moment = BEGAN + timedelta(minutes=90)
    events = [seen(0, 2), seen(60, 2), seen(0, 3, pool="q"), seen(0, 0, pool="q")]
    ended = RunEnded(Outcome.DONE, 1.0, 0, released=moment)
    report = fold(Stamped(number, BEGAN, event) for number, event in enumerate([*events, ended]))
    assert report.node_hours == {("standard_d2s_v5", "dedicated"): pytest.approx(3)}
    assert report.release_hours == pytest.approx(1)


def test_the_cost_of_node_hours() -> None:
    used = {("standard_d2s_v5", "dedicated"): 2.0, ("standard_d2s_v5", "spot"): 5.0}
    assert spent_text(used, PRICES, "USD", "azure") == (
        "1.50 USD for 2.00 node-hours of dedicated standard_d2s_v5 (0.50 USD each) and 5.00"
        " node-hours of spot standard_d2s_v5 (0.10 USD each)"
    )
    assert spent_text(used, PRICES, "USD", "local").startswith("1.50 USD on Azure for")


@pytest.mark.parametrize(
    ("size", "prices"), [("standard_f2s", PRICES), ("standard_d2s_v5", NO_PRICE)]
)
def test_without_a_price_only_the_node_hours_are_known(size: str, prices: NodePrices) -> None:
    """The prices are those of the current VM size of the spec."""
    text = spent_text({(size, "dedicated"): 2.0}, prices, "USD", "azure")
    assert text == f"not known for 2.00 node-hours of dedicated {size} (price not known)"


def test_runs_are_listed_with_their_total() -> None:
    used = {("standard_d2s_v5", "dedicated"): 2.0}
    runs = [ActualRun(BEGAN, used), ActualRun(None, used)]
    total, first, second = actual_lines(runs, PRICES, "USD", "azure")
    assert total == "Spent by 2 recorded runs: 2.00 USD"
    assert first.startswith("2026-03-01 12:00 UTC: 1.00 USD for 2.00 node-hours")
    assert second.startswith("a run: 1.00 USD")
    assert list(actual_lines([], PRICES, "USD", "azure")) == []


def simulated(nodes: int, poll: float) -> Iterator[NodesSeen]:
    """A run of 12 tasks of 10 minutes, observed by a client that polls every ``poll`` minutes.

    Nodes exist from 0.3 minutes after the first poll on, and start for 4 minutes; the pool is
    deleted a poll after the last task, which takes 2 minutes.
    """
    end = 0.3 + 4 + 10 * -(-12 // nodes)
    at = 0.0
    while at <= end:
        yield seen(at, nodes if at >= 0.3 else 0)
        at += poll
    yield seen(at, nodes)
    yield seen(at + 2, nodes)
    yield seen(at + 2, 0)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5, 12])
@pytest.mark.parametrize("poll", [0.1, 0.5, 1.0])
def test_the_polls_of_a_run_show_its_node_hours_within_five_percent(
    nodes: int, poll: float
) -> None:
    found = hours(*simulated(nodes, poll))[("standard_d2s_v5", "dedicated")]
    billed = nodes * (4 + 10 * -(-12 // nodes) + 2) / 60
    assert found == pytest.approx(billed, rel=0.05)


ACCOUNT = AccountNames("azure", "ada.westeurope.batch.azure.com", "ada")
POOL = OwnedResource(Kind.POOL, "topn", "topn", "active", BEGAN, False, True, 2, 2)


def test_unused_pools_are_listed_with_their_cost_per_hour() -> None:
    costs = {"topn": Price(0.2, "EUR", "Azure Retail Prices of 2026-03-01")}
    text = inventory_text(ACCOUNT, [POOL], BEGAN, orphans=True, costs=costs)
    assert (
        "The 2 nodes of pool topn cost 0.20 EUR per hour (Azure Retail Prices of 2026-03-01)."
        in text.splitlines()
    )
    (item,) = json.loads(inventory_json(ACCOUNT, [POOL], costs))["items"]
    assert (item["per_hour"], item["currency"]) == (0.2, "EUR")


def test_a_price_that_is_not_known_is_named() -> None:
    costs = {"topn": Unknown("prices.azure.com gave no price: it did not answer in time")}
    text = inventory_text(ACCOUNT, [POOL], BEGAN, orphans=True, costs=costs)
    assert "The 2 nodes of pool topn: price not known, prices.azure.com gave" in text
    (item,) = json.loads(inventory_json(ACCOUNT, [POOL], costs))["items"]
    assert item["per_hour"] is None


def test_lists_without_prices_are_unchanged() -> None:
    assert "per_hour" not in inventory_json(ACCOUNT, [POOL])


@pytest.mark.parametrize(
    ("per_hour", "text", "amount"),
    [
        (Price(0.3, "USD", "given"), "cost   0.30 USD per hour", 0.3),
        (Unknown("no row"), "cost   not known: no row", None),
    ],
)
def test_status_shows_the_cost_of_the_nodes_per_hour(
    per_hour: Price | Unknown, text: str, amount: float | None
) -> None:
    status = Status(ACCOUNT, "demo", pool="p", pool_state="active", per_hour=per_hour)
    assert text in status_text(status).splitlines()
    assert json.loads(status_json(status))["cost_per_hour"] == amount
    assert "cost_per_hour" not in status_json(Status(ACCOUNT, "demo", pool="p"))


def test_a_remaining_pool_has_the_cost_of_its_nodes_per_hour() -> None:
    events = [seen(0, 2, 3), seen(60, 2, 3), seen(0, 1, pool="q"), seen(60, 0, pool="q")]
    report = fold([Stamped(number, BEGAN, event) for number, event in enumerate(events)])
    assert kept_text(report, "p", PRICES, "USD") == "5 nodes left: 1.30 USD per hour"
    local = replace(report, target="local")
    assert kept_text(local, "p", PRICES, "USD").endswith("per hour on Azure")
    assert kept_text(report, "p", NO_PRICE, "USD") == ""
    assert kept_text(report, "q", PRICES, "USD") == ""
    assert kept_text(report, "other", PRICES, "USD") == ""


def _history(*events: PricesSeen | NodesSeen) -> RunHistory:
    """A run of two attempts, each with these events."""
    stamped = [Stamped(number, BEGAN, event) for number, event in enumerate(events)]
    timeline = build_timeline([*stamped, Stamped(99, BEGAN, RunEnded(Outcome.DONE, 1.0, 0))])
    return RunHistory([Attempt("1", timeline), Attempt("2", timeline)])


def _row(page: str) -> list[str]:
    """The first row of the table of node-hours and cost."""
    table = page.partition("<caption>Node-hours and cost by VM size")[2].partition("</table>")[0]
    row = table.partition("<tbody>")[2].partition("</tr>")[0]
    return re.findall(r"<t[hd][^>]*>([^<]*)", row)


def test_the_report_has_the_node_hours_and_cost_of_all_attempts() -> None:
    prices = PricesSeen("Standard_D2s_v5", "EUR", 0.5, source="given", unknown="no row")
    history = _history(prices, seen(0, 4), seen(60, 4))
    page = page_html(history)
    assert _row(page)[:5] == ["standard_d2s_v5", "dedicated", "8.000", "0.50 EUR", "4.00 EUR"]
    assert "Prices: given." in page, "Spot nodes are not part of it"
    run = json.loads("".join(report_as_json(history)))["run"]
    assert run["cost"] == {"amount": 4.0, "currency": "EUR"}
    assert run["node_hours"] == [
        {"vm_size": "standard_d2s_v5", "kind": "dedicated", "hours": 8.0, "price": 0.5}
    ]


def test_a_cost_that_is_not_known_is_not_a_number() -> None:
    for history in (
        _history(seen(0, 4), seen(60, 4)),
        _history(PricesSeen("Standard_D2s_v5", "USD", unknown="no row"), seen(0, 4), seen(60, 4)),
    ):
        page = page_html(history)
        assert _row(page)[2:5] == ["8.000", "not known", "not known"]
        run = json.loads("".join(report_as_json(history)))["run"]
        assert run["cost"]["amount"] is None
    assert "Prices: no row." in page
