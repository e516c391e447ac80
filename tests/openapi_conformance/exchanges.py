"""Checks every exchange of every embedded service in the tests against the OpenAPI description.

Services in separate processes record their exchanges (``sitecustomize.py``); those in the process
of a test are checked by ``tests/local/running.py``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.local.openapi import openapi_description

HERE = Path(__file__).parent
_VARIES = re.compile(rb"[0-9a-fA-F]{8,}|\d+")


class ConformanceChecker:
    """Checks the exchanges that services record in ``folder``, each exchange once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}
        self._known: set[tuple[object, ...]] = set()

    def violations(self) -> list[str]:
        """The violations in the exchanges since the last call."""
        return [text for exchange in self._new() for text in self._check(exchange)]

    def _new(self) -> Iterator[dict[str, Any]]:
        for path in self.folder.glob("*.jsonl"):
            start = self._read.get(path, 0)
            if path.stat().st_size == start:
                continue
            with path.open("rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # the line is being written
                    start += len(line)
                    yield json.loads(line)
            self._read[path] = start

    def _check(self, exchange: dict[str, Any]) -> list[str]:
        description = openapi_description(
            parse_qs(exchange["query"]).get("api-version", [""])[0],
            control_plane=exchange["path"].lower().startswith("/subscriptions/"),
        )
        if description is None:
            return []
        body, reply = (base64.b64decode(exchange[name]) for name in ("body", "reply"))
        # Exchanges of polling differ only in numbers; each is checked once.
        parts = (_VARIES.sub(b"0", text) for text in (exchange["path"].encode(), body, reply))
        key = (exchange["method"], exchange["status"], *parts)
        if key in self._known:
            return []
        self._known.add(key)
        url = f"http://x{exchange['path']}?{exchange['query']}"
        status, headers = exchange["status"], exchange["headers"]
        return description.violations(exchange["method"], url, body, status, headers, reply)
