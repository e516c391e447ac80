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
    found = _value(node, definition(model))
    assert isinstance(found, Record)
    return found


def _value(node: Node, schema: Fragment) -> Value:
    schema = resolved(schema)
    value = node.value
    if isinstance(value, Mapping):
        return _record(node, schema)
    if isinstance(value, tuple):
        items = schema.get("items", {})
        return tuple(_value(item, items) for item in value)
    if node.template is not None:
        return Template(node.template, node.inner or node.where)
    if isinstance(value, str):
        return _united(value, schema.get("x-unit", ""))
    return value


def _record(node: Node, schema: Fragment) -> Record:
    known: Mapping[str, Fragment] | None = schema.get("properties")
    if known is None:
        others = schema.get("additionalProperties", {})
        return Record({key: _value(child, others) for key, child in node.members.items()})
    return Record(
        {
            known[key].get("x-wire", key): _value(child, known[key])
            for key, child in node.members.items()
            if key in known
        }
    )


def _united(text: str, unit: str) -> str:
    if unit == "duration" and (length := duration(text)) is not None:
        return iso(length)
    return moment(text) or text if unit == "time" else text
