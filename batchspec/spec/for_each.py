"""``for_each`` of a stage → the noun that says what there is a task for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchspec.spec.model import (
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    Matrix,
    NumberRange,
    Once,
    Rows,
)
from batchspec.spec.node import Node
from batchspec.spec.values import Record, Text, Value


def for_each(node: Node | None, folder: Path) -> ForEach:  # noqa: PLR0911 - one a form
    """The source of a stage's items; ``folder`` is the spec's own."""
    if node is None:
        return Once()
    if (files := node.get("files")) is not None:
        return EachFile(text(files), patterns(node.get("match")), _group(node))
    if (blobs := node.get("blobs")) is not None:
        prefix = node.get("prefix")
        match = patterns(node.get("match"))
        return EachBlob(text(blobs), text(prefix) if prefix else "", match, _group(node))
    if (matrix := node.get("matrix")) is not None:
        axes = tuple((name, _axis(axis)) for name, axis in matrix.members.items())
        return Matrix(axes, _records(node.get("exclude")), _records(node.get("include")))
    if (rows := node.get("rows")) is not None:
        return Rows(folder / text(rows), rows.where)
    if (numbers := node.get("range")) is not None:
        return EachNumber(_range(numbers))
    values = node.get("list")
    return EachValue(tuple(value(item) for item in values.items)) if values else Once()


def text(node: Node) -> str:
    """A text, or whatever else is written, as text."""
    return node.value.shown if isinstance(node.value, Text) else str(node.value)


def patterns(node: Node | None) -> tuple[str, ...]:
    """One glob or several."""
    if node is None:
        return ()
    return tuple(text(item) for item in node.items) if node.items else (text(node),)


def value(node: Node) -> Value:
    """A node as a value."""
    if isinstance(node.value, Mapping):
        return Record({key: value(child) for key, child in node.value.items()})
    if isinstance(node.value, tuple):
        return tuple(value(item) for item in node.value)
    return node.value


def _group(node: Node) -> int | None:
    group = node.get("group")
    return group.value if group is not None and isinstance(group.value, int) else None


def _axis(node: Node) -> tuple[Value, ...] | NumberRange:
    numbers = node.get("range")
    return _range(numbers) if numbers is not None else tuple(value(item) for item in node.items)


def _range(node: Node) -> NumberRange:
    numbers = [item.value for item in node.items if isinstance(item.value, int | float)]
    # Only while faults are being looked for can there be too few.
    return NumberRange(*numbers) if len(numbers) > 1 else NumberRange(0, 0)


def _records(node: Node | None) -> tuple[Record, ...]:
    found = (value(item) for item in node.items) if node else ()
    return tuple(item for item in found if isinstance(item, Record))
