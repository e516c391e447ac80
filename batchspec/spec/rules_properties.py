"""Checks the expanded properties by the rules of the Batch reference, in every notation.

The table of rules is :mod:`batchspec.property_rules`. This module passes it the parts of a spec as
objects of requests, and translates its results: REST names to keys, paths to positions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import takewhile

from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.frozen import frozen
from batchspec.property_rules import (
    UNKNOWN,
    Path,
    Properties,
    PropertyValue,
    Violation,
    violations,
)
from batchspec.spec.convert import duration
from batchspec.spec.model import Stage
from batchspec.spec.substitute import Rendered
from batchspec.spec.validator import Fragment, definition, shared_schema
from batchspec.spec.values import Record, Template, Value
from batchspec.spec.yaml_tree import Node


@frozen
class Part:
    """An expanded part: its place in the spec, and the model of the SDK that it becomes.

    ``agent`` is the system of the nodes (a node agent SKU) if only an alias of an image determines
    it.
    """

    path: tuple[str, ...]
    model: str
    node: Node
    agent: str | None = None


def parts_of(complete: Rendered) -> Iterator[Part]:
    """The pool, the job, its schedule, and the stages that an expanded spec has."""
    pool, job = complete.root.get("pool"), complete.root.get("job")
    if pool is not None and pool.members and pool.get("existing") is None:
        yield _pool(pool, windows=complete.windows)
    if job is not None and job.members:
        scheduled = job.get("schedule")
        model = "BatchJobCreateOptions" if scheduled is None else "BatchJobSpecification"
        yield Part(("job",), model, job)
        if scheduled is not None and scheduled.members:
            path = ("job", "schedule")
            yield Part(path, "BatchJobScheduleConfiguration", scheduled)
            yield Part(path, "BatchJobScheduleCreateOptions", scheduled)
    for name, stage in complete.root.mapping("tasks").items():
        yield Part(("tasks", name), "BatchTaskCreateOptions", stage)


def _pool(pool: Node, *, windows: bool) -> Part:
    image = pool.get("image")
    agent = pool.get("virtual_machine_configuration", "node_agent_sku_id")
    known = image is not None and not image.wrong and agent is None
    return Part(
        ("pool",),
        "BatchPoolCreateOptions" if pool.get("lifetime") is None else "BatchPoolSpecification",
        pool,
        ("batch.node.windows" if windows else "batch.node.linux") if known else None,
    )


_NAME = re.compile(r"`([a-z]\w*)`")
_KEY = re.compile(r"[\"']?([A-Za-z_][A-Za-z0-9_]*)")
_TOGETHER = frozenset({"multiInstanceSettings"})
"""Members of a task that rules about other members read."""
_SHORT = {"jobPreparationTask": "prepare", "jobReleaseTask": "release"}
_AT_KEY = frozenset({"either-or", "missing-key", "wrong-system"})
"""Codes about the presence of a key, not about its value."""


def property_rules(parts: Iterable[Part]) -> Iterator[Diagnostic]:
    """Properties that the published rules refuse."""
    for part in parts:
        for violation in violations(properties_of(part)):
            yield _diagnostic(part, violation)


def varying_members(stage: Stage) -> frozenset[str]:
    """The REST names of members of a task whose number, choice or duration differs by task."""
    return frozenset(
        name
        for name, value in stage.body.items()
        if any(template.kind is not None for template in _templates(value))
    )


def task_findings(body: Record, stage: Stage, members: frozenset[str]) -> Iterator[Diagnostic]:
    """Values that the rules refuse in these ``members`` of the body of a task.

    The position is that of the template in the stage.
    """
    checked = {name: body[name] for name in members | _TOGETHER if name in body}
    for found in violations(_properties(checked, "BatchTaskCreateOptions")):
        template = _template_at(stage.body, found.path)
        kind = template.kind if template is not None else None
        names = {found.name: kind.name} if kind is not None else {}
        where = kind.where if kind is not None else template.where if template else stage.where
        yield _report(found, names, where)


def _templates(value: Value) -> Iterator[Template]:
    if isinstance(value, Template):
        yield value
    for item in value.values() if isinstance(value, Record) else ():
        yield from _templates(item)
    for item in value if isinstance(value, tuple) else ():
        yield from _templates(item)


def _template_at(value: Value, path: Path) -> Template | None:
    """The template at a path, or the template that contains the value at the path."""
    for step in path:
        if isinstance(value, Record) and isinstance(step, str):
            value = value.get(step)
        elif isinstance(value, tuple) and isinstance(step, int) and step < len(value):
            value = value[step]
    return value if isinstance(value, Template) else None


def properties_of(part: Part) -> Properties:
    """A part of a spec as the object of a request."""
    given = _properties(part.node.members, part.model)
    if part.agent is None:
        return given
    # The image is an alias, which `plan` resolves: only the system of its nodes is known.
    machine = given.get("virtualMachineConfiguration")
    members = machine.members if isinstance(machine, Properties) else {}
    filled = Properties("VirtualMachineConfiguration", {"nodeAgentSKUId": part.agent, **members})
    return replace(given, members={**given.members, "virtualMachineConfiguration": filled})


def _properties(given: Mapping[str, Node] | Mapping[str, Value], model: str) -> Properties:
    """The members of a mapping by REST name; they are named by keys of the spec or REST names."""
    members: dict[str, PropertyValue] = {}
    for key, fragment in definition(model)["properties"].items():
        name = fragment.get("x-wire", key)
        if (found := next((each for each in (key, name) if each in given), None)) is not None:
            members[name] = _value(given[found], fragment)
    return Properties(model, members)


def _value(given: Node | Value, fragment: Fragment) -> PropertyValue:
    value: object = given.value if isinstance(given, Node) else given
    if isinstance(given, Node) and (given.wrong or given.template is not None):
        return UNKNOWN
    if isinstance(value, Mapping):
        model = _model(fragment)
        return _properties(value, model) if model else UNKNOWN
    if isinstance(value, tuple):
        return tuple(_value(item, fragment.get("items", {})) for item in value)
    if isinstance(value, str) and fragment.get("x-unit") == "duration":
        length = duration(value)
        return UNKNOWN if length is None else length
    return value if isinstance(value, str | int | float | None) else UNKNOWN


def _model(fragment: Fragment) -> str:
    """The name of the definition that a subschema refers to; empty if there is none."""
    references = (fragment, *fragment.get("allOf", ()))
    found = next((part["$ref"] for part in references if "$ref" in part), "")
    return str(found).rpartition("/")[2]


def _diagnostic(part: Part, found: Violation) -> Diagnostic:
    chain = _nodes(part, found.path)
    node = chain[-1]
    exact = len(chain) > len(found.path)
    key = _written(node) if exact else ""
    presence = found.code in _AT_KEY or not exact
    return _report(found, {found.name: key} if key else {}, node.name if presence else node.at)


def _report(found: Violation, names: Mapping[str, str], where: Place) -> Diagnostic:
    """``names`` are the keys that the user wrote, by REST name."""
    return Diagnostic(
        found.code,
        _with_keys(found.message, names),
        where=where,
        fix=_with_keys(found.fix, names),
        severity=Severity.ERROR if found.rule.severity == "error" else Severity.WARNING,
    )


def _nodes(part: Part, path: Path) -> list[Node]:
    """The nodes along a path, from the part itself to the last one that the spec contains."""
    chain = [part.node]
    model: str = part.model
    for step in path:
        node, found = chain[-1], None
        if isinstance(step, int):
            found = node.items[step] if step < len(node.items) else None
        else:
            members = definition(model)["properties"] if model else {}
            key = next((k for k, f in members.items() if f.get("x-wire", k) == step), "")
            found = node.members.get(key)
            fragment = members.get(key, {})
            model = _model(fragment.get("items", fragment))
        if found is None:
            break
        chain.append(found)
    return chain


def _written(node: Node) -> str:
    """The key of a node as the user wrote it, which may be a short form."""
    match = _KEY.match(node.key.text, node.key.column - 1) if node.key is not None else None
    return match[1] if match is not None else ""


def _with_keys(text: str, written: Mapping[str, str]) -> str:
    """A message with keys of the spec for REST names."""

    def key(match: re.Match[str]) -> str:
        name = match[1]
        return f"`{written.get(name) or _keys().get(name, name)}`"

    return _NAME.sub(key, text)


def place_of_property(places: Mapping[str, Place], parts: Sequence[str], name: str) -> Place | None:
    """The position of a property, by the REST name that the service reports.

    ``places`` are those of the spec; ``parts`` are the dotted paths of the parts of the spec that
    became the request. The service reports the last step of a property's path, so the key may be
    anywhere in a part. With several keys or none, the result is the position of the enclosing key.
    """
    key = _keys().get(name) or _snake_case(name)
    keys = {key, "command"} if key == "command_line" else {key}
    for part in parts:
        inside = (path.split(".") for path in places if path.startswith(f"{part}."))
        found = [path for path in inside if path[-1] in keys]
        if len({places[".".join(path)] for path in found}) == 1:
            return places[".".join(found[0])]
        if found:
            shared = takewhile(lambda steps: len(set(steps)) == 1, zip(*found, strict=False))
            return places.get(".".join(steps[0] for steps in shared))
    return places.get(parts[0]) if parts else None


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


@cache
def _keys() -> Mapping[str, str]:
    """The key of each REST name."""
    found: dict[str, str] = dict(_SHORT)
    for schema in shared_schema()["definitions"].values():
        for key, fragment in schema.get("properties", {}).items():
            if "x-wire" in fragment:
                found.setdefault(fragment["x-wire"], key)
    return found
