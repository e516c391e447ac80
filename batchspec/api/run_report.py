"""Reads the records of a run and writes its report."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from batchspec.api.options import ReportFormat
from batchspec.api.recorded_names import recorded_runs
from batchspec.api.run_folder import APPLIED, OUTPUT, PAGE, read_lines
from batchspec.apply.private_files import open_private
from batchspec.diagnostics import Diagnostic, Severity, UsageError
from batchspec.render import (
    Applied,
    Attempt,
    NodeRow,
    RunHistory,
    TaskFile,
    build_timeline,
    last_run,
    merged_nodes,
    page_html,
    read_head,
    read_nodes,
    read_record,
    report_as_json,
    run_as_trace,
    tasks_as_csv,
)

_APPLIED_FIELDS = ("path", "spec", "parameters", "plan")
_OUTPUTS = 200
"""How many outputs of failed tasks are read."""


def read_history(
    runs: Path, name: str, *, run: str = "", command: Callable[..., str], retries: bool
) -> RunHistory:
    """The last recorded run of a spec that had tasks, with all its attempts.

    ``run`` selects the run whose last attempt has this id, a unique prefix of it, or a path in its
    folder. ``command`` completes a command for the user; ``retries``: ``retry`` runs failed tasks.

    Raises:
        UsageError: there is no such record, or it cannot be read. Damaged parts are left out.
    """
    records = recorded_runs(runs)
    if not records:
        raise UsageError(_no_record(name, runs))
    if run:
        records = records[: records.index(_find(run, records)) + 1]
    try:
        attempts = last_run(_attempt(record) for record in reversed(records))
        if run and attempts[-1].id != records[-1].parent.name:
            # The attempt had no tasks: a deletion, for example.
            attempts = (_attempt(records[-1]),)
        folders = [runs / attempt.id for attempt in attempts]
        return RunHistory(
            attempts,
            [file for folder in folders for file in _task_files(folder)],
            merged_nodes(row for folder in folders for row in _nodes(folder)),
            _outputs(folders),
            {folder.name: applied for folder in folders if (applied := _applied(folder))},
            command,
            retries,
        )
    except OSError as error:
        raise UsageError(_unreadable_record(runs, error)) from error


def report_text(history: RunHistory, report_format: ReportFormat) -> Iterator[str]:
    """The report of a run, in parts.

    Raises:
        UsageError: the record cannot be read.
    """
    writers = {
        ReportFormat.HTML: lambda history: iter((page_html(history),)),
        ReportFormat.JSON: report_as_json,
        ReportFormat.CSV: tasks_as_csv,
        ReportFormat.TRACE: run_as_trace,
    }
    try:
        yield from writers[report_format](history)
    except OSError as error:
        raise UsageError(_unreadable_record(history.attempts[-1].id, error)) from error


def write_page(history: RunHistory, path: Path) -> None:
    """Write the page of a run to a file that only its owner can read.

    Raises:
        UsageError: the record cannot be read.
        OSError: the file cannot be written.
    """
    text = "".join(report_text(history, ReportFormat.HTML))
    with open_private(path) as file:
        file.write(text)


def page_path(runs: Path, history: RunHistory) -> Path:
    """Where the page of a run is written: in the folder of its last attempt."""
    return runs / history.attempts[-1].id / PAGE


def _attempt(record: Path) -> Attempt:
    with record.open(encoding="utf-8", errors="replace") as lines:
        timeline = build_timeline(read_record(lines))
    return Attempt(record.parent.name, timeline, any(_task_paths(record.parent)))


def _task_paths(folder: Path) -> Iterator[Path]:
    return folder.glob("tasks/*.jsonl.gz")


def _task_files(folder: Path) -> Iterator[TaskFile]:
    for path in sorted(_task_paths(folder)):
        with read_lines(path) as lines:
            head = read_head(next(lines, ""))
        if head is not None:
            yield TaskFile(head, partial(_lines_after_head, path))


@contextmanager
def _lines_after_head(path: Path) -> Iterator[Iterator[str]]:
    with read_lines(path) as lines:
        next(lines, None)
        yield lines


def _nodes(folder: Path) -> Iterator[NodeRow]:
    for path in sorted(folder.glob("nodes/*.jsonl.gz")):
        with read_lines(path) as lines:
            head = read_head(next(lines, ""))
            if head is not None:
                yield from read_nodes(head, lines)


def _outputs(folders: Sequence[Path]) -> Mapping[str, str]:
    """The last lines of the stderr of failed tasks, by task; the newest attempt counts."""
    paths = [path for folder in folders for path in sorted(folder.glob(f"failed/*{OUTPUT}"))]
    return {
        path.name.removesuffix(OUTPUT): path.read_text(encoding="utf-8", errors="replace")
        for path in paths[-_OUTPUTS:]
    }


def _applied(folder: Path) -> Applied | None:
    path = folder / APPLIED
    if not path.exists():
        return None
    try:
        row = json.loads(path.read_text(encoding="utf-8", errors="replace"))
        path_, spec, parameters, plan = (row[name] for name in _APPLIED_FIELDS)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(parameters, dict):
        return None
    return Applied(str(path_), str(spec), parameters, str(plan))


def _find(text: str, records: Sequence[Path]) -> Path:
    """The record whose id starts with ``text``, or whose folder or page has this path.

    Raises:
        UsageError: there is none, or more than one.
    """
    parts = Path(text).parts
    run = parts[parts.index("runs") + 1] if "runs" in parts[:-1] else text
    matches = [record for record in records if record.parent.name.startswith(run)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        summary = f"the ids of {len(matches)} recorded runs start with {run!r}"
    else:
        summary = f"no recorded run has an id that starts with {run!r}"
    names = [record.parent.name for record in matches or records]
    fix = f"Use one of these ids: `batchspec report --run {names[-1]}` shows the newest of them."
    raise UsageError(Diagnostic("no-such-run", summary, "\n".join(names), fix=fix))


def _unreadable_record(record: Path | str, error: OSError) -> Diagnostic:
    return Diagnostic(
        "bad-record",
        f"the record {record} cannot be read: {error.strerror or error}",
        fix="Show another run with `--run ID`, or delete the record.",
    )


def missing_facts(history: RunHistory) -> Diagnostic | None:
    """A note if the record of a run has no facts about its tasks."""
    if history.files:
        return None
    return Diagnostic(
        "no-task-facts",
        "the record of this run has no facts about its tasks",
        detail="They are read when a run ends. This one was interrupted or detached, or had none.",
        fix="`batchspec status SPEC --tasks all` lists the tasks while their job exists.",
        severity=Severity.NOTE,
    )


def _no_record(name: str, runs: Path) -> Diagnostic:
    return Diagnostic(
        "no-record",
        f"no run of {name} is recorded on this machine",
        detail=f"Searched {runs}",
        fix="Records are written by `batchspec apply` on the machine it runs on.",
    )
