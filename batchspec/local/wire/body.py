"""Request bodies: validation against the wire models and normalisation.

As the real service does: unknown properties are rejected, enum values are accepted in any case,
numbers are accepted as strings (azure-cli sends ``"2"``), and ``null`` counts as absent. Rules of
one resource (ranges, combinations) belong to its module in ``api``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from batchspec.local.wire.fault import FAULTS, Fault, bad_body, bad_property
from batchspec.local.wire.times import read_time, ticks_of, write_duration

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
"""Enums whose values the service spells differently from its description (recorded in replies)."""

OLDER_PROPERTIES: Mapping[str, Mapping[str, str]] = {
    "BatchPoolCreateOptions": {
        "cloudServiceConfiguration": "any",
        "certificateReferences": "[any]",
        "applicationLicenses": "[string]",
        "targetNodeCommunicationMode": "string",
        "resourceTags": "{string}",
    },
    "BatchPoolSpecification": {
        "cloudServiceConfiguration": "any",
        "certificateReferences": "[any]",
        "applicationLicenses": "[string]",
        "targetNodeCommunicationMode": "string",
        "resourceTags": "{string}",
    },
    "BatchPoolUpdateOptions": {
        "certificateReferences": "[any]",
        "targetNodeCommunicationMode": "string",
    },
    "BatchPoolReplaceOptions": {
        "certificateReferences": "[any]",
        "targetNodeCommunicationMode": "string",
    },
    "BatchTaskCreateOptions": {"authenticationTokenSettings": "any"},
    "BatchJobManagerTask": {"authenticationTokenSettings": "any"},
    "DataDisk": {"storageAccountType": "string"},
}
"""By model: properties of earlier api-versions that the newest does not have, with their types."""


Reader = Callable[[Any, str], Any]
"""Takes a value and the name of its property; returns the value as the service spells it."""

_INVALID = FAULTS["InvalidPropertyValue"][1]
_ENTITIES = "Microsoft.Azure.Batch.Protocol.Entities."
# Recorded: returned unchanged; "P0D" and "PT0S" both occur.
_UNCHANGED = frozenset({"pauseTimeBetweenBatches"})


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    text = files("batchspec.local.wire").joinpath("models.json").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return table


def model_names() -> frozenset[str]:
    """The names of all wire models."""
    return frozenset(_table()["models"])


def properties(model: str) -> Mapping[str, str]:
    """Name and type (in the notation of ``models.json``) of each property of a model."""
    shape: Mapping[str, str] = _table()["models"][model]
    return shape


def parse_body(model: str, value: Any, *, older: bool = False) -> dict[str, Any]:
    """Validate ``value``, a decoded request body, as a ``model`` and normalise its spelling.

    ``older`` also accepts properties that only earlier api-versions have.

    Raises:
        Fault: ``InvalidRequestBody`` (not an object, unknown property),
            ``MissingRequiredProperty`` or ``InvalidPropertyValue``, with their values.
    """
    read: dict[str, Any] = _model(model, older)(value, "")
    return read


@cache
def _model(model: str, older: bool) -> Reader:
    shape = {name: kind for name, kind in properties(model).items() if not kind.startswith("-")}
    if older:
        shape |= OLDER_PROPERTIES.get(model, {})
    readers = {name: _reader(kind.rstrip("!"), older) for name, kind in shape.items()}
    required = tuple(name for name, kind in shape.items() if kind.endswith("!"))
    title = _ENTITIES + model.removeprefix("Batch")

    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(name, value, "an object")
        out = {}
        for key, item in value.items():
            reader = readers.get(key)
            if reader is None:
                if key.startswith("odata."):
                    continue
                raise bad_body(
                    f"The property '{key}' does not exist on type '{title}'. "
                    "Make sure to only use property names that are defined by the type."
                )
            if item is not None:
                out[key] = reader(item, key)
        for key in required:
            if key not in out:
                raise Fault("MissingRequiredProperty", ("PropertyName", key))
        return out

    return read


@cache
def _reader(kind: str, older: bool) -> Reader:
    if kind.startswith("@"):
        return _later(kind[1:], older)
    if kind.startswith("#"):
        return _enum(kind[1:])
    if kind.startswith("["):
        return _list(_reader(kind[1:-1], older))
    if kind.startswith("{"):
        return _map(_reader(kind[1:-1], older))
    return _PLAIN[kind]


def _later(model: str, older: bool) -> Reader:
    # Looked up on use, since a model may contain itself.
    def read(value: Any, name: str) -> dict[str, Any]:
        found: dict[str, Any] = _model(model, older)(value, name)
        return found

    return read


def _list(one: Reader) -> Reader:
    def read(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong(name, value, "an array")
        return [one(item, name) for item in value]

    return read


def _map(one: Reader) -> Reader:
    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise _wrong(name, value, "an object")
        return {key: one(item, key) for key, item in value.items()}

    return read


def _enum(enum: str) -> Reader:
    spelling = SPELLING.get(enum) or tuple(_table()["enums"][enum])
    words = {word.lower(): word for word in spelling}

    def read(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise _wrong(name, value, "a string")
        word = words.get(value.lower())
        if word is None:
            raise bad_property(name, value, _INVALID)
        return word

    return read


def _string(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a string")
    if "\0" in value:
        raise bad_property(name, value, "The value may not contain the character U+0000.")
    return value


def _bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise _wrong(name, value, "a boolean")
    return value


def _whole(bits: int) -> Reader:
    limit = 2 ** (bits - 1)

    def read(value: Any, name: str) -> int:
        if isinstance(value, str) and len(value) <= 20 and value.removeprefix("-").isdecimal():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong(name, value, "an integer")
        if not -limit <= value < limit:
            raise bad_property(name, str(value), "The value is out of range.")
        return value

    return read


def _double(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, value, "a number")
    return value


def _datetime(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a date and time")
    try:
        read_time(value)
    except ValueError:
        raise bad_property(name, value, _INVALID) from None
    return value


def _duration(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _wrong(name, value, "a duration")
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


def _wrong(name: str, value: Any, expected: str) -> Fault:
    if not name:
        return bad_body(f"The request body must be {expected}.")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return bad_property(name, text[:256], f"The value must be {expected}.")
