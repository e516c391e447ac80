"""Writes and reads the records of the runs of a spec in ``.batchspec/NAME/``, and makes reports.

``runs/ID/`` is the folder of a run. ``applied.json`` contains the spec, its parameters and the plan
from the start; beside it are the events of the run and the stderr of its failed tasks.
``tasks/JOB.N.jsonl.gz`` and ``nodes/POOL.N.jsonl.gz`` are written when the facts about tasks and
nodes are read from the service. Only their owner can read them, and only ``batchspec report`` does;
a run continues without them where they cannot be written.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import re
import shutil
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from batchspec.account import NodeRecord, TaskRecord
from batchspec.api.options import ReportFormat
from batchspec.api.recorded_names import EVENTS, recorded_runs, runs_folder, unreadable_records
from batchspec.apply.events import NodeFailed, Stamped, TaskFailed
from batchspec.apply.private_files import open_private, open_private_bytes, private_folder
from batchspec.diagnostics import Diagnostic, Secret, Severity, UsageError, redact
from batchspec.json_object import json_object
from batchspec.observe import create_state_folder
from batchspec.plan import Plan
from batchspec.plan.observed import JobFacts
from batchspec.render import (
    Applied,
    Attempt,
    JsonView,
    NodeRow,
    RecordHead,
    RunHistory,
    TaskFile,
    build_timeline,
    json_text,
    last_run,
    merged_nodes,
    node_row,
    nodes_head,
    page_html,
    plan_text,
    read_head,
    read_nodes,
    read_record,
    report_as_json,
    row_line,
    run_as_trace,
    task_row,
    tasks_as_csv,
    tasks_head,
)
from batchspec.spec import Spec, Text, thaw
from batchspec.version import __version__

if TYPE_CHECKING:
    from batchspec.render import ActualRun

KEPT = 30
"""How many runs of a spec are kept; older ones are deleted when a run starts."""

APPLIED = "applied.json"
PAGE = "report.html"
OUTPUT = ".stderr.txt"
"""The end of the name of the file with the stderr of a failed task."""


_ID = re.compile(r"[A-Za-z0-9_-]{1,100}(:[A-Za-z0-9_-]{1,64})?")
"""The ids of the service: up to 72 characters (nodes) or 64; a colon in jobs of a schedule."""


class RunFolder:
    """Records every event of a run; a consumer of events.

    ``runs`` is the folder of all recorded runs. ``path`` is the folder of this run, which is
    created with the first entry. After a disk error, nothing more is recorded.
    """

    def __init__(self, runs: Path, now: datetime, warn: Callable[[OSError], None]) -> None:
        self.runs = runs
        # With microseconds: names sort by start, and two runs in one second have two folders.
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
        """Record the spec, parameters and plan of the run, before its first event."""
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
    # The new folder has no events. A later run deletes folders that cannot be deleted now.
    for old in recorded_runs(runs)[: -(KEPT - 1)]:
        shutil.rmtree(old.parent, ignore_errors=True)


def file_name(name: str) -> str:
    """A valid file name for an id on every system; for an invalid id, a name that is never used."""
    return name.replace(":", "~") if _ID.fullmatch(name) else "~"


def _write(path: Path, text: str) -> None:
    private_folder(path.parent)
    with open_private(path) as file:
        file.write(redact(text))


def read_costs(spec: Spec, target: str) -> tuple[ActualRun, ...]:
    """The node-hours of the recorded runs of a spec on the account ``target``, oldest first.

    Raises:
        DiskError: a record cannot be read.
    """
    from batchspec.render import ActualRun, Tally, read_record

    found = []
    for record in recorded_runs(runs_folder(spec.path, spec.name)):
        tally = Tally()
        try:
            with record.open(encoding="utf-8", errors="replace") as lines:
                for stamped in read_record(lines):
                    tally(stamped)
        except OSError as error:
            raise unreadable_records(record, error) from error
        report = tally.report()
        if report.node_hours and report.target == target:
            found.append(ActualRun(report.began, report.node_hours))
    return tuple(found)


_SAMPLES = 10
"""For how many causes of failures the output of a task is recorded."""
_LEVEL = 6
"""The level of compression: level 9 takes three times as long for 2 % less."""


@dataclass(slots=True)
class RecordFiles:
    """Writes the facts to the folder of a run. Implements :class:`batchspec.apply.ports.RunRecord`.

    ``jobs`` are the jobs of the run before it begins.
    """

    folder: RunFolder
    jobs: Sequence[JobFacts] = ()
    _files: int = field(default=0, init=False)

    @property
    def earlier_jobs(self) -> Sequence[str]:
        return [job.id for job in self.jobs if not any(self._heads(job))]

    def is_complete(self, job: JobFacts) -> bool:
        return any(head.final for head in self._heads(job))

    async def save_tasks(
        self, job: JobFacts, at: datetime, tasks: AsyncIterator[TaskRecord]
    ) -> Sequence[str]:
        """Save the tasks of a job; failed tasks without output, one for each cause."""
        found: dict[str, str] = {}
        known: set[str] = set()
        if self.folder.failed:
            return ()
        with self.folder.guarded(), self._lines("tasks", job.id) as write:
            write(row_line(tasks_head(job, at)))
            async for task in tasks:
                row = task_row(task, job)
                write(row_line(row))
                if not row.cause or row.cause in known:
                    continue
                if self.folder.has_output(row.id):
                    known.add(row.cause)
                else:
                    found.setdefault(row.cause, row.id)
        return [task for cause, task in found.items() if cause not in known][:_SAMPLES]

    def save_output(self, task_id: str, stderr: str) -> None:
        if not self.folder.failed:
            with self.folder.guarded():
                self.folder.save_output(task_id, stderr)

    async def save_nodes(
        self, pool_id: str, at: datetime, nodes: AsyncIterator[NodeRecord]
    ) -> None:
        if self.folder.failed:
            return
        with self.folder.guarded(), self._lines("nodes", pool_id) as write:
            write(row_line(nodes_head(pool_id, at)))
            async for node in nodes:
                write(row_line(node_row(node)))

    @contextmanager
    def _lines(self, kind: str, name: str) -> Iterator[Callable[[str], object]]:
        """A function that writes lines to a new file, which appears when all lines are written.

        Raises:
            OSError: the file cannot be written.
        """
        self._files += 1
        path = self.folder.path / kind / f"{file_name(name)}.{self._files:04}.jsonl.gz"
        part = path.with_suffix(".part")
        private_folder(path.parent)
        try:
            with (
                open_private_bytes(part) as file,
                gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=_LEVEL) as packed,
                io.TextIOWrapper(packed, encoding="utf-8", errors="replace") as text,
            ):
                yield text.write
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _heads(self, job: JobFacts) -> Iterator[RecordHead]:
        """The heads of the records of this job; not those of a deleted one with the same id."""
        pattern = f"*/tasks/{file_name(job.id)}.*.jsonl.gz"
        for path in self.folder.runs.glob(pattern):
            with read_lines(path) as lines:
                head = read_head(next(lines, ""))
            if head is not None and head.is_of(job):
                yield head


def applied_text(spec: Spec, plan: Plan) -> str:
    """The spec, its parameters and the plan of a run, as JSON without secrets."""
    parameters = {
        name: "***" if isinstance(value, Secret) else thaw(value, Text.identity)
        for name, value in spec.parameters.items()
    }
    values = {
        "version": 1,
        "path": str(spec.path),
        "spec": spec.path.read_text(encoding="utf-8", errors="replace"),
        "parameters": parameters,
        "plan": plan_text(plan, width=100),
    }
    return json_text(values) + "\n"


@contextmanager
def read_lines(path: Path) -> Iterator[Iterator[str]]:
    """The lines of a file of a record; those of a damaged file up to the damage.

    Raises:
        OSError: the file cannot be opened.
    """
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        yield _undamaged(file)


def _undamaged(lines: Iterator[str]) -> Iterator[str]:
    try:
        yield from lines
    except (EOFError, zlib.error, gzip.BadGzipFile):
        return


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
    part = path.with_suffix(".part")
    try:
        with open_private(part) as file:
            file.write(text)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def page_path(runs: Path, history: RunHistory) -> Path:
    """The path of the page of a run: in the folder of its last attempt."""
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
        row = json_object(path.read_text(encoding="utf-8", errors="replace"))
        path_, spec, parameters, plan = (row[name] for name in _APPLIED_FIELDS)
    except KeyError:
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
    """A note if the record of a run has no data about its tasks."""
    if history.files:
        return None
    return Diagnostic(
        "no-task-facts",
        "the record of this run has no data about its tasks",
        detail="The data is read when a run ends. This run was interrupted or detached, or had no"
        " tasks.",
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
