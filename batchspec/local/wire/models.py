"""The wire models of each api-version, and replies in the names of a version.

``models.json`` has the models of the newest version, and
:mod:`batchspec.local.wire.versions` the differences of all others.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from batchspec.local.wire.versions import (
    DIFFERENCES,
    NEWEST_VERSION,
    OTHER_ENUMS,
    OTHER_MODELS,
    Added,
    Former,
    Removed,
    Spelled,
    Unwrapped,
    Values,
    in_versions,
)

Writer = Callable[[Any], Any]
"""Takes a value in the names of the newest version; returns it in those of another version."""


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    text = files("batchspec.local.wire").joinpath("models.json").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return table


@cache
def model_names() -> frozenset[str]:
    """The names of all wire models."""
    return frozenset(_table()["models"]) | frozenset(OTHER_MODELS)


@cache
def properties(model: str, version: str = NEWEST_VERSION) -> Mapping[str, str]:
    """Name and type (in the notation of ``models.json``) of each property of a model."""
    shape = dict(_newest(model))
    for row in DIFFERENCES:
        if not isinstance(row, Added | Removed | Former) or model not in row.models.split():
            continue
        match row:
            case Added(since, _, names, kind):
                if not in_versions(version, since, ""):
                    for name in names.split():
                        shape.pop(name, None)
                elif kind:
                    shape |= dict.fromkeys(names.split(), kind)
            case Removed(since, _, names) if in_versions(version, since, ""):
                for name in names.split():
                    shape.pop(name, None)
    return shape | {row.name: row.type for row in formers(model, version)}


@cache
def all_properties(model: str) -> Mapping[str, str]:
    """The properties that a model has in any version, with their newest types."""
    others = {
        name: row.type
        for row in DIFFERENCES
        if isinstance(row, Added) and row.type and model in row.models.split()
        for name in row.names.split()
    }
    former = {
        row.name: row.type
        for row in DIFFERENCES
        if isinstance(row, Former) and model in row.models.split()
    }
    return former | others | dict(_newest(model))


@cache
def formers(model: str, version: str) -> tuple[Former, ...]:
    """The rows of properties that a model has in ``version`` and not, or otherwise, later."""
    return tuple(
        row
        for row in DIFFERENCES
        if isinstance(row, Former)
        and model in row.models.split()
        and in_versions(version, row.since, row.until)
    )


@cache
def former_names(version: str) -> Mapping[str, str]:
    """The names in ``version`` of properties that only have another name now."""
    return {
        row.path: row.name
        for row in DIFFERENCES
        if isinstance(row, Former) and row.path and in_versions(version, row.since, row.until)
    }


@cache
def enum_values(enum: str, version: str) -> tuple[str, ...]:
    """The values of an enum in ``version``."""
    missing = {
        value
        for row in DIFFERENCES
        if isinstance(row, Values)
        and row.enum == enum
        and not in_versions(version, row.since, row.until)
        for value in row.values.split()
    }
    words = OTHER_ENUMS.get(enum) or tuple(_table()["enums"][enum])
    return tuple(word for word in words if word not in missing)


def _newest(model: str) -> Mapping[str, str]:
    found: Mapping[str, str] = OTHER_MODELS.get(model) or _table()["models"][model]
    return found


def write_model(model: str, version: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """``body``, a ``model`` in newest names, with the names and properties of ``version``."""
    writer = _model_writer(model, version)
    written: Mapping[str, Any] = body if writer is None else writer(body)
    return written


@cache
def unwrapped(model: str, version: str) -> Unwrapped | None:
    """The row of a reply that is only one property of ``model`` in ``version``."""
    for row in DIFFERENCES:
        if (
            isinstance(row, Unwrapped)
            and row.model == model
            and in_versions(version, "", row.until)
        ):
            return row
    return None


@cache
def _model_writer(model: str, version: str) -> Writer | None:
    """The writer of a model; ``None`` if its newest form is right for ``version``."""
    shape = properties(model, version)
    dropped = all_properties(model).keys() - shape.keys()
    children = {
        name: writer
        for name, kind in shape.items()
        if (writer := _writer(kind.strip("-!"), version)) is not None
    }
    added = [row for row in formers(model, version) if row.path or row.default is not None]
    if not dropped and not children and not added:
        return None

    def write(body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not added and dropped.isdisjoint(body) and children.keys().isdisjoint(body):
            return body
        out = {
            name: children[name](value) if name in children else value
            for name, value in body.items()
            if name not in dropped
        }
        for row in added:
            if row.name not in out:
                value = _at(body, row.path) if row.path else None
                value = row.default if value is None else value
                if value is not None:
                    out[row.name] = value
        return out

    return write


@cache
def _writer(kind: str, version: str) -> Writer | None:
    if kind.startswith("@"):
        return _model_writer(kind[1:], version)
    if kind.startswith("#"):
        return _speller(kind[1:], version)
    if kind.startswith("["):
        item = _writer(kind[1:-1], version)
        return None if item is None else lambda values: [item(value) for value in values]
    return None


def _speller(enum: str, version: str) -> Writer | None:
    for row in DIFFERENCES:
        if isinstance(row, Spelled) and row.enum == enum and in_versions(version, "", row.until):
            words = row.words
            return lambda value: words.get(value, value)
    return None


def _at(body: Any, path: str) -> Any:
    for name in path.split("/"):
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def put_at(body: dict[str, Any], path: str, value: Any) -> None:
    """Set the property of ``body`` at ``path``; missing objects on the path are created."""
    *parents, last = path.split("/")
    for name in parents:
        body = body.setdefault(name, {})
    body[last] = value


def write_list(
    model: str, version: str, items: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """As :func:`write_model` for each of ``items``."""
    writer = _model_writer(model, version)
    return items if writer is None else [writer(item) for item in items]
