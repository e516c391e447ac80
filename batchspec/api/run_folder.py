"""What is written to ``.batchspec/NAME/`` beside a spec: the records of its runs.

``runs/ID/`` contains the events of a run and the stderr of its failed tasks. Only
``batchspec report`` reads it; a run continues without it where it cannot be written.
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
from batchspec.apply.private_files import open_private, private_folder
from batchspec.diagnostics import redact
from batchspec.observe import create_state_folder
from batchspec.render import JsonView

KEPT = 30
"""Recorded runs of a spec; older ones are deleted when a run starts."""

_EVENTS = "events.jsonl"


def runs_folder(spec: Path, name: str) -> Path:
    """The folder of the recorded runs of a spec."""
    return spec.parent / ".batchspec" / name / "runs"


def recorded_runs(runs: Path) -> list[Path]:
    """The event files of all recorded runs, oldest first; their folders are named by time."""
    return sorted(runs.glob(f"*/{_EVENTS}"))


class RunFolder:
    """Records every event of a run; a consumer of events."""

    def __init__(self, runs: Path, now: datetime, warn: Callable[[OSError], None]) -> None:
        self._runs = runs
        self._now = now
        self._warn = warn
        self._folder: Path | None = None
        self._file: TextIO | None = None
        self._view: JsonView | None = None
        self._failed = False

    def __call__(self, stamped: Stamped) -> None:
        """Record one event. The first creates the folder; after an error nothing is recorded."""
        if self._failed:
            return
        try:
            self._record(stamped)
        except OSError as error:
            self._failed = True
            self.close()
            self._warn(error)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            # A full disk is reported when an event is written; closing fails for the same reason.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = self._view = None

    def _record(self, stamped: Stamped) -> None:
        if self._view is None or self._folder is None:
            self._folder = _create_run_folder(self._runs, self._now)
            self._file = open_private(self._folder / _EVENTS)
            self._view = JsonView(self._file, __version__)
        self._view(stamped)
        match stamped.event:
            case TaskFailed(_, task, stderr=stderr) if stderr:
                _write(self._folder / "failed" / f"{task}.stderr.txt", stderr)
            case NodeFailed(_, node, stderr=stderr) if stderr:
                _write(self._folder / "failed" / f"{node}.start-task.stderr.txt", stderr)


def _create_run_folder(runs: Path, now: datetime) -> Path:
    """Create the folder of a run that starts now, and delete the oldest ones."""
    create_state_folder(runs.parents[1])
    private_folder(runs)
    # In microseconds: names sort by start time, and two runs of one second do not share a folder.
    folder = runs / f"{now:%Y%m%dT%H%M%S.%fZ}"
    folder.mkdir(mode=0o700)
    # The new folder has no events yet. What cannot be deleted now is deleted by a later run.
    for old in recorded_runs(runs)[: -(KEPT - 1)]:
        shutil.rmtree(old.parent, ignore_errors=True)
    return folder


def _write(path: Path, text: str) -> None:
    private_folder(path.parent)
    with open_private(path) as file:
        file.write(redact(text))
