"""Converts parts of a validated tree: to strings, commands, items of a stage and request bodies.

A request body has the names of the REST API; the schema contains both names of every member.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from batchspec.spec.formats import duration, iso, moment
from batchspec.spec.json_schema import Fragment, definition, resolved
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
from batchspec.spec.values import Record, Target, Template, Text, Value
from batchspec.spec.yaml_tree import Node


def text(node: Node) -> str:
    """The value as a string."""
    return node.value.shown if isinstance(node.value, Text) else str(node.value)


def patterns(node: Node | None) -> tuple[str, ...]:
    """One glob pattern or a list of them."""
    if node is None:
        return ()
    return tuple(text(item) for item in node.items) if node.items else (text(node),)


def frozen(node: Node) -> Value:
    """A node as a frozen value."""
    if isinstance(node.value, Mapping):
        return Record({key: frozen(child) for key, child in node.value.items()})
    if isinstance(node.value, tuple):
        return tuple(frozen(item) for item in node.value)
    return node.value


_TARGETS = {
    "file_pattern": Target.PATTERN,
    "http_url": Target.URL,
    "storage_container_url": Target.URL,
    "container_url": Target.URL,
}
"""What values are escaped for, by key."""


def template_of(node: Node, key: str = "") -> Template:
    """A string as a template; values are escaped for the property with this key."""
    assert isinstance(node.value, str)
    return Template(node.value, node.inner or node.where, target=_TARGETS.get(key))


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
    return EachValue(tuple(frozen(item) for item in values.items)) if values else Once()


def _group(node: Node) -> int | None:
    group = node.get("group")
    return group.value if group is not None and isinstance(group.value, int) else None


def _axis(node: Node) -> tuple[Value, ...] | NumberRange:
    numbers = node.get("range")
    return _range(numbers) if numbers is not None else tuple(frozen(item) for item in node.items)


def _range(node: Node) -> NumberRange:
    numbers = [item.value for item in node.items if isinstance(item.value, int | float)]
    # There are too few only in an invalid spec.
    return NumberRange(*numbers[:3]) if len(numbers) > 1 else NumberRange(0, 0)


def _records(node: Node | None) -> tuple[Record, ...]:
    found = (frozen(item) for item in node.items) if node else ()
    return tuple(item for item in found if isinstance(item, Record))


def rest_body(node: Node, model: str) -> Record:
    """The members of an expanded mapping that belong to ``model``, a definition of the schema."""
    found = rest_value(node, definition(model))
    assert isinstance(found, Record)
    return found


def rest_value(node: Node, schema: Fragment, key: str = "") -> Value:
    """A node that is valid against ``schema``; a template that varies from task to task is kept."""
    schema = resolved(schema)
    given = node.value
    if isinstance(given, Mapping):
        return _record(node, schema)
    if isinstance(given, tuple):
        items = schema.get("items", {})
        return tuple(rest_value(item, items) for item in given)
    if node.template is not None:
        kind = node.kind if node.kind is not None and node.kind.form != "text" else None
        return Template(node.template, node.inner or node.where, kind, _TARGETS.get(key))
    if isinstance(given, str):
        return _formatted(given, schema.get("x-unit", ""))
    return given


def _record(node: Node, schema: Fragment) -> Record:
    known: Mapping[str, Fragment] | None = schema.get("properties")
    if known is None:
        others = schema.get("additionalProperties", {})
        return Record({key: rest_value(child, others) for key, child in node.members.items()})
    return Record(
        {
            known[key].get("x-wire", key): rest_value(child, known[key], key)
            for key, child in node.members.items()
            if key in known
        }
    )


def _formatted(text: str, unit: str) -> str:
    if unit == "duration" and (length := duration(text)) is not None:
        return iso(length)
    return moment(text) or text if unit == "time" else text
