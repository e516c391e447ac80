"""The log of each node's agent: the start and end of runs, and the states of the node.

Tasks cannot write to the folder of the logs. Lines stay in memory for up to a second, so that a log
costs a task almost no time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import defaultdict
from datetime import datetime
from functools import lru_cache
from pathlib import Path

_log = logging.getLogger(__name__)

LOG_NAME = "agent-debug.log"
_MAX_PENDING = 10_000
"""Maximum number of lines in memory, for all nodes together."""
_DELAY = 1.0
"""Seconds between a line and its write."""
_MAX_SIZE = 1 << 20
"""Maximum size of a log in bytes; a longer log loses its older half."""


class NodeLogs:
    """The logs of all nodes of a service on the data folder ``data``."""

    def __init__(self, data: Path) -> None:
        self._folder = data / "agent-logs"
        self._lines: defaultdict[Path, list[str]] = defaultdict(list)
        self._pending = 0
        self._timer: asyncio.TimerHandle | None = None

    def write(self, pool_id: str, node_id: str, now: datetime, text: str) -> None:
        """Add a line to the log of a node."""
        self._lines[self._path(pool_id, node_id)].append(f"{now.isoformat()} {text}\n")
        self._pending += 1
        if self._pending > _MAX_PENDING:
            self.flush()

    def flush_soon(self) -> None:
        """Write the lines in memory within a second; called in the event loop."""
        if self._pending and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY, self.flush)

    def flush(self) -> None:
        """Write the lines in memory.

        Lines that cannot be written are lost, so that no run fails because of its log.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        try:
            for path, lines in self._lines.items():
                _append(path, lines)
        except OSError as error:
            _log.warning("the logs of nodes cannot be written: %s", error.strerror)
        self._lines.clear()
        self._pending = 0

    def file(self, pool_id: str, node_id: str) -> Path:
        """The file with the complete log of a node."""
        self.flush()
        return self._path(pool_id, node_id)

    def remove(self, pool_id: str, node_id: str) -> None:
        """Delete the log of a node that has left its pool."""
        path = self._path(pool_id, node_id)
        self._pending -= len(self._lines.pop(path, ()))
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("cannot remove %s: %s", path, error.strerror)
        with contextlib.suppress(OSError):  # missing, or not empty
            path.parent.rmdir()
            path.parent.parent.rmdir()

    def _path(self, pool_id: str, node_id: str) -> Path:
        return _path(self._folder, pool_id, node_id)


@lru_cache(maxsize=1024)  # called twice a task
def _path(folder: Path, pool_id: str, node_id: str) -> Path:
    return folder / pool_id.lower() / node_id.lower() / LOG_NAME


def _append(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as log:
        log.writelines(lines)
    if path.stat().st_size > _MAX_SIZE:
        kept = path.read_bytes()[-_MAX_SIZE // 2 :].partition(b"\n")[2]
        path.write_bytes(kept)
