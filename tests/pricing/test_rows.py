"""Which row of the Retail Prices API is the price."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from batchspec.catalog import vm_sizes
from batchspec.pricing import NodeKind, NodeType, Price, TableError, Unknown, choose, parse_table
from tests.pricing.rows import LINUX, NOW, ROWS, WINDOWS, row

DEDICATED, SPOT = NodeKind.DEDICATED, NodeKind.SPOT
D2 = NodeType("standard_d2s_v5", "westeurope")


def price(
    node: NodeType, kind: NodeKind, rows: object = ROWS, currency: str = "USD"
) -> Price | Unknown:
    return choose(rows, node, kind, currency=currency, now=NOW, source="test")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("windows", "kind", "amount"),
    [(False, DEDICATED, 0.11), (False, SPOT, 0.05), (True, DEDICATED, 0.21), (True, SPOT, 0.15)],
)
def test_one_row_of_many_is_the_price(windows: bool, kind: NodeKind, amount: float) -> None:
    node = NodeType("STANDARD_d2s_V5", "WestEurope", windows)
    assert price(node, kind) == Price(amount, "USD", "test")


def test_the_order_of_the_rows_does_not_matter() -> None:
    assert price(D2, DEDICATED, ROWS[::-1]) == price(D2, DEDICATED)


def test_another_currency_has_its_own_rows() -> None:
    assert price(D2, DEDICATED, currency="EUR") == Price(0.51, "EUR", "test")


def test_products_for_windows_also_end_in_win() -> None:
    rows = [row(7, "Virtual Machines NCads H100 v5 Series Win"), row(3, LINUX)]
    assert price(NodeType(D2.size, D2.region, windows=True), DEDICATED, rows) == Price(
        7, "USD", "test"
    )


def test_spot_is_recognised_by_the_meter_alone_and_low_priority_is_never_the_price() -> None:
    rows = [row(2, name="D2s v5", meterName="D2s v5 Spot"), row(1, name="D2s v5 Low Priority ")]
    assert price(D2, SPOT, rows) == Price(2, "USD", "test")
    found = price(D2, SPOT, rows[1:])
    assert isinstance(found, Unknown)
    assert found.reason == (
        "no price of a spot Linux node of Standard_D2s_v5 in westeurope is published in USD"
    )


def test_names_with_trailing_blanks_and_rows_without_dates() -> None:
    assert price(D2, DEDICATED, [row(4, LINUX + " ", effectiveStartDate=None)]) == Price(
        4, "USD", "test"
    )


def test_two_rows_that_apply_are_reported_and_none_is_chosen() -> None:
    found = price(D2, DEDICATED, [row(4), row(5, meterName="D2s v5/D2ds v5"), row(4)])
    assert found == Unknown(
        "2 prices are published for a dedicated Linux node of Standard_D2s_v5 in westeurope"
        " (4, 5 USD)"
    )


def test_two_rows_with_one_price_are_one_price() -> None:
    assert price(D2, DEDICATED, [row(4), row(4)]) == Price(4, "USD", "test")


@pytest.mark.parametrize(
    "broken",
    [{}, {"retailPrice": "1"}, {"retailPrice": float("inf")}, {"type": 3}, {"productName": None}],
)
def test_damaged_rows_are_no_prices(broken: dict[str, object]) -> None:
    rows = [{**row(4), **broken}] if broken else [{}]
    assert isinstance(price(D2, DEDICATED, rows), Unknown)


def test_a_table_has_a_price_or_a_price_for_each_kind() -> None:
    table = parse_table({"Standard_D2s_v5": 0.1, "standard_f2s": {"spot": 0.02, "dedicated": 1}})
    assert table.price("STANDARD_D2S_V5", DEDICATED) == 0.1
    assert table.price("standard_d2s_v5", SPOT) is None
    assert table.price("standard_f2s", SPOT) == 0.02


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ([], "prices are a table of VM sizes"),
        ({"a": {"cheap": 1}}, "'cheap' is not a kind of node; use dedicated or spot"),
        ({"a": -1}, "the price of a dedicated node is not a number of at least 0"),
        ({"a": True}, "the price of a dedicated node is not a number of at least 0"),
        ({"a": {"spot": float("nan")}}, "the price of a spot node is not a number of at least 0"),
        ({3: 1}, "3 is not the name of a VM size"),
    ],
)
def test_a_table_of_another_form_is_refused(table: object, reason: str) -> None:
    with pytest.raises(TableError) as error:
        parse_table(table)
    assert str(error.value) == reason


def test_names_have_the_case_of_azure(shared: Path) -> None:
    """Against the names that the service returned."""
    with (shared / "arm" / "vm-sizes.csv").open(encoding="utf-8") as file:
        names = [line["size"] for line in csv.DictReader(file)]
    assert len(names) > 400
    assert [vm_sizes.arm_name(name.lower()) for name in names] == names


@pytest.mark.parametrize(
    "name",
    [
        "Basic_A1",
        "Standard_D2s_v5",
        "Standard_DC4as_cc_v5",
        "Standard_E4-2as_v5",
        "Standard_NC24ads_A100_v4",
        "Standard_NC24r_Promo",
        "Standard_ND96isr_MI300X_v5",
    ],
)
def test_names_have_the_case_of_the_price_list(name: str) -> None:
    assert vm_sizes.arm_name(name.upper()) == name


QUESTIONS = (
    ("standard_b16als_v2", "australiacentral", False, DEDICATED, 0.673),
    ("standard_b16als_v2", "australiacentral", False, SPOT, 0.6057),
    ("standard_b16als_v2", "australiacentral", True, DEDICATED, 0.747),
    ("standard_b16als_v2", "australiacentral", True, SPOT, 0.6723),
    ("standard_d2_v3", "eastus", False, DEDICATED, 0.096),
    ("standard_d2_v3", "eastus", False, SPOT, 0.018),
    ("standard_d2_v3", "eastus", True, DEDICATED, 0.188),
    # Only Low Priority or Dev/Test rows, or rows in another currency or region, are published.
    ("standard_d2_v3", "eastus", True, SPOT, None),
    ("standard_d14", "southindia", True, SPOT, None),
    ("standard_f16s", "westeurope", True, SPOT, None),
)


@pytest.mark.parametrize(("size", "region", "windows", "kind", "amount"), QUESTIONS)
def test_ten_questions_of_published_rows(
    shared: Path, size: str, region: str, windows: bool, kind: NodeKind, amount: float | None
) -> None:
    rows = json.loads((shared / "arm" / "retail-prices-samples.json").read_text())["items"]
    found = price(NodeType(size, region, windows), kind, rows)
    assert (found.per_hour if isinstance(found, Price) else None) == amount


def test_a_published_row_in_euros(shared: Path) -> None:
    rows = json.loads((shared / "arm" / "retail-prices-samples.json").read_text())["items"]
    found = price(NodeType("standard_f16s", "westeurope", windows=True), SPOT, rows, "EUR")
    assert found == Price(0.6176, "EUR", "test")


def test_the_series_of_a_row_does_not_make_it_one_for_windows() -> None:
    assert price(D2, DEDICATED, [row(1, WINDOWS)]) != Price(1, "USD", "test")
