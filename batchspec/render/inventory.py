"""The resources that batchspec created in an account, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from batchspec.observe import Kind, OwnedResource
from batchspec.plan.observed import AccountNames
from batchspec.render import units
from batchspec.render.diagnostics import cell_width
from batchspec.render.output import flat, json_text
from batchspec.render.progress.json_stream import moment
from batchspec.render.questions import cost_text
from batchspec.render.run_text import account_line
from batchspec.render.style import Style

_HEAD = ("kind", "id", "spec", "state", "age")


def inventory_json(account: AccountNames, found: Sequence[OwnedResource]) -> str:
    """The resources as indented JSON."""
    return json_text(
        {
            "version": 1,
            "target": account.target,
            "items": [
                {
                    "kind": owned.kind.value,
                    "id": owned.id,
                    "spec": owned.spec,
                    "state": owned.state,
                    "since": None if owned.since is None else moment(owned.since),
                    "nodes": owned.nodes,
                    "wanted": owned.wanted,
                    "used": owned.used,
                    "orphan": owned.orphan,
                }
                for owned in found
            ],
        },
        indent=2,
    )


def inventory_text(
    account: AccountNames,
    found: Sequence[OwnedResource],
    now: datetime,
    *,
    orphans: bool,
    color: bool = False,
) -> str:
    """The resources as a table; ``orphans``: only unused ones were requested."""
    style = Style(color)
    lines = [style("bold", account_line(account))]
    if not found:
        none = (
            "Every resource that batchspec created is in use."
            if orphans
            else "The account has no resource that batchspec created."
        )
        return "\n".join([*lines, none])
    rows = [_HEAD, *(_row(owned, now) for owned in found)]
    widths = [max(cell_width(row[column]) for row in rows) for column in range(len(_HEAD))]
    table = ["  ".join(map(_padded, row, widths)).rstrip() for row in rows]
    lines += ["", style("dim", table[0]), *table[1:], "", _totals(found)]
    if orphans:
        lines += _costs(account, found)
    return "\n".join(lines)


def _row(owned: OwnedResource, now: datetime) -> tuple[str, ...]:
    since = "" if owned.since is None else units.duration((now - owned.since).total_seconds())
    return owned.kind.value, flat(owned.id), flat(owned.spec), _state(owned), since


def _state(owned: OwnedResource) -> str:
    parts = [flat(owned.state)] if owned.state else []
    if owned.kind is Kind.POOL:
        nodes = units.counted(owned.nodes, "node")
        parts.append(nodes if owned.nodes == owned.wanted else f"{nodes} of {owned.wanted:,}")
    if owned.orphan and owned.kind in {Kind.JOB, Kind.SCHEDULE}:
        parts.append("its pool does not exist")
    elif owned.orphan:
        parts.append("no open job")
    return ", ".join(parts)


def _padded(text: str, width: int) -> str:
    return text + " " * (width - cell_width(text))


def _totals(found: Sequence[OwnedResource]) -> str:
    counts = [(sum(o.kind is kind for o in found), kind) for kind in Kind]
    return units.listed(units.counted(count, kind.value) for count, kind in counts if count) + "."


def _costs(account: AccountNames, found: Sequence[OwnedResource]) -> Iterator[str]:
    for kind in Kind:
        if any(owned.kind is kind for owned in found):
            yield f"A {kind.value}: {cost_text(kind.value, target=account.target)}."
    specs = units.listed((flat(owned.spec) for owned in _one_a_spec(found)), last="or")
    yield f"`batchspec destroy SPEC` deletes the resources of a spec, here of {specs}."


def _one_a_spec(found: Sequence[OwnedResource]) -> Iterator[OwnedResource]:
    yield from {owned.spec: owned for owned in found}.values()
