"""The ``cost`` section: currency, bound, region, the user's prices and rates."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from batchspec.diagnostics import Diagnostic, Place, SpecError, UsageError
from batchspec.pricing import USD, PriceTable, TableError, parse_table
from batchspec.spec.model import Cost, OtherRates, Spec
from batchspec.spec.yaml_parser import parse, read_source
from batchspec.spec.yaml_tree import Node

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Z]{3})?")
_RATES = ("network_per_hour", "disk_per_node_hour", "storage_per_gb_month", "egress_per_gb")


def build_cost(node: Node | None, folder: Path) -> Cost | None:
    """The section; ``folder`` is that of the spec. Its rules have been checked."""
    if node is None:
        return None
    amount, named = _amount(node.get("max"))
    currency = named or node.string("currency", default=USD)
    prices = _prices(node.get("prices"), folder)
    return Cost(
        where=node.name,
        currency=currency,
        max=amount,
        shorten=node.string("on_exceed") == "shorten",
        region=node.string("region"),
        prices=parse_table(prices.plain(), currency) if prices else PriceTable(currency),
        rates=OtherRates(**{name: _number(node.get("rates", name)) for name in _RATES}),
    )


def cost_rules(root: Node, folder: Path) -> Iterator[Diagnostic]:
    """What the schema does not check: currencies, and the table of prices."""
    node = root.get("cost")
    if node is None or not node.members:
        return
    most, currency = node.get("max"), node.get("currency")
    amount, named = _amount(most)
    if most is not None and not most.wrong and not amount:
        yield Diagnostic(
            "bad-amount",
            f"{most.raw or most.value} is not an amount of money",
            where=most.where,
            fix="Write `max: 25 USD`, or another amount and currency.",
        )
    if most is not None and named and currency is not None and currency.value != named:
        yield Diagnostic(
            "different-currencies",
            f"the bound is in {named}, and the prices are in {currency.value}",
            where=most.where,
            fix="Remove `currency`; the currency of `max` is used for prices, too.",
        )
    try:
        prices = _prices(node.get("prices"), folder)
        if prices is not None:
            parse_table(prices.plain())
    except SpecError as error:
        at = node.members["prices"].where
        yield from (replace(problem, where=problem.where or at) for problem in error.problems)
    except TableError as error:
        assert prices is not None
        yield Diagnostic(
            "bad-prices",
            str(error),
            where=_place(prices, error.path),
            fix="Write prices per hour: `standard_d2s_v5: 0.1`, or `standard_d2s_v5: {dedicated: "
            "0.1, spot: 0.02}`.",
        )


def with_max(spec: Spec, text: str) -> Spec:
    """The spec with the bound of ``--max-cost``, such as ``25`` or ``25 EUR``.

    Raises:
        UsageError: it is not an amount, or not in the currency of the spec's prices.
    """
    amount, currency = _parsed(text)
    if amount is None or amount <= 0:
        raise UsageError(
            Diagnostic(
                "bad-amount",
                f"{text!r} is not an amount",
                fix="For example: `--max-cost 25`, or `--max-cost '25 EUR'`.",
            )
        )
    given = spec.cost
    if given is None:
        return replace(spec, cost=_without_section(spec, currency or USD, amount))
    if currency not in {None, given.currency}:
        raise UsageError(
            Diagnostic(
                "different-currencies",
                f"`--max-cost` is in {currency}, and the prices of the spec are in"
                f" {given.currency}",
                fix=f"Give an amount in {given.currency}.",
            )
        )
    return replace(spec, cost=replace(given, max=amount))


def with_estimate(spec: Spec) -> Spec:
    """The spec with an empty section if it has none, for a command that shows an estimate."""
    if spec.cost is not None:
        return spec
    return replace(spec, cost=_without_section(spec, USD, None))


def _without_section(spec: Spec, currency: str, most: float | None) -> Cost:
    return Cost(Place(str(spec.path), 1, 1), currency, most, prices=PriceTable(currency))


def _prices(node: Node | None, folder: Path) -> Node | None:
    """The table, or the content of the file that is named instead.

    Raises:
        SpecError: the file cannot be read.
    """
    if node is None or not isinstance(node.value, str):
        return node
    return parse(
        read_source(folder / node.value, "Check the path; it starts at the spec's folder.")
    )


def _amount(node: Node | None) -> tuple[float | None, str | None]:
    if node is None or node.wrong or node.is_collection:
        return None, None
    if isinstance(node.value, int | float):
        return (float(node.value) if 0 < node.value < math.inf else None), None
    return _parsed(str(node.value))


def _parsed(text: str) -> tuple[float | None, str | None]:
    match = _AMOUNT.fullmatch(text.strip())
    if match is None or math.isinf(amount := float(match[1])):
        return None, None
    return amount, match[2]


def _number(node: Node | None) -> float | None:
    value = node.value if node is not None else None
    return float(value) if isinstance(value, int | float) else None


def _place(prices: Node, path: tuple[str, ...]) -> Place:
    node = prices
    for key in path:
        found = {name.lower(): member for name, member in node.members.items()}.get(key.lower())
        if found is None:
            break
        node = found
    return node.at
