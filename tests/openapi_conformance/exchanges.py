"""Every exchange of every embedded service that a test starts, judged by the description.

Services in processes of their own write their exchanges down (``sitecustomize.py``); those that a
test runs in its own process are judged by ``tests/local/running.py``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.local.description import judge_of

HERE = Path(__file__).parent
_VARIES = re.compile(rb"[0-9a-fA-F]{8,}|\d+")


class Witness:
    """Reads what services wrote into ``folder``, each exchange once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[Path, int] = {}
        self._known: set[tuple[object, ...]] = set()

    def wrong(self) -> list[str]:
        """What is wrong with the exchanges since this was last asked."""
        return [text for exchange in self._new() for text in self._judge(exchange)]

    def _new(self) -> Iterator[dict[str, Any]]:
        for path in self.folder.glob("*.jsonl"):
            start = self._read.get(path, 0)
            if path.stat().st_size == start:
                continue
            with path.open("rb") as file:
                file.seek(start)
                for line in file:
                    if not line.endswith(b"\n"):
                        break  # it is being written; what comes next would be the rest of it
                    start += len(line)
                    yield json.loads(line)
            self._read[path] = start

    def _judge(self, exchange: dict[str, Any]) -> list[str]:
        judge = judge_of(parse_qs(exchange["query"]).get("api-version", [""])[0])
        if judge is None:
            return []
        asked, told = (base64.b64decode(exchange[name]) for name in ("asked", "told"))
        # Polling says the same a thousand times, but for numbers.
        like = (_VARIES.sub(b"0", text) for text in (exchange["path"].encode(), asked, told))
        alike = (exchange["method"], exchange["status"], *like)
        if alike in self._known:
            return []
        self._known.add(alike)
        url = f"http://x{exchange['path']}?{exchange['query']}"
        status, headers = exchange["status"], exchange["headers"]
        return judge.judge(exchange["method"], url, asked, status, headers, told)
