"""Converts an expanded tree (the SDK's names) to a request body (the REST API's names).

The schema contains both names of every member. Durations and times are formatted as the service
does; a template that varies from task to task stays a template.
"""

from __future__ import annotations

from collections.abc import Mapping

from batchspec.spec.formats import duration, iso, moment
from batchspec.spec.json_schema import Fragment, definition, resolved
from batchspec.spec.values import Record, Template, Value
from batchspec.spec.yaml_tree import Node


def rest_body(node: Node, model: str) -> Record:
    """The members of a mapping that belong to ``model``, a definition of the schema."""
    found = value(node, definition(model))
    assert isinstance(found, Record)
    return found


def value(node: Node, schema: Fragment) -> Value:
    """A part of a tree that is valid against ``schema``."""
    schema = resolved(schema)
    given = node.value
    if isinstance(given, Mapping):
        return _record(node, schema)
    if isinstance(given, tuple):
        items = schema.get("items", {})
        return tuple(value(item, items) for item in given)
    if node.template is not None:
        kind = node.kind if node.kind is not None and node.kind.form != "text" else None
        return Template(node.template, node.inner or node.where, kind)
    if isinstance(given, str):
        return _formatted(given, schema.get("x-unit", ""))
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


def _formatted(text: str, unit: str) -> str:
    if unit == "duration" and (length := duration(text)) is not None:
        return iso(length)
    return moment(text) or text if unit == "time" else text
