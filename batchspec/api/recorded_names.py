"""The names in the records of runs, ``.batchspec/NAME/runs/ID/``, for shell completion.

This module does not import the packages that write the files: a completion has half a second, and
their import takes most of it. Unreadable lines are skipped, and :class:`TimeLimit` ends
reading.
"""

from __future__ import annotations

import gzip
import os
import re
import shlex
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from batchspec.diagnostics import Diagnostic, DiskError
from batchspec.json_object import json_object

EVENTS = "events.jsonl"
"""The file with the events of a run, in its folder."""

_CHECKED_LINES = 200
"""How many lines are read before the clock is checked again: about a millisecond."""
_LONGEST_LINE = 256 * 1024
"""How many characters of a line are read at once: a damaged record may have no line breaks."""
_TAIL = 4096
"""How many bytes from the end of the events are read for the last event."""
_FACTS = re.compile(r"(?P<id>.+)\.\d+\.jsonl\.gz")


@dataclass(frozen=True, slots=True)
class TimeLimit:
    """A limit for reading, in seconds of ``clock``, for example :func:`time.monotonic`."""

    clock: Callable[[], float]
    end: float

    @property
    def passed(self) -> bool:
        """Whether the limit has passed."""
        return self.clock() >= self.end


@dataclass(frozen=True, slots=True)
class RecordedTask:
    """A task of a record: its state (``failed``, ``succeeded`` ...), and the cause of a failure."""

    id: str
    state: str
    stage: str = ""
    cause: str = ""


def runs_folder(spec: Path, name: str) -> Path:
    """The folder of the recorded runs of a spec."""
    return spec.parent / ".batchspec" / name / "runs"


def recorded_runs(runs: Path) -> list[Path]:
    """The event files of all recorded runs, oldest first; their folders are named by time.

    Raises:
        DiskError: the folder cannot be read, for example because it belongs to another user.
    """
    try:
        return sorted(runs.glob(f"*/{EVENTS}"))
    except OSError as error:
        raise unreadable_records(runs, error) from error


def unreadable_records(path: Path, error: OSError) -> DiskError:
    """The error for a record, or a folder of records, that cannot be read."""
    folder = next((each for each in path.parents if each.name == ".batchspec"), path)
    return DiskError(
        Diagnostic(
            "bad-record",
            f"the records of runs cannot be read: {path}: {error.strerror or error}",
            fix="Make them readable or delete them. If they belong to another user:"
            f' `sudo chown -R "$USER" {shlex.quote(os.fspath(folder))}`',
        )
    )


def recorded_specs(folder: Path) -> list[str]:
    """The names of the specs in a folder that have recorded runs."""
    return sorted(runs.parent.name for runs in folder.glob(".batchspec/*/runs"))


def recorded_ids(runs: Path, kind: str) -> list[str]:
    """The ids of the jobs (kind ``tasks``) or pools (kind ``nodes``) with facts in the records."""
    names = (_FACTS.fullmatch(path.name) for path in _facts(runs, kind))
    return list(dict.fromkeys(name["id"].replace("~", ":") for name in names if name))


def recorded_tasks(runs: Path, limit: TimeLimit, prefix: str = "") -> Iterator[RecordedTask]:
    """The tasks of the records. The first state of a task is the newest; others may follow.

    With ``prefix``, only tasks whose ids start with it: ten times as many in the same time.
    """
    for record in reversed(recorded_runs(runs)):
        for path in _facts(runs, "tasks", record.parent.name):
            for row in _rows(path, limit, f'"id":"{prefix}'):
                if "kind" not in row and (task := _text(row, "id")).startswith(prefix):
                    yield RecordedTask(
                        task, _text(row, "state"), _text(row, "stage"), _text(row, "cause")
                    )
        # A run that has not ended has no facts, only events about some of its tasks.
        for event in _rows(record, limit, '"task_failed"'):
            if (task := _text(event, "task")).startswith(prefix):
                yield RecordedTask(task, "failed")
        for event in _rows(record, limit, '"longest_seen"'):
            for row in _objects(event, "tasks"):
                if (task := _text(row, "task")).startswith(prefix):
                    yield RecordedTask(task, "started")


def recorded_causes(runs: Path, limit: TimeLimit) -> Iterator[str]:
    """The causes of failures in the records, those of the newest run first."""
    for record in reversed(recorded_runs(runs)):
        for event in _rows(record, limit, '"failures_seen"'):
            for cause in _objects(event, "causes"):
                yield _text(cause, "cause")
    yield from (task.cause for task in recorded_tasks(runs, limit) if task.cause)


def recorded_nodes(runs: Path, limit: TimeLimit) -> Iterator[str]:
    """The ids of the nodes in the records, those of the newest run first."""
    for record in reversed(recorded_runs(runs)):
        for event in _rows(record, limit, '"node_failed"'):
            yield _text(event, "node")
    for path in _facts(runs, "nodes"):
        for row in _rows(path, limit):
            if "kind" not in row:
                yield _text(row, "id")


def recorded_steps(runs: Path, limit: TimeLimit) -> Iterator[str]:
    """The ids of the steps of the last recorded run, in the order of their start."""
    for record in recorded_runs(runs)[-1:]:
        for event in _rows(record, limit, '"step_'):
            yield _text(event, "step")


def recorded_outcomes(runs: Path) -> Iterator[tuple[str, str]]:
    """The id of each recorded run, the newest first, and how it ended; empty if it did not."""
    for record in reversed(recorded_runs(runs)):
        with suppress(OSError), record.open("rb") as file:
            file.seek(max(0, record.stat().st_size - _TAIL))
            last = json_object((file.read().splitlines() or [b""])[-1])
            yield record.parent.name, _text(last, "outcome").replace("_", " ")


def _facts(runs: Path, kind: str, run: str = "*") -> list[Path]:
    """The files with facts of a kind, the newest first."""
    return sorted(runs.glob(f"{run}/{kind}/*.jsonl.gz"), reverse=True)


def _rows(path: Path, limit: TimeLimit, containing: str = "") -> Iterator[dict[str, Any]]:
    """The objects in the lines of a file that contain a text."""
    with suppress(OSError, EOFError, zlib.error), _opened(path) as file:
        for number, line in enumerate(iter(lambda: file.readline(_LONGEST_LINE), ""), 1):
            if containing in line:
                yield json_object(line)
            # Checked after the first lines, so that a busy machine still offers some names.
            if (number % _CHECKED_LINES == 0 or len(line) == _LONGEST_LINE) and limit.passed:
                return


def _opened(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="replace")
    return path.open(encoding="utf-8", errors="replace")


def _objects(row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    values = row.get(key)
    return [each for each in values if isinstance(each, dict)] if isinstance(values, list) else []


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""
