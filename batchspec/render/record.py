"""A recorded run read back: the lines of ``--progress json`` as the events they were.

A line that says nothing to this version (a type or a key of a newer one, a line that was cut off)
is passed over: a record is a convenience, never the truth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from typing import Any, get_args

from batchspec.apply.events import Event, Outcome, Stamped
from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.render.progress.jsonl import event_name

_EVENTS: Mapping[str, type[Event]] = {event_name(kind): kind for kind in get_args(Event)}


def read_record(lines: Iterable[str]) -> Iterator[Stamped]:
    """The events of a record, in order."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        stamped = _stamped(row) if isinstance(row, dict) else None
        if stamped is not None:
            yield stamped


def _stamped(row: dict[str, Any]) -> Stamped | None:
    kind = _EVENTS.get(str(row.get("type")))
    if kind is None:
        return None
    values = {}
    for field in fields(kind):
        if field.name in row:
            values[field.name] = _value(field.name, row[field.name])
        elif field.default is MISSING and field.default_factory is MISSING:
            return None
    try:
        return Stamped(row["seq"], datetime.fromisoformat(row["at"]), kind(**values))
    except (KeyError, ValueError, TypeError):
        return None


def _value(name: str, value: Any) -> Any:
    match name, value:
        case "problem", dict():
            return _problem(value)
        case "outcome", str() if value in set(Outcome):
            return Outcome(value)
        case "next_run" | "since", str():
            return datetime.fromisoformat(value)
        case _, list():
            return tuple(value)
    return value


def _problem(row: dict[str, Any]) -> Diagnostic:
    where = row.get("where")
    severity = row.get("severity")
    return Diagnostic(
        str(row.get("code", "")),
        str(row.get("message", "")),
        str(row.get("detail", "")),
        Place(where["file"], where["line"], where["column"], length=where["length"])
        if isinstance(where, dict)
        else None,
        str(row.get("hint", "")),
        Severity(severity) if severity in set(Severity) else Severity.ERROR,
        str(row.get("request_id", "")),
    )
