"""Typed parts of a validated tree: strings, commands, templates and the items of a stage."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchspec.spec.model import (
    Command,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    ForEach,
    Matrix,
    NumberRange,
    Once,
    Rows,
    Shell,
)
from batchspec.spec.values import Record, Template, Text, Value
from batchspec.spec.yaml_tree import Node


def text(node: Node) -> str:
    """The value as a string."""
    return node.value.shown if isinstance(node.value, Text) else str(node.value)


def patterns(node: Node | None) -> tuple[str, ...]:
    """One glob pattern or a list of them."""
    if node is None:
        return ()
    return tuple(text(item) for item in node.items) if node.items else (text(node),)


def value(node: Node) -> Value:
    """A node as a frozen value."""
    if isinstance(node.value, Mapping):
        return Record({key: value(child) for key, child in node.value.items()})
    if isinstance(node.value, tuple):
        return tuple(value(item) for item in node.value)
    return node.value


def template_of(node: Node) -> Template:
    """A string as a template."""
    assert isinstance(node.value, str)
    return Template(node.value, node.inner or node.where)


def command_of(node: Node, shell: Shell) -> Command | None:
    """A command; ``None`` if the node is neither a string nor a list of strings."""
    if node.items and all(item.text is not None for item in node.items):
        return Command(shell, arguments=tuple(template_of(item) for item in node.items))
    return Command(shell, template=template_of(node)) if node.text is not None else None


def for_each(node: Node | None, folder: Path) -> ForEach:  # noqa: PLR0911 - one for each form
    """The source of a stage's items; ``folder`` is the folder of the spec."""
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


def _group(node: Node) -> int | None:
    group = node.get("group")
    return group.value if group is not None and isinstance(group.value, int) else None


def _axis(node: Node) -> tuple[Value, ...] | NumberRange:
    numbers = node.get("range")
    return _range(numbers) if numbers is not None else tuple(value(item) for item in node.items)


def _range(node: Node) -> NumberRange:
    numbers = [item.value for item in node.items if isinstance(item.value, int | float)]
    # There are too few only in an invalid spec.
    return NumberRange(*numbers[:3]) if len(numbers) > 1 else NumberRange(0, 0)


def _records(node: Node | None) -> tuple[Record, ...]:
    found = (value(item) for item in node.items) if node else ()
    return tuple(item for item in found if isinstance(item, Record))
