"""A tree with the names of the SDK → a record with the names of the wire.

The schema has both names of every member. Durations and times come out as the service writes them;
a template that differs from task to task stays one.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.spec.node import Node
from batchspec.spec.schema import Fragment, definition, resolved
from batchspec.spec.units import duration, iso, moment
from batchspec.spec.values import Record, Template, Value


def on_wire(node: Node, model: str) -> Record:
    """The members of a mapping that ``model``, a definition of the schema, has."""
    found = value(node, definition(model))
    assert isinstance(found, Record)
    return found


def value(node: Node, schema: Fragment) -> Value:
    """A part of a tree that ``schema`` says is good."""
    schema = resolved(schema)
    given = node.value
    if isinstance(given, Mapping):
        return _record(node, schema)
    if isinstance(given, tuple):
        items = schema.get("items", {})
        return tuple(value(item, items) for item in given)
    if node.template is not None:
        return Template(node.template, node.inner or node.where, node.kind)
    if isinstance(given, str):
        return _united(given, schema.get("x-unit", ""))
    return given


def _record(node: Node, schema: Fragment) -> Record:
    known: Mapping[str, Fragment] | None = schema.get("properties")
    if known is None:
        others = schema.get("additionalProperties", {})
        return Record({key: value(child, others) for key, child in node.members.items()})
    return Record(
        {
            known[key].get("x-wire", key): value(child, known[key])
            for key, child in node.members.items()
            if key in known
        }
    )


def _united(text: str, unit: str) -> str:
    if unit == "duration" and (length := duration(text)) is not None:
        return iso(length)
    return moment(text) or text if unit == "time" else text
