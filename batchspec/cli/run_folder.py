"""The record of a run on this disk: its events, and what failed tasks said.

``.batchspec/NAME/runs/TIME/`` beside the spec. A convenience, never the truth: nothing reads it but
``batchspec report``, and a run goes on without it where it cannot be written.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TextIO

from batchspec import __version__
from batchspec.apply.events import NodeFailed, Stamped, TaskFailed
from batchspec.diagnostics import redact
from batchspec.render.progress.json_stream import JsonView

KEPT = 30
"""How many recorded runs of a spec are kept; older ones are deleted when another begins."""

_EVENTS = "events.jsonl"
_HIDDEN = "# Written by batchspec; nothing in here belongs to a repository.\n*\n"


def runs_folder(spec: Path, name: str) -> Path:
    """Where the records of a spec's runs lie."""
    return spec.parent / ".batchspec" / name / "runs"


def records(runs: Path) -> list[Path]:
    """The events of all recorded runs, oldest first; their folders are named by their times."""
    return sorted(runs.glob(f"*/{_EVENTS}"))


class RunFolder:
    """Writes every event down as it comes; a consumer of events."""

    def __init__(self, runs: Path, now: datetime, warn: Callable[[OSError], None]) -> None:
        self._runs = runs
        self._now = now
        self._warn = warn
        self._folder: Path | None = None
        self._file: TextIO | None = None
        self._view: JsonView | None = None
        self._broken = False

    def __call__(self, stamped: Stamped) -> None:
        """Record one event. The first makes the folder."""
        if self._broken:
            return
        try:
            self._record(stamped)
        except OSError as error:
            self._broken = True
            self.close()
            self._warn(error)

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            # A disk that is full says so once more; it has been told.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = self._view = None

    def _record(self, stamped: Stamped) -> None:
        if self._view is None or self._folder is None:
            self._folder = _made(self._runs, self._now)
            self._file = (self._folder / _EVENTS).open("w", encoding="utf-8")
            self._view = JsonView(self._file, __version__)
        self._view(stamped)
        match stamped.event:
            case TaskFailed(_, task, stderr=stderr) if stderr:
                _keep(self._folder / "failed", f"{task}.stderr.txt", stderr)
            case NodeFailed(_, node, stderr=stderr) if stderr:
                _keep(self._folder / "failed", f"{node}.start-task.stderr.txt", stderr)


def _made(runs: Path, now: datetime) -> Path:
    """A new folder for a run that begins now."""
    runs.mkdir(parents=True, exist_ok=True)
    ignore = runs.parents[1] / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_HIDDEN, encoding="utf-8")
    # To the microsecond, so that the names sort as the runs began, and two that begin together
    # do not share one.
    folder = runs / f"{now:%Y%m%dT%H%M%S.%fZ}"
    folder.mkdir()
    # The new one has no events yet. What cannot be deleted now is deleted by a later run.
    for old in records(runs)[: -(KEPT - 1)]:
        shutil.rmtree(old.parent, ignore_errors=True)
    return folder


def _keep(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(redact(text), encoding="utf-8")
