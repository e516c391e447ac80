"""Lists of the content of an account: the resources that batchspec created, containers, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from batchspec.observe import FileSource, Kind, OwnedResource, StoredFile
from batchspec.plan.observed import AccountNames
from batchspec.pricing import Price, Unknown
from batchspec.render import units
from batchspec.render.diagnostics import cell_width
from batchspec.render.json_lines import moment
from batchspec.render.output import Style, flat, json_text
from batchspec.render.questions import cost_text
from batchspec.render.run_text import account_line

_HEAD = ("kind", "id", "spec", "state", "age")


def inventory_json(
    account: AccountNames,
    found: Sequence[OwnedResource],
    costs: Mapping[str, Price | Unknown] | None = None,
) -> str:
    """The resources as indented JSON; ``costs`` are those of pools per hour, by id."""
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
                    **_cost_json(owned, costs or {}),
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
    costs: Mapping[str, Price | Unknown] | None = None,
    color: bool = False,
) -> str:
    """The resources as a table; ``orphans``: only unused ones were requested.

    ``costs`` are those of pools per hour, by id.
    """
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
        lines += _pool_costs(found, costs or {})
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


def _pool_costs(
    found: Sequence[OwnedResource], costs: Mapping[str, Price | Unknown]
) -> Iterator[str]:
    """The cost per hour of the nodes of each pool."""
    for owned in found:
        cost = costs.get(owned.id) if owned.kind is Kind.POOL else None
        if cost is None:
            continue
        nodes = f"The {units.counted(owned.nodes, 'node')} of pool {flat(owned.id)}"
        if isinstance(cost, Price):
            each = units.money(cost.per_hour, cost.currency)
            yield f"{nodes} cost {each} per hour ({flat(cost.source)})."
        else:
            yield f"{nodes}: price not known, {flat(cost.reason)}."


def _cost_json(owned: OwnedResource, costs: Mapping[str, Price | Unknown]) -> dict[str, object]:
    cost = costs.get(owned.id) if owned.kind is Kind.POOL else None
    if cost is None:
        return {}
    if isinstance(cost, Price):
        return {"per_hour": round(cost.per_hour, 6), "currency": cost.currency}
    return {"per_hour": None, "currency": None, "price_unknown": cost.reason}


def _one_a_spec(found: Sequence[OwnedResource]) -> Iterator[OwnedResource]:
    yield from {owned.spec: owned for owned in found}.values()


_SIZE, _TIME = 8, len("2026-12-01 02:00 UTC")


def file_line(file: StoredFile) -> str:
    """A file: size, time of its last change, name."""
    changed = units.moment(file.modified) if file.modified is not None else ""
    return f"{units.size(file.size):>{_SIZE}}  {changed:<{_TIME}}  {flat(file.name)}"


def files_json(source: FileSource, files: Sequence[StoredFile]) -> str:
    """The files of a container, task or node as indented JSON."""
    return json_text(
        {
            "version": 1,
            "source": {"kind": source.kind.value, "id": source.id},
            "files": [
                {
                    "name": file.name,
                    "size": file.size,
                    "modified": None if file.modified is None else moment(file.modified),
                }
                for file in files
            ],
        },
        indent=2,
    )


def containers_text(containers: Sequence[tuple[str, str, bool]]) -> Iterator[str]:
    """A line for each container: its name in the spec, its id, whether it exists."""
    width = max((len(key) for key, _, _ in containers), default=0)
    ids = max((len(each) for _, each, _ in containers), default=0)
    for key, container_id, exists in containers:
        note = "" if exists else "  does not exist"
        yield f"{key:<{width}}  {container_id:<{ids}}{note}".rstrip()


def containers_json(containers: Sequence[tuple[str, str, bool]]) -> str:
    """The containers of a spec as indented JSON."""
    return json_text(
        {
            "version": 1,
            "containers": [
                {"name": key, "id": container_id, "exists": exists}
                for key, container_id, exists in containers
            ],
        },
        indent=2,
    )
