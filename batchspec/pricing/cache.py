"""Rows of the API on disk, with the time at which they were read: below the user's cache folder.

An entry counts for a day; when the API cannot be reached, an older one is used and its date shown.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from batchspec.pricing.model import NodeType
from batchspec.pricing.rows import deciding

FRESH = timedelta(days=1)
"""How long rows count without asking again."""
RETRY = timedelta(minutes=10)
"""How long the API is not asked again after it could not be reached."""
_VERSION = 1
_UNSAFE = re.compile(r"[^a-z0-9_-]")


@dataclass(frozen=True, slots=True)
class Entry:
    """The rows of one size in one region, and when they were read."""

    at: datetime
    rows: tuple[Mapping[str, object], ...]


@dataclass(frozen=True, slots=True)
class PriceCache:
    """Entries in a folder, one file each. A folder that cannot be written only costs requests."""

    folder: Path

    def read(self, node: NodeType, currency: str, now: datetime) -> Entry | None:
        """The stored rows, however old they are; ``None`` without any, or if they are damaged."""
        stored = self._load(self._path(node, currency))
        at, rows = _moment(stored.get("at")), stored.get("rows")
        if stored.get("version") != _VERSION or at is None or not isinstance(rows, list):
            return None
        if at > now + FRESH:
            # The clock was wrong when they were stored: they would never be read again.
            return None
        return Entry(at, tuple(row for row in rows if isinstance(row, dict)))

    def write(
        self, node: NodeType, currency: str, rows: Sequence[Mapping[str, object]], now: datetime
    ) -> None:
        """Store rows that were read now."""
        entry = {"version": _VERSION, "at": now.isoformat(), "rows": list(deciding(rows))}
        self._store(self._path(node, currency), entry)

    def failed_recently(self, now: datetime) -> str:
        """Why the API could not be reached within the last minutes; empty if it could."""
        stored = self._load(self._failure)
        at, reason = _moment(stored.get("at")), stored.get("reason")
        if at is None or not isinstance(reason, str) or not at <= now < at + RETRY:
            return ""
        return reason

    def fail(self, reason: str, now: datetime) -> None:
        """Record that the API could not be reached."""
        self._store(self._failure, {"at": now.isoformat(), "reason": reason})

    @property
    def _failure(self) -> Path:
        return self.folder / "unreachable.json"

    def _path(self, node: NodeType, currency: str) -> Path:
        name = "-".join((node.region.lower(), node.size.lower(), currency.lower()))
        return self.folder / f"{_UNSAFE.sub('_', name)}.json"

    def _load(self, path: Path) -> Mapping[str, object]:
        try:
            found = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            # Without the file, or with a damaged one, the API is asked.
            return {}
        return found if isinstance(found, dict) else {}

    def _store(self, path: Path, content: Mapping[str, object]) -> None:
        # Without a cache, the next command asks the API again.
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            handle, part = tempfile.mkstemp(dir=self.folder, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump(content, file)
                Path(part).replace(path)
            except OSError:
                Path(part).unlink(missing_ok=True)
                raise


def _moment(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    return moment if moment.tzinfo is not None else None
