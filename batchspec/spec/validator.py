"""The JSON Schema of a spec (draft-07): validation of a tree, and conversion by the schema.

``tools/generate_schema.py`` generates the schema from the SDK's models and the language.

One validator checks all parts of a spec. Before templates are filled in, it records the expected
type of each template (:class:`~batchspec.spec.values.Kind`); afterwards the same code checks the
resulting text (:func:`coerced`, :func:`typed`). A request body has the names of the REST API; the
schema contains both names of every member.

The validator is not ``jsonschema``, because its import takes 40-60 ms, and because the tree is
walked with the schema in any case: to convert strings, to record the types of templates and to mark
invalid members. The tests compare the two on generated specs. ``jsonschema`` checks parameters
(:mod:`~batchspec.spec.parameter_values`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from batchspec.diagnostics import Diagnostic, Diagnostics, Secret, nearest
from batchspec.frozen import frozen
from batchspec.spec import validator_messages as messages
from batchspec.spec.convert import duration, is_too_long, iso, moment, suggested, template_of
from batchspec.spec.values import Kind, Record, Text, Value
from batchspec.spec.yaml_parser import resolve
from batchspec.spec.yaml_tree import Node

Fragment: TypeAlias = Mapping[str, Any]
"""A subschema as parsed JSON."""

_NAME = "batchspec.schema.json"
_INSTALLED = Path(__file__).with_name(_NAME)
_CHECKOUT = Path(__file__).parents[2] / "schemas" / _NAME
"""A source checkout has the one committed file; the wheel contains it in the package."""


def load_schema() -> dict[str, Any]:
    """The published schema; a new copy for each call."""
    loaded: dict[str, Any] = json.loads(schema_text())
    return loaded


@lru_cache(maxsize=1)
def shared_schema() -> Fragment:
    """The schema, loaded once. Do not change it."""
    return load_schema()


def schema_text() -> str:
    """The published schema as text."""
    return (_INSTALLED if _INSTALLED.exists() else _CHECKOUT).read_text("utf-8")


def definition(name: str) -> Fragment:
    """A definition by name: a model of the SDK or a term of the language."""
    found: Fragment = shared_schema()["definitions"][name]
    return found


def resolved(schema: Fragment) -> Fragment:
    """A subschema with its reference followed. Keywords beside the reference are kept."""
    while True:
        reference = schema.get("$ref")
        if reference is None and len(schema.get("allOf", ())) == 1:
            reference = schema["allOf"][0].get("$ref")
        if reference is None:
            return schema
        kept = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
        schema = {**definition(reference.rpartition("/")[2]), **kept}


def branches(schema: Fragment) -> Iterator[Fragment]:
    """The branches of a union, resolved, without the branch for a template."""
    for branch in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        if branch.get("$ref") != "#/definitions/template":
            yield resolved(branch)


def types(schema: Fragment) -> tuple[str, ...]:
    """The types that a subschema accepts, without the string that only a template may be."""
    given = schema.get("type", ())
    found = (given,) if isinstance(given, str) else tuple(given)
    if "string" in found and len(found) > 1 and schema.get("pattern") == r"\{\{":
        found = tuple(kind for kind in found if kind != "string")
    return found


_TYPE_TESTS: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str | Text),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, tuple),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}
_LONE = re.compile(r"\s*\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}\s*")


def lone_name(template: str) -> str | None:
    """The name in a string that contains only ``{{ name }}``: a list or a mapping."""
    match = _LONE.fullmatch(template)
    return match[1] if match else None


def validated(root: Node, problems: Diagnostics) -> Node:
    """The tree with invalid members marked and every template's expected type recorded.

    Every error is added to ``problems``.
    """
    found = _Validator(problems).visit(root, shared_schema(), "")
    return found if found is not None else replace(root, value={})


def coerced(node: Node, kind: Kind, problems: Diagnostics) -> Node:
    """A filled-in node, validated and converted to the type of ``kind``; marked if invalid."""
    found = _Validator(problems).visit(replace(node, kind=None), kind.schema, kind.name)
    return found if found is not None else node.invalid()


def typed(text: str | Text, kind: Kind) -> Value:
    """Convert the text that a template yields for one task, in the form of the REST API.

    Raises:
        SpecError: the text is not valid there; the problem has the position of the template.
    """
    problems = Diagnostics()
    raw = text if isinstance(text, str) else ""
    found = coerced(Node(text, kind.where, raw, key=kind.where, filled=True), kind, problems)
    problems.raise_if_any()
    result = rest_value(found, kind.schema)
    return result if kind.becomes is None else kind.becomes[result]


@frozen
class _Validator:
    problems: Diagnostics

    def visit(  # noqa: PLR0911 - one for each kind of subschema
        self, node: Node, schema: Fragment, name: str
    ) -> Node | None:
        """The node to use, or ``None`` when it is invalid. ``name`` is its key."""
        if node.wrong:
            return node
        schema = resolved(schema)
        if schema.get("x-secret"):
            return self._secret(node, schema, name)
        if node.template is not None:
            return self._template(node, schema, name)
        if "oneOf" in schema or "anyOf" in schema:
            return self._union(node, schema, name)
        if "enum" in schema:
            return self._choice(node, schema, name)
        if not (wanted := types(schema)):
            return node
        node = _converted(node, wanted)
        if not any(_TYPE_TESTS[kind](node.value) for kind in wanted):
            self.problems.add(messages.wrong_type(node, wanted, schema, name))
            return None
        if isinstance(node.value, Mapping):
            return self._mapping(node, schema, name)
        if isinstance(node.value, tuple):
            return self._list(node, schema, name)
        return self._scalar(node, schema, name)

    def _template(self, node: Node, schema: Fragment, name: str) -> Node | None:
        """A template with its expected type; a list or mapping can only be a single name."""
        options = list(branches(schema)) or [schema]
        wanted = tuple(dict.fromkeys(kind for option in options for kind in types(option)))
        choice = next((option for option in options if "enum" in option), None)
        form: Literal["text", "scalar", "collection"] = "collection"
        if any("string" in types(o) and "x-unit" not in o and "enum" not in o for o in options):
            form = "text"
        elif choice is not None or set(wanted) - {"array", "object"}:
            form = "scalar"
        elif not wanted:
            return node
        elif lone_name(node.template or "") is None:
            self.problems.add(messages.wrong_type(node, wanted, schema, name))
            return None
        expected = choice if choice is not None and form == "scalar" else schema
        return replace(node, kind=Kind(name, expected, node.where, form))

    def _union(self, node: Node, schema: Fragment, name: str) -> Node | None:
        """The branch by the type and the keys of the value. An error refers to this branch only."""
        options = list(branches(schema))
        fitting = [
            option
            for option in options
            if any(_TYPE_TESTS[kind](_converted(node, (kind,)).value) for kind in types(option))
        ]
        choice = next((option for option in options if "enum" in option), None)
        if choice is not None and not fitting:
            return self._choice(node, choice, name)
        if not fitting:
            wanted = tuple(dict.fromkeys(kind for option in options for kind in types(option)))
            self.problems.add(messages.wrong_type(node, wanted, schema, name))
            return None
        if len(fitting) == 1:
            return self.visit(node, fitting[0], name)
        return self._by_keys(node, fitting, name)

    def _by_keys(self, node: Node, options: list[Fragment], name: str) -> Node | None:
        marks = {key: option for option in options for key in option.get("required", ())}
        default = next((o for o in options if o.get("x-default-branch")), None)
        if default is not None:
            marks = {key: option for key, option in marks.items() if option is not default}
        present = [key for key in marks if key in node.members]
        if len(present) > 1:
            extra = node.members[present[1]]
            self.problems.add(messages.exclusive_keys(extra, present[0], present[1]))
            return None
        if present:
            return self.visit(node, marks[present[0]], name)
        near = next((m for k in node.members if (m := nearest(k, marks))), None)
        if default is not None and near is None:
            return self.visit(node, default, name)
        self.problems.add(messages.no_branch(node, tuple(marks), name))
        return None

    def _choice(self, node: Node, schema: Fragment, name: str) -> Node | None:
        allowed = schema["enum"]
        # In Python True == 1; in a spec they differ.
        if any(type(node.value) is type(option) and node.value == option for option in allowed):
            return node
        converted = resolve(str(node.value)) if node.filled else None
        if converted in allowed:
            return replace(node, value=converted)
        self.problems.add(messages.not_a_choice(node, allowed, name))
        return None

    def _mapping(self, node: Node, schema: Fragment, name: str) -> Node:
        known: Mapping[str, Fragment] = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        pattern = schema.get("propertyNames", {}).get("pattern")
        kept: dict[str, Node] = {}
        for key, member in node.members.items():
            if pattern and not re.search(pattern, key):
                self.problems.add(messages.bad_name(member, key, name))
            elif key in known or isinstance(others, Mapping):
                kept[key] = self._member(member, known.get(key, others), key)
            elif others is True:
                kept[key] = member
            else:
                self.problems.add(messages.unknown_key(member, key, known, schema, name))
                # A misspelled key is one error: the correct key is not reported as missing.
                if near := nearest(key, known):
                    kept.setdefault(near, member.invalid())
        self._short_and_long(node, known)
        for key in _required(node, schema):
            if key not in kept and key not in node.members:
                self.problems.add(messages.missing_key(node, key, schema, name))
        if len(node.members) < schema.get("minProperties", 0):
            self.problems.add(messages.empty(node, name))
        return replace(node, value=kept)

    def _short_and_long(self, node: Node, known: Mapping[str, Fragment]) -> None:
        """Refuse a short form beside the property that it sets, unless they can be combined."""
        for key in node.members:
            schema = resolved(known.get(key, {}))
            for path in () if schema.get("x-joins") else schema.get("x-short-for", ()):
                if (long := node.get(*path.split("."))) is not None:
                    self.problems.add(messages.short_and_long(long, key, path))

    def _member(self, node: Node, schema: Fragment, key: str) -> Node:
        found = self.visit(node, schema, key)
        return found if found is not None else node.invalid()

    def _list(self, node: Node, schema: Fragment, name: str) -> Node | None:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if len(node.items) < least or (most is not None and len(node.items) > most):
            self.problems.add(messages.wrong_count(node, least, most, name))
            return None
        if "items" not in schema:
            return node
        return replace(
            node, value=tuple(self._member(item, schema["items"], name) for item in node.items)
        )

    def _scalar(self, node: Node, schema: Fragment, name: str) -> Node | None:
        found = None
        if schema.get("x-unit"):
            found = _unit_problem(node, schema["x-unit"], name)
        elif isinstance(node.value, int | float) and not isinstance(node.value, bool):
            found = messages.out_of_range(node, schema, name)
        if found is None:
            return node
        self.problems.add(found)
        return None

    def _secret(self, node: Node, schema: Fragment, name: str) -> Node | None:
        """A value that only a secret parameter may supply. Its text is never shown."""
        if node.template is not None:
            return replace(node, kind=Kind(name, schema, node.where, "text"))
        if isinstance(node.value, Mapping):
            found = {key: self._member(item, schema, key) for key, item in node.members.items()}
            return replace(node, value=found)
        if isinstance(node.value, Text) and any(isinstance(p, Secret) for p in node.value.pieces):
            return node
        self.problems.add(messages.secret_in_clear(node, name))
        return None


def _required(node: Node, schema: Fragment) -> Iterator[str]:
    """The required keys of a mapping, including the keys of ``else`` if ``if`` does not match."""
    yield from schema.get("required", ())
    if "if" in schema and not _has_keys(node, schema["if"]):
        yield from schema["else"].get("required", ())


def _has_keys(node: Node, schema: Fragment) -> bool:
    """Whether a mapping and its members have the keys that a subschema requires."""
    if not isinstance(node.value, Mapping):
        return True
    members: Mapping[str, Fragment] = schema.get("properties", {})
    return all(key in node.members for key in schema.get("required", ())) and all(
        _has_keys(node.members[key], below) for key, below in members.items() if key in node.members
    )


def _converted(node: Node, wanted: tuple[str, ...]) -> Node:
    """A filled-in text as the expected number or boolean: ``nodes: "{{ n }}"``."""
    if node.filled and isinstance(node.value, str) and "string" not in wanted:
        found = resolve(node.value)
        if any(_TYPE_TESTS[kind](found) for kind in wanted):
            return replace(node, value=found)
    return node


def _unit_problem(node: Node, unit: str, name: str) -> Diagnostic | None:
    if not isinstance(node.value, str):
        return messages.deferred_unit(node, name)
    if unit == "duration":
        if is_too_long(node.value):
            return messages.too_long(node, name)
        if duration(node.value) is None:
            return messages.not_a_duration(node, suggested(node.value), name)
    elif moment(node.value) is None:
        return messages.not_a_time(node, name)
    return None


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
        return replace(template_of(node, key), kind=kind)
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
