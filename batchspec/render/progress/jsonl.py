"""The published stream: one JSON object a line, the first says its version.

Every line has ``type``, ``seq`` and ``at``; the rest are the fields of the event by name. A removed
or changed key raises the number of the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from enum import Enum
from typing import TextIO

from batchspec.apply.events import Event, Stamped
from batchspec.diagnostics import Diagnostic
from batchspec.render.problems import problem_json
from batchspec.render.sink import Sink, json_text
from batchspec.render.words import snake

STREAM = 1
"""The version of the stream."""


class JsonView:
    """Writes each event as one line of JSON."""

    def __init__(self, stream: TextIO, version: str = "") -> None:
        self._sink = Sink(stream)
        self._version = version
        self._begun = False

    def __call__(self, stamped: Stamped) -> None:
        if not self._begun:
            self._begun = True
            head = {"type": "version", "stream": STREAM, "seq": 0, "at": moment(stamped.at)}
            self._sink.line(json_text({**head, "batchspec": self._version}))
        self._sink.line(json_text(event_json(stamped)))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing to do: the screen is not used."""
        yield

    def close(self) -> None:
        """Nothing to do: every line is written at once."""


def event_json(stamped: Stamped) -> dict[str, object]:
    """A stamped event as a JSON object."""
    event = stamped.event
    head = {"type": event_name(type(event)), "seq": stamped.seq, "at": moment(stamped.at)}
    return head | {field.name: _value(getattr(event, field.name)) for field in fields(event)}


def event_name(event: type[Event]) -> str:
    """The ``type`` of an event: ``step_started``."""
    return snake(event.__name__)


def moment(at: datetime) -> str:
    """A time as RFC 3339 in UTC, to the millisecond: ``2026-01-02T03:04:05.678Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: object) -> object:
    match value:
        case Diagnostic():
            return problem_json(value)
        case datetime() | Enum():
            return moment(value) if isinstance(value, datetime) else value.value
        case Mapping():
            return {str(key): _value(item) for key, item in value.items()}
        case tuple() | list():
            return [_value(item) for item in value]
        case float():
            return round(value, 3)
    return value
