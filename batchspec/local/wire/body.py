"""Request bodies: validation against the wire models of their api-version, and normalisation.

As Azure Batch, this module rejects unknown properties, accepts enum values in any case and numbers
as strings (azure-cli sends ``"2"``), and treats ``null`` as absent. The result has the names of the
newest version. :func:`check_rules` applies the table of property rules; checks against stored
resources belong to the modules of ``api``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from functools import cache, partial
from typing import Any

from batchspec.local.wire.fault import FAULTS, Fault, bad_body, bad_property
from batchspec.local.wire.models import (
    NEWEST_VERSION,
    all_properties,
    enum_values,
    former_names,
    formers,
    model_names,
    properties,
    put_at,
)
from batchspec.local.wire.times import read_time, ticks_of, write_duration
from batchspec.property_rules import (
    PROPERTY_RULES,
    UNKNOWN,
    Path,
    Properties,
    PropertyValue,
    Violation,
    violations,
)

SPELLING: Mapping[str, tuple[str, ...]] = {
    "BatchErrorSourceCategory": ("UserError", "ServerError"),
    "BatchNodeFillType": ("Spread", "Pack"),
    "BatchNodePlacementPolicyType": ("Regional", "Zonal"),
    "BatchTaskAddStatus": ("Success", "ClientError", "ServerError"),
    "CachingType": ("None", "ReadOnly", "ReadWrite"),
    "DiffDiskPlacement": ("CacheDisk",),
    "OutputFileUploadCondition": ("TaskSuccess", "TaskFailure", "TaskCompletion"),
    "SecurityTypes": ("trustedlaunch", "confidentialvm"),
}
"""Enum values as recorded replies spell them, where the API description spells them differently."""


Reader = Callable[[Any, str], Any]
"""Takes a value and the name of its property; returns the value as the service spells it."""

_INVALID = FAULTS["InvalidPropertyValue"][1]
_ENTITIES = "Microsoft.Azure.Batch.Protocol.Entities."
# Recorded: returned unchanged; "P0D" and "PT0S" both occur.
_UNCHANGED = frozenset({"pauseTimeBetweenBatches"})


def parse_body(model: str, value: Any, version: str = NEWEST_VERSION) -> dict[str, Any]:
    """Validate ``value``, a decoded request body, as a ``model`` of an api-version.

    The spelling of values and the names of properties become those of the newest version.

    Raises:
        Fault: ``InvalidRequestBody`` (not an object, unknown property),
            ``MissingRequiredProperty`` or ``InvalidPropertyValue``, with their values.
    """
    read: dict[str, Any] = _model(model, version)(value, "")
    return read


@cache
def _model(model: str, version: str) -> Reader:
    shape = {
        name: kind for name, kind in properties(model, version).items() if not kind.startswith("-")
    }
    readers = {name: _reader(kind.rstrip("!"), version) for name, kind in shape.items()}
    required = tuple(name for name, kind in shape.items() if kind.endswith("!"))
    rows = formers(model, version)
    paths = {row.name: row.path for row in rows if row.path}
    unset = {row.name: row.unset for row in rows if row.unset is not None}
    title = _ENTITIES + model.removeprefix("Batch")

    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong_type(name, value, "an object")
        out: dict[str, Any] = {**unset}
        for key, item in value.items():
            reader = readers.get(key)
            if reader is None:
                if key.startswith("odata."):
                    continue
                raise bad_body(
                    f"The property '{key}' does not exist on type '{title}'. "
                    "Make sure to only use property names that are defined by the type."
                )
            if item is None:
                continue
            if key in paths:
                put_at(out, paths[key], reader(item, key))
            else:
                out[key] = reader(item, key)
        for key in required:
            if value.get(key) is None:
                raise Fault("MissingRequiredProperty", ("PropertyName", key))
        return out

    return read


@cache
def _reader(kind: str, version: str) -> Reader:
    if kind.startswith("@"):
        return _nested_model(kind[1:], version)
    if kind.startswith("#"):
        return _enum(kind[1:], version)
    if kind.startswith("["):
        return _list(_reader(kind[1:-1], version))
    if kind.startswith("{"):
        return _map(_reader(kind[1:-1], version))
    return _PLAIN[kind]


def _nested_model(model: str, version: str) -> Reader:
    # Look up the model on use, since a model can contain itself.
    def read(value: Any, name: str) -> dict[str, Any]:
        found: dict[str, Any] = _model(model, version)(value, name)
        return found

    return read


def _list(one: Reader) -> Reader:
    def read(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong_type(name, value, "an array")
        return [one(item, name) for item in value]

    return read


def _map(one: Reader) -> Reader:
    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong_type(name, value, "an object")
        return {key: one(item, key) for key, item in value.items()}

    return read


def _enum(enum: str, version: str) -> Reader:
    known = {value.lower() for value in enum_values(enum, version)}
    spelling = SPELLING.get(enum) or enum_values(enum, version)
    words = {word.lower(): word for word in spelling if word.lower() in known}

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise _wrong_type(name, value, "a string")
        word = words.get(value.lower())
        if word is None:
            raise bad_property(name, value, _INVALID)
        return word

    return read


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a string")
    if "\0" in value:
        raise bad_property(name, value, "The value cannot contain the character U+0000.")
    return value


def _bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(name, value, "a boolean")
    return value


def _whole(bits: int) -> Reader:
    limit = 2 ** (bits - 1)

    def read(value: Any, name: str) -> int:
        if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_type(name, value, "an integer")
        if not -limit <= value < limit:
            raise bad_property(name, str(value), "The value is out of range.")
        return value

    return read


def _double(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong_type(name, value, "a number")
    return value


def _datetime(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a date and time")
    try:
        read_time(value)
    except ValueError:
        raise bad_property(name, value, _INVALID) from None
    return value


def _duration(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong_type(name, value, "a duration")
    try:
        ticks = ticks_of(value)
    except ValueError:
        raise bad_property(name, value, _INVALID) from None
    return value if name in _UNCHANGED else write_duration(ticks)


def _any(value: Any, _name: str) -> Any:
    return value


_PLAIN: Mapping[str, Reader] = {
    "string": _string,
    "bool": _bool,
    "int": _whole(32),
    "long": _whole(64),
    "double": _double,
    "datetime": _datetime,
    "duration": _duration,
    "bytes": _string,
    "any": _any,
}


def _wrong_type(name: str, value: Any, expected: str) -> Fault:
    if not name:
        return bad_body(f"The request body must be {expected}.")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return bad_property(name, text[:256], f"The value must be {expected}.")


_SEPARATE = frozenset({"BatchPoolSpecification"})
"""Errors of an auto pool do not fail the request that contains it; its creation checks them."""

_WITHOUT_VALUE = frozenset({"either-or", "missing-key", "wrong-system"})
"""Codes about the presence of a property; the error does not contain its value."""


def check_rules(model: str, body: Mapping[str, Any], version: str = NEWEST_VERSION) -> None:
    """Check the rules of a ``model``, as :func:`parse_body` returns it, and of all objects in it.

    Errors name properties as ``version`` does.

    Raises:
        Fault: the first rule that the body breaks: ``InvalidPropertyValue`` with the name, the
            value and the reason, ``MissingRequiredProperty`` or the code of the rule.
    """
    if model not in _models_with_rules():
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
    readers = _rule_readers(model)
    members = {
        name: reader(value) if (reader := readers.get(name)) is not None else value
        for name, value in body.items()
    }
    return Properties(model, members)


@cache
def _rule_readers(model: str) -> Mapping[str, Callable[[Any], PropertyValue]]:
    """The readers of the non-scalar properties of a model."""
    found = {name: _rule_reader(kind.strip("-!")) for name, kind in all_properties(model).items()}
    return {name: reader for name, reader in found.items() if reader is not None}


def _rule_reader(kind: str) -> Callable[[Any], PropertyValue] | None:
    if kind.startswith("@"):
        if kind[1:] not in _models_with_rules() or kind[1:] in _SEPARATE:
            return _unknown
        return partial(_object, kind[1:])
    if kind.startswith("["):
        item = _rule_reader(kind[1:-1])
        return tuple if item is None else lambda value: tuple(map(item, value))
    if kind == "duration":
        return lambda value: timedelta(microseconds=ticks_of(value) // 10)
    return _unknown if kind.startswith("{") or kind == "any" else None


def _unknown(_: Any) -> PropertyValue:
    return UNKNOWN


@cache
def _models_with_rules() -> frozenset[str]:
    """The models that rules check, and the models that contain them."""
    found = {model for rule in PROPERTY_RULES for model in rule.models}
    for rule in PROPERTY_RULES:
        for model in rule.models:
            for path in rule.properties:
                found |= set(_models_on(model, path))
    below = {
        model: {_nested(kind) for kind in all_properties(model).values()} for model in model_names()
    }
    while more := {model for model in below if model not in found and below[model] & found}:
        found |= more
    return frozenset(found)


def _models_on(model: str, path: str) -> Iterator[str]:
    """The models of the objects on a dotted path of properties."""
    for name in path.split("."):
        model = _nested(all_properties(model).get(name, "")) if model in model_names() else ""
        if model:
            yield model


def _nested(kind: str) -> str:
    """The model in a type such as ``[@Model]!``; empty for other types."""
    return kind.strip("-![]").removeprefix("@") if "@" in kind else ""
