"""What is written to ``.batchspec/NAME/`` beside a spec: the records of its runs.

``runs/ID/`` contains the events of a run, the stderr of its failed tasks, and the facts about its
tasks and nodes (:mod:`batchspec.api.run_record`). Only ``batchspec report`` reads it; a run
continues without it where it cannot be written.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from batchspec.api.recorded_names import EVENTS, recorded_runs, runs_folder
from batchspec.apply.events import NodeFailed, Stamped, TaskFailed
from batchspec.apply.private_files import open_private, private_folder
from batchspec.diagnostics import redact
from batchspec.observe import create_state_folder
from batchspec.render import JsonView
from batchspec.version import __version__

if TYPE_CHECKING:
    from batchspec.render import ActualRun
    from batchspec.spec import Spec

KEPT = 30
"""Recorded runs of a spec; older ones are deleted when a run starts."""

APPLIED = "applied.json"
PAGE = "report.html"
OUTPUT = ".stderr.txt"
"""The end of the name of the file with the stderr of a failed task."""


_ID = re.compile(r"[A-Za-z0-9_-]{1,100}(:[A-Za-z0-9_-]{1,64})?")
"""The ids of the service: 72 characters of a node, 64 of others; a colon in jobs of a schedule."""


class RunFolder:
    """Records every event of a run; a consumer of events.

    ``runs`` is the folder of all recorded runs, ``path`` that of this run, which is created when
    something is recorded. After an error of the disk, nothing more is recorded.
    """

    def __init__(self, runs: Path, now: datetime, warn: Callable[[OSError], None]) -> None:
        self.runs = runs
        # In microseconds: names sort by start, and two runs of one second do not share a folder.
        self.path = runs / f"{now:%Y%m%dT%H%M%S.%fZ}"
        self._warn = warn
        self._file: TextIO | None = None
        self._view: JsonView | None = None
        self._outputs: set[str] = set()
        self.failed = False

    def __call__(self, stamped: Stamped) -> None:
        """Record one event."""
        if not self.failed:
            with self.guarded():
                self._record(stamped)

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """End the record, and warn once, if the disk refuses to write."""
        try:
            yield
        except OSError as error:
            self.failed = True
            self.close()
            self._warn(error)

    def close(self) -> None:
        """Close the file of events."""
        if self._file is not None:
            # A full disk is reported when an event is written; closing fails for the same reason.
            with contextlib.suppress(OSError):
                self._file.close()
            self._file = self._view = None

    def has_output(self, task: str) -> bool:
        """Whether the stderr of a failed task is recorded."""
        return task in self._outputs

    def save_output(self, task: str, stderr: str) -> None:
        """Record the last lines of the stderr of a failed task.

        Raises:
            OSError: the file cannot be written.
        """
        self._outputs.add(task)
        if stderr:
            _write(self.path / "failed" / f"{file_name(task)}{OUTPUT}", stderr)

    def save_applied(self, text: str) -> None:
        """Record what the run applies, before its first event."""
        with self.guarded():
            _create_run_folder(self.path)
            _write(self.path / APPLIED, text)

    def _record(self, stamped: Stamped) -> None:
        if self._view is None:
            if not self.path.exists():
                _create_run_folder(self.path)
            self._file = open_private(self.path / EVENTS)
            self._view = JsonView(self._file, __version__)
        self._view(stamped)
        match stamped.event:
            case TaskFailed(_, task, stderr=stderr):
                self.save_output(task, stderr)
            case NodeFailed(_, node, stderr=stderr) if stderr:
                _write(self.path / "failed" / f"{file_name(node)}.start-task{OUTPUT}", stderr)


def _create_run_folder(folder: Path) -> None:
    """Create the folder of a run that starts now, and delete the oldest ones."""
    runs = folder.parent
    create_state_folder(runs.parents[1])
    private_folder(runs)
    folder.mkdir(mode=0o700)
    # The new folder has no events yet. What cannot be deleted now is deleted by a later run.
    for old in recorded_runs(runs)[: -(KEPT - 1)]:
        shutil.rmtree(old.parent, ignore_errors=True)


def file_name(name: str) -> str:
    """A file name for an id on every system; an id that is none gives a name that is not used."""
    return name.replace(":", "~") if _ID.fullmatch(name) else "~"


def _write(path: Path, text: str) -> None:
    private_folder(path.parent)
    with open_private(path) as file:
        file.write(redact(text))


def read_costs(spec: Spec, target: str) -> tuple[ActualRun, ...]:
    """The node-hours of the recorded runs of a spec on the account ``target``, oldest first."""
    from batchspec.render import ActualRun, Tally, read_record

    found = []
    for record in recorded_runs(runs_folder(spec.path, spec.name)):
        tally = Tally()
        with record.open(encoding="utf-8", errors="replace") as lines:
            for stamped in read_record(lines):
                tally(stamped)
        report = tally.report()
        if report.node_hours and report.target == target:
            found.append(ActualRun(report.began, report.node_hours))
    return tuple(found)
