"""Whether a tree has the shape of a spec: keys, types, units, choices. Every fault at its place.

The shipped schema is walked with the tree. Of a union the branch that was meant is told by the
type and the keys of what is written, so a fault is always one of a single branch. What is wrong is
marked in the tree that comes back, so that the rules that look further neither fear nor miss it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from batchspec.problems import Problem, Problems, Secret
from batchspec.spec import shape_words as words
from batchspec.spec.fill import is_lone
from batchspec.spec.node import Node
from batchspec.spec.schema import Fragment, branches, resolved, shipped, types
from batchspec.spec.tree import resolve
from batchspec.spec.units import duration, moment, suggested
from batchspec.spec.values import Kind, Text

_KINDS: Mapping[str, Callable[[object], bool]] = {
    "string": lambda value: isinstance(value, str | Text),
    "integer": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "boolean": lambda value: isinstance(value, bool),
    "array": lambda value: isinstance(value, tuple),
    "object": lambda value: isinstance(value, Mapping),
    "null": lambda value: value is None,
}


def shaped(root: Node, problems: Problems, *, again: bool = False) -> Node:
    """The tree with what is wrong marked so; each fault is added to ``problems``.

    ``again`` is for a tree whose templates were filled in: what was told before is not told anew.
    """
    found = _Walker(problems, again).visit(root, shipped(), "")
    return found if found is not None else replace(root, value={})


def part(node: Node, schema: Fragment, name: str, problems: Problems) -> Node | None:
    """The same for the value of the key ``name`` alone; ``None`` when it is wrong."""
    return _Walker(problems, again=True).visit(node, schema, name)


@dataclass(frozen=True, slots=True)
class _Walker:
    problems: Problems
    again: bool

    def visit(  # noqa: PLR0911 - one for each kind of fragment
        self, node: Node, schema: Fragment, name: str
    ) -> Node | None:
        """The node as it is to be used, or ``None`` when it is wrong. ``name`` is its key."""
        if node.wrong:
            return node
        schema = resolved(schema)
        if schema.get("x-secret"):
            return self._secret(node, schema, name)
        if "oneOf" in schema or "anyOf" in schema:
            return self._union(node, schema, name)
        if "enum" in schema:
            return self._choice(node, schema, name)
        if not (wanted := types(schema)):
            return node
        node = _typed(node, wanted)
        if not any(_KINDS[kind](node.value) for kind in wanted):
            return self._not_yet(node, wanted, schema, name)
        if isinstance(node.value, Mapping):
            return self._mapping(node, schema, name)
        if isinstance(node.value, tuple):
            return self._list(node, schema, name)
        return self._scalar(node, schema, name)

    def _not_yet(
        self, node: Node, wanted: tuple[str, ...], schema: Fragment, name: str
    ) -> Node | None:
        """What is not as wanted: it may be a template that is still to be filled in.

        Once the parameters are, only what differs from task to task is left.
        """
        scalar = bool(set(wanted) - {"array", "object"})
        if node.template is None or not (scalar or is_lone(node)):
            self.problems.add(words.wrong_type(node, wanted, schema, name))
            return None
        if not self.again:
            return node
        if scalar:
            return replace(node, kind=Kind(name, schema, node.where))
        self.problems.add(words.differs(node, name))
        return None

    def _union(self, node: Node, schema: Fragment, name: str) -> Node | None:
        options = list(branches(schema))
        fitting = [o for o in options if any(_KINDS[t](_typed(node, (t,)).value) for t in types(o))]
        choice = next((option for option in options if "enum" in option), None)
        if choice is not None and not fitting:
            return self._choice(node, choice, name)
        if not fitting:
            wanted = tuple(dict.fromkeys(t for o in options for t in types(o)))
            return self._not_yet(node, wanted, schema, name)
        if len(fitting) == 1:
            return self.visit(node, fitting[0], name)
        return self._told_by_keys(node, fitting, name)

    def _told_by_keys(self, node: Node, options: list[Fragment], name: str) -> Node | None:
        marks = {key: option for option in options for key in option.get("required", ())}
        default = next((o for o in options if o.get("x-default-branch")), None)
        if default is not None:
            marks = {key: option for key, option in marks.items() if option is not default}
        present = [key for key in marks if key in node.members]
        if len(present) > 1:
            extra = node.members[present[1]]
            self.problems.add(words.two_ways(extra, present[0], present[1]))
            return None
        if present:
            return self.visit(node, marks[present[0]], name)
        near = next((m for k in node.members if (m := words.nearest(k, marks))), None)
        if default is not None and near is None:
            return self.visit(node, default, name)
        self.problems.add(words.no_way(node, tuple(marks), name))
        return None

    def _choice(self, node: Node, schema: Fragment, name: str) -> Node | None:
        if node.template is not None:
            return self._not_yet(node, ("enum",), schema, name)
        allowed = schema["enum"]
        # True == 1 in Python, and not in a spec.
        if any(type(node.value) is type(option) and node.value == option for option in allowed):
            return node
        filled = resolve(str(node.value)) if node.filled else None
        if filled in allowed:
            return replace(node, value=filled)
        self.problems.add(words.not_a_choice(node, allowed, name))
        return None

    def _mapping(self, node: Node, schema: Fragment, name: str) -> Node:
        known: Mapping[str, Fragment] = schema.get("properties", {})
        others = schema.get("additionalProperties", True)
        pattern = schema.get("propertyNames", {}).get("pattern")
        kept: dict[str, Node] = {}
        for key, value in node.members.items():
            if pattern and not re.search(pattern, key):
                self.problems.add(words.bad_name(value, key, name))
            elif key in known or isinstance(others, Mapping):
                kept[key] = self._member(value, known.get(key, others), key)
            elif others is True:
                kept[key] = value
            else:
                self.problems.add(words.unknown_key(value, key, known, schema, name))
                # A key that was only misspelt is one fault, not two: the right one is not missed.
                if near := words.nearest(key, known):
                    kept.setdefault(near, _wrong(value))
        if self.again:
            return replace(node, value=kept)
        self._short_and_long(node, known)
        for key in _required(node, schema):
            if key not in kept and key not in node.members:
                self.problems.add(words.missing_key(node, key, schema, name))
        if len(node.members) < schema.get("minProperties", 0):
            self.problems.add(words.too_few(node, name))
        return replace(node, value=kept)

    def _short_and_long(self, node: Node, known: Mapping[str, Fragment]) -> None:
        """A short form does not stand beside what it is short for, unless the two join."""
        for key in node.members:
            schema = resolved(known.get(key, {}))
            for path in () if schema.get("x-joins") else schema.get("x-short-for", ()):
                if (long := node.get(*path.split("."))) is not None:
                    self.problems.add(words.short_and_long(long, key, path))

    def _member(self, node: Node, schema: Fragment, key: str) -> Node:
        found = self.visit(node, schema, key)
        return found if found is not None else _wrong(node)

    def _list(self, node: Node, schema: Fragment, name: str) -> Node | None:
        least, most = schema.get("minItems", 0), schema.get("maxItems")
        if len(node.items) < least or (most is not None and len(node.items) > most):
            self.problems.add(words.wrong_count(node, least, most, name))
            return None
        if "items" not in schema:
            return node
        return replace(
            node, value=tuple(self._member(item, schema["items"], name) for item in node.items)
        )

    def _scalar(self, node: Node, schema: Fragment, name: str) -> Node | None:
        fault = None
        if schema.get("x-unit") and node.template is not None:
            return self._not_yet(node, ("unit",), schema, name)
        if schema.get("x-unit"):
            fault = _unit_fault(node, schema["x-unit"], name)
        elif isinstance(node.value, int | float) and not isinstance(node.value, bool):
            fault = words.out_of_range(node, schema, name)
        if fault is None:
            return node
        self.problems.add(fault)
        return None

    def _secret(self, node: Node, schema: Fragment, name: str) -> Node | None:
        """A value that may only come of a secret parameter; its text is never shown."""
        if node.template is not None:
            return node
        if isinstance(node.value, Mapping):
            found = {k: self._secret(v, schema, k) or _wrong(v) for k, v in node.members.items()}
            return replace(node, value=found)
        if isinstance(node.value, Text) and any(isinstance(p, Secret) for p in node.value.pieces):
            return node
        self.problems.add(words.secret_in_clear(node, name))
        return None


def _required(node: Node, schema: Fragment) -> Iterator[str]:
    """The keys that a mapping must have; more, by ``else``, where ``if`` does not hold of it."""
    yield from schema.get("required", ())
    if "if" in schema and not _has(node, schema["if"]):
        yield from schema["else"].get("required", ())


def _has(node: Node, schema: Fragment) -> bool:
    """Whether a mapping has the keys that a fragment asks for, and so has each member."""
    if not isinstance(node.value, Mapping):
        return True
    members: Mapping[str, Fragment] = schema.get("properties", {})
    return all(key in node.members for key in schema.get("required", ())) and all(
        _has(node.members[key], below) for key, below in members.items() if key in node.members
    )


def _wrong(node: Node) -> Node:
    """What is left of a member whose fault was told."""
    return replace(node, value=None, wrong=True)


def _typed(node: Node, wanted: tuple[str, ...]) -> Node:
    """A filled-in text as the number or truth that is wanted; a number as text where only that is.

    A template yields text; ``nodes: "{{ n }}"`` still means a number.
    """
    if node.filled and isinstance(node.value, str) and "string" not in wanted:
        value = resolve(node.value)
        if any(_KINDS[kind](value) for kind in wanted):
            return replace(node, value=value)
    return node


def _unit_fault(node: Node, unit: str, name: str) -> Problem | None:
    if not isinstance(node.value, str):
        return words.deferred_unit(node, name)
    if unit == "duration":
        if duration(node.value) is None:
            return words.not_a_duration(node, suggested(node.value), name)
    elif moment(node.value) is None:
        return words.not_a_time(node, name)
    return None
