"""Comparison of the replies of the embedded and the real service.

Compared are the status, the error code, the relevant headers, and the set of properties of the body
with their paths and JSON types; the items of a list are merged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from replay.recordings import Exchange

_TRANSPORT = frozenset({"content-length", "transfer-encoding", "date", "server"})
"""Headers of the connection, which the HTTP server sets."""
_SECURITY = frozenset({"x-content-type-options", "strict-transport-security"})
"""Headers that were removed from the recordings."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply of the embedded service; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    reply: Any


def differences(exchange: Exchange, answer: Answer) -> list[str]:
    """The differences, such as ``status 501 for 200``, ``- header etag``, ``+ body value[].url``.

    ``-`` is only in the reply of the real service, ``+`` only in that of the embedded service.
    """
    code = answer.reply.get("code") if answer.status >= 400 and answer.reply else None
    if (exchange.status, exchange.code) != (answer.status, code):
        theirs = f"{exchange.status} {exchange.code or ''}".rstrip()
        return [f"status {answer.status} {code or ''}".rstrip() + f" for {theirs}"]
    shapes = [set(shape_of(reply, exchange.without)) for reply in (exchange.reply, answer.reply)]
    headers = [
        {name for name in source if name not in _TRANSPORT | _SECURITY}
        for source in (exchange.headers, answer.headers)
    ]
    return [
        *(f"{sign} header {name}" for sign, name in _either(*headers)),
        *(f"{sign} body {place}" for sign, place in _either(*shapes)),
    ]


def _either(theirs: set[str], ours: set[str]) -> Iterator[tuple[str, str]]:
    yield from (("-", item) for item in sorted(theirs - ours))
    yield from (("+", item) for item in sorted(ours - theirs))


def shape_of(value: Any, without: Collection[str], place: str = "") -> Iterator[str]:
    """The paths in a JSON value with their types: ``value[].id: str``."""
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in without:
                yield from shape_of(item, without, f"{place}.{name}" if place else name)
    elif isinstance(value, list):
        yield f"{place}: list"
        for item in value:
            yield from shape_of(item, without, f"{place}[]")
    elif value is not None:
        kind = "number" if type(value) in (int, float) else type(value).__name__
        yield f"{place}: {kind}"
