"""Write ``batchspec/local/wire/models.json``: the wire models of the protocol, from the SDK.

The embedded service checks request bodies by this table and imports nothing of the SDK. Run it
after a new azure-batch is pinned; a test compares the file with the output of this program.

    python tools/generate_wire_models.py          # write
    python tools/generate_wire_models.py --check  # exit 1 if the file is stale

A model maps each wire name to a type: ``string int long double bool datetime duration bytes any``,
``@Model``, ``#Enum``, ``[type]``, ``{type}`` (a map); ``!`` after it marks a required property,
``-`` before it marks a property that only the service sets.
"""

from __future__ import annotations

import datetime
import enum
import json
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from azure.batch import models
from azure.batch.models import _enums, _models
from generated import main

TARGET = Path(__file__).parent.parent / "batchspec" / "local" / "wire" / "models.json"
_PLAIN: Mapping[Any, str] = {
    str: "string",
    int: "int",
    float: "double",
    bool: "bool",
    bytes: "bytes",
    datetime.datetime: "datetime",
    datetime.timedelta: "duration",
    Any: "any",
}


def _resolve(hint: Any) -> Any:
    """The class behind a forward reference such as ``_models.BatchPool``."""
    text = hint.__forward_arg__ if isinstance(hint, typing.ForwardRef) else hint
    if not isinstance(text, str):
        return hint
    name = text.rpartition(".")[2]
    for module in (_models, _enums, models):
        if hasattr(module, name):
            return getattr(module, name)
    raise LookupError(text)


def _type(hint: Any) -> tuple[str, bool]:
    """The type of an annotation in the table's spelling, and whether it is optional."""
    hint = _resolve(hint)
    if hint in _PLAIN:
        return _PLAIN[hint], False
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is list:
        return f"[{_type(arguments[0])[0]}]", False
    if origin is dict:
        return f"{{{_type(arguments[1])[0]}}}", False
    if origin is typing.Union:
        kinds = [_type(one)[0] for one in arguments if one is not type(None)]
        enums = [kind for kind in kinds if kind.startswith("#")]
        return (enums or kinds)[0], type(None) in arguments
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return f"#{hint.__name__}", False
    return f"@{hint.__name__}", False


def table() -> dict[str, Any]:
    """The whole table: ``models`` and ``enums`` by name."""
    shapes: dict[str, dict[str, str]] = {}
    for name, model in sorted(vars(_models).items()):
        hints = getattr(model, "__annotations__", None)
        if not isinstance(model, type) or model.__module__ != _models.__name__ or not hints:
            continue
        shape = {}
        for attribute, hint in hints.items():
            field = vars(model)[attribute]
            kind, optional = _type(hint)
            if kind == "int" and field._format == "str":
                kind = "long"
            read_only = "-" if field._visibility == ["read"] else ""
            shape[field._rest_name_input or attribute] = (
                f"{read_only}{kind}{'' if optional else '!'}"
            )
        shapes[name] = shape
    words = {
        name: [member.value for member in kind]
        for name, kind in sorted(vars(_enums).items())
        if isinstance(kind, type) and issubclass(kind, enum.Enum) and len(kind)
    }
    return {"models": shapes, "enums": words}


def text() -> str:
    """The file's text: one model or enum a line."""
    lines = []
    for part, entries in table().items():
        rows = [f'"{name}":{json.dumps(row)}' for name, row in entries.items()]
        lines.append(f'"{part}":{{\n' + ",\n".join(rows) + "\n}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    sys.exit(main({TARGET: text()}))
