"""Recorded exchanges: parsing, and what the service has changed since a recording."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

LATER: Mapping[str, str] = {
    "scope": "2019-08-01.10.0",
    "dynamicVNetAssignmentScope": "2019-08-01.10.0",
}
"""Defaults in replies by the api-version that brought them."""

SINCE: Mapping[str, str] = {"certificateReferences": "2024-11-01"}
"""Properties that replies of every api-version have, always, since a day."""


_FAMILIES: Mapping[str, str] = {
    "jobschedules": "job schedules",
    "nodecounts": "nodes",
    "nodeagentskus": "images",
    "supportedimages": "images",
    "lifetimejobstats": "lifetime statistics",
    "lifetimepoolstats": "lifetime statistics",
    "poolusagemetrics": "pool usage metrics",
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and the reply of the real service.

    ``version`` is the api-version. ``body`` is ``None`` without a body; ``mangled`` means that the
    recording of the body is incomplete. ``reply`` is the decoded JSON body, or ``None``.
    """

    source: str
    line: int
    version: str
    method: str
    path: str
    query: Mapping[str, str]
    body: Any
    mangled: bool
    status: int
    headers: Mapping[str, str]
    reply: Any

    @property
    def parts(self) -> tuple[str, ...]:
        """The segments of the path; the path of a file is one segment."""
        parts = self.path.strip("/").split("/")
        if len(parts) > 5 and parts[4] == "files":
            parts = [*parts[:5], "/".join(parts[5:])]
        return tuple(parts)

    @property
    def family(self) -> str:
        """The operations that the request belongs to: ``tasks``, ``files of nodes`` ..."""
        kinds = self.parts[0::2]
        first, last = self.parts[0].partition("(")[0], kinds[2] if len(kinds) > 2 else ""
        if first == "jobs" and kinds[1:2] in (("tasks",), ("addtaskcollection",)):
            return "files of tasks" if last == "files" else "tasks"
        if first == "pools" and kinds[1:2] == ("nodes",):
            return {"files": "files of nodes", "users": "users of nodes"}.get(last, "nodes")
        return _FAMILIES.get(first, first)

    @property
    def day(self) -> str:
        """When the recording was published."""
        return self.source.split("/")[1]

    @property
    def without(self) -> frozenset[str]:
        """The properties that did not exist at that time."""
        later = {name for name, version in LATER.items() if version > self.version}
        return frozenset(later | {name for name, day in SINCE.items() if day > self.day})

    @property
    def code(self) -> str | None:
        """The error code, if the reply has one."""
        return self.reply.get("code") if self.status >= 400 and self.reply else None


def read_recordings(path: Path) -> Iterator[Exchange]:
    """The exchanges of a file of JSON lines, in order."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            yield _read(number, json.loads(line))


def _read(number: int, raw: Mapping[str, Any]) -> Exchange:
    version = raw["api"]
    body, mangled = _body(raw["reqbody"])
    return Exchange(
        source=raw["src"],
        line=number,
        version=version,
        method=raw["method"],
        path=urlsplit(raw["path"]).path,
        query=raw["query"],
        body=body,
        mangled=mangled,
        status=raw["status"],
        headers={name.lower(): value for name, value in raw["resh"].items()},
        reply=_json(raw["resbody"]),
    )


def _body(text: str) -> tuple[Any, bool]:
    if not text:
        return None, False
    while text.startswith(("b'", 'b"')):  # the recorder wrote the repr of bytes
        text = ast.literal_eval(text).decode()
    value = _json(text)
    return value, value is None


def _json(text: str) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
