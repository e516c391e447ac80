"""The sections that batchspec carries out itself, without Azure Batch: ``cost`` and ``notify``."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

from batchspec.diagnostics import Diagnostic, MissingSecret, Place, Secret, SpecError, UsageError
from batchspec.pricing import USD, PriceTable, TableError, parse_table
from batchspec.spec.convert import duration
from batchspec.spec.model import Cost, Notify, NotifyWhen, OtherRates, Spec, Webhook
from batchspec.spec.values import BlobUrl, Text
from batchspec.spec.yaml_parser import parse, read_source
from batchspec.spec.yaml_tree import Node

_AMOUNT = re.compile(r"(\d+(?:\.\d+)?) ?([A-Z]{3})?")
_RATES = ("network_per_hour", "disk_per_node_hour", "storage_per_gb_month", "egress_per_gb")


def client_sections(root: Node, folder: Path) -> tuple[Cost | None, Notify | None]:
    """The sections, whose rules have been checked; ``folder`` is the folder of the spec."""
    cost, notify = root.get("cost"), root.get("notify")
    return (
        _cost(cost, folder) if cost is not None else None,
        _notify(notify) if notify is not None else None,
    )


def client_rules(root: Node, folder: Path) -> Iterator[Diagnostic]:
    """Rules for the sections that the schema does not contain."""
    cost, notify = root.get("cost"), root.get("notify")
    if cost is not None and cost.members:
        yield from _cost_rules(cost, folder)
    if notify is not None:
        yield from _notify_rules(notify)


def _cost(node: Node, folder: Path) -> Cost:
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


def _cost_rules(node: Node, folder: Path) -> Iterator[Diagnostic]:
    """Currencies, and the table of prices."""
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
    """The table, or the content of the file of prices.

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


_TIMEOUT = timedelta(seconds=30)
_LONGEST = timedelta(minutes=10)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
_SERVER = re.compile(r"(?i)(https?://[^/?#@\s]+)[/?#]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FIXED_HEADERS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
"""Headers that are computed from the request."""


def _notify(node: Node) -> Notify:
    command, when, timeout = node.get("command"), node.get("when"), node.get("timeout")
    hook = node.get("webhook")
    return Notify(
        timeout=duration(str(timeout.value)) or _TIMEOUT if timeout is not None else _TIMEOUT,
        command=_secret(command) if command is not None else None,
        webhook=_webhook(hook) if hook is not None else None,
        when=NotifyWhen(str(when.value)) if when is not None else NotifyWhen.ALWAYS,
    )


def _webhook(node: Node) -> Webhook:
    url = node.get("url") or node
    # In a URL with a secret, the host is known if the spec contains it and the slash after it.
    begin = url.value.pieces[0] if isinstance(url.value, Text) else f"{url.value}/"
    server = _SERVER.match(begin) if isinstance(begin, str) else None
    return Webhook(
        url=_secret(url),
        server=server[1] if server is not None else "",
        headers={name: _secret(value) for name, value in node.mapping("headers").items()},
    )


def _secret(node: Node) -> Secret:
    """A text of the section, which can contain secrets."""
    if isinstance(node.value, Text):
        return Secret(node.value.resolve(lambda url: url.shown))
    return Secret(str(node.value))


def _notify_rules(node: Node) -> Iterator[Diagnostic]:
    """The URL, headers, and the time limit."""
    timeout, command, hook = node.get("timeout"), node.get("command"), node.get("webhook")
    if not node.wrong and node.members and command is None and hook is None:
        yield Diagnostic(
            "bad-notify",
            "`notify` has no command and no webhook",
            where=node.name,
            fix="Add `command: ./notify.sh` or `webhook: URL`, or remove `notify`.",
        )
    given = timeout.text if timeout is not None else None
    length = duration(given) if given is not None else None
    if timeout is not None and length is not None and not timedelta() < length <= _LONGEST:
        yield Diagnostic(
            "bad-notify",
            "a notification may take at most 10 minutes, and more than 0 seconds",
            detail="The run ends after the notification.",
            where=timeout.where,
            fix="Write `timeout: 30s`, or another time up to `10m`.",
        )
    if command is not None and _has_blob_url(command):
        yield Diagnostic(
            "bad-notify",
            "the URL of a container cannot be inserted here",
            detail="Only URLs for tasks are signed.",
            where=command.where,
            fix="Use `batchspec cat` or `az storage blob` in the command.",
        )
    if hook is not None and not hook.wrong:
        yield from _url_rules(hook.get("url") or hook)
        for name, value in hook.mapping("headers").items():
            yield from _header_rules(name, value)


def _has_blob_url(node: Node) -> bool:
    return isinstance(node.value, Text) and any(True for _ in node.value.urls())


def _known(node: Node) -> str | None:
    """The value of a text; ``None`` if it is wrong, or a parameter of it has no value."""
    if node.wrong or node.template is not None:
        return None
    if isinstance(node.value, Text):
        if any(isinstance(piece, MissingSecret) for piece in node.value.flat()):
            return None
        return node.value.resolve(lambda url: url.shown)
    return node.value if isinstance(node.value, str) else None


def _url_rules(node: Node) -> Iterator[Diagnostic]:
    if isinstance(node.value, Text) and any(isinstance(p, BlobUrl) for p in node.value.pieces):
        problem = "a webhook cannot be sent to the URL of a container"
    else:
        url = _known(node)
        problem = _url_problem(url) if url is not None else ""
    if problem:
        yield Diagnostic(
            "bad-webhook",
            problem,
            # The line can contain a password.
            where=replace(node.where, text="") if "user name" in problem else node.where,
            fix="Write the https URL that the receiver shows. Put credentials in `headers`.",
        )


def _url_problem(url: str) -> str:
    """The error in a URL. Its text can be a secret and is omitted."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "the webhook is not a URL"
    if parts.scheme not in {"https", "http"} or not host:
        return "the webhook is not an https URL"
    if _CONTROL.search(url) or " " in url:
        return "the URL of the webhook contains a blank or a control character"
    if parts.username is not None or parts.password is not None:
        return "the URL of the webhook contains a user name"
    if parts.scheme == "http" and host not in _LOOPBACK:
        return (
            "the URL of the webhook must begin with https://; http is allowed for this machine only"
        )
    return ""


def _header_rules(name: str, node: Node) -> Iterator[Diagnostic]:
    value = _known(node)
    if not _HEADER.fullmatch(name) or name.lower() in _FIXED_HEADERS:
        problem = f"`{name}` cannot be set as a header"
    elif value is not None and _CONTROL.search(value):
        problem = f"the value of the header `{name}` contains a line break or a control character"
    else:
        return
    yield Diagnostic(
        "bad-webhook",
        problem,
        where=node.name,
        fix="Use the names and values that the receiver documents.",
    )
