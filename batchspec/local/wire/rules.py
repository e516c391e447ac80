"""Checks request bodies by the table of property rules, with the service's error codes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache, partial
from typing import Any

from batchspec.local.wire.fault import Fault, bad_property
from batchspec.local.wire.models import all_properties as properties
from batchspec.local.wire.models import former_names, model_names
from batchspec.local.wire.times import ticks_of
from batchspec.local.wire.versions import NEWEST_VERSION
from batchspec.property_rules import (
    PROPERTY_RULES,
    UNKNOWN,
    Path,
    Properties,
    PropertyValue,
    Violation,
    violations,
)

_SEPARATE = frozenset({"BatchPoolSpecification"})
"""Errors of an auto pool do not fail the request that contains it; its creation checks them."""

_WITHOUT_VALUE = frozenset({"either-or", "missing-key", "wrong-system"})
"""Codes about the presence of a property; its value is no part of the error."""


def check_rules(model: str, body: Mapping[str, Any], version: str = NEWEST_VERSION) -> None:
    """Check the rules of a ``model``, as :func:`parse_body` returns it, and of all objects in it.

    Errors name properties as ``version`` does.

    Raises:
        Fault: the first rule that the body breaks: ``InvalidPropertyValue`` with the name, the
            value and the reason, ``MissingRequiredProperty`` or the code of the rule.
    """
    if model not in _relevant():
        return
    for found in violations(_object(model, body)):
        if not found.rule.accepted:
            raise _fault(found, body, former_names(version))


def _fault(found: Violation, body: Mapping[str, Any], names: Mapping[str, str]) -> Fault:
    if found.fault == "MissingRequiredProperty":
        return Fault(found.fault, ("PropertyName", names.get(found.missing, found.missing)))
    if found.fault != "InvalidPropertyValue":
        return Fault(found.fault)
    value = None if found.code in _WITHOUT_VALUE else _value_at(body, found.path)
    reason = found.message.replace("`", "")
    return bad_property(
        names.get(found.name, found.name),
        value,
        found.rule.reason or f"{reason[0].upper()}{reason[1:]}.",
    )


def _value_at(body: Any, path: Path) -> str | None:
    for step in path:
        if isinstance(body, dict):
            body = body.get(step)
        else:
            body = body[step] if isinstance(body, list) and isinstance(step, int) else None
    scalar = isinstance(body, str | int | float) and not isinstance(body, bool)
    return str(body)[:256] if scalar else None


def _object(model: str, body: Mapping[str, Any]) -> Properties:
    readers = _readers(model)
    members = {
        name: reader(value) if (reader := readers.get(name)) is not None else value
        for name, value in body.items()
    }
    return Properties(model, members)


@cache
def _readers(model: str) -> Mapping[str, Callable[[Any], PropertyValue]]:
    """How the properties of a model are read that are not scalars."""
    found = {name: _reader(kind.strip("-!")) for name, kind in properties(model).items()}
    return {name: reader for name, reader in found.items() if reader is not None}


def _reader(kind: str) -> Callable[[Any], PropertyValue] | None:
    if kind.startswith("@"):
        if kind[1:] not in _relevant() or kind[1:] in _SEPARATE:
            return _unknown
        return partial(_object, kind[1:])
    if kind.startswith("["):
        item = _reader(kind[1:-1])
        return tuple if item is None else lambda value: tuple(map(item, value))
    if kind == "duration":
        return lambda value: timedelta(microseconds=ticks_of(value) // 10)
    return _unknown if kind.startswith("{") or kind == "any" else None


def _unknown(_: Any) -> PropertyValue:
    return UNKNOWN


@cache
def _relevant() -> frozenset[str]:
    """The models that rules look at or into, and the models that contain them."""
    found = {model for rule in PROPERTY_RULES for model in rule.models}
    for rule in PROPERTY_RULES:
        for model in rule.models:
            for path in rule.properties:
                found |= set(_models_on(model, path))
    below = {
        model: {_nested(kind) for kind in properties(model).values()} for model in model_names()
    }
    while more := {model for model in below if model not in found and below[model] & found}:
        found |= more
    return frozenset(found)


def _models_on(model: str, path: str) -> Iterator[str]:
    """The models of the objects on a dotted path of properties."""
    for name in path.split("."):
        model = _nested(properties(model).get(name, "")) if model in model_names() else ""
        if model:
            yield model


def _nested(kind: str) -> str:
    """The model in a type such as ``[@Model]!``; empty if there is none."""
    return kind.strip("-![]").removeprefix("@") if "@" in kind else ""
