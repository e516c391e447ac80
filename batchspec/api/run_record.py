"""The facts about the tasks and nodes of a run, in files of its folder.

``tasks/JOB.N.jsonl.gz`` and ``nodes/POOL.N.jsonl.gz`` are written when the facts are read from the
service; ``applied.json`` contains the spec, its parameters and the plan from the start. Only their
owner can read them.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from batchspec.account import NodeRecord, TaskRecord
from batchspec.api.run_folder import RunFolder, file_name
from batchspec.apply.private_files import open_private_bytes, private_folder
from batchspec.diagnostics import Secret
from batchspec.plan import Plan
from batchspec.plan.observed import JobFacts
from batchspec.render import (
    RecordHead,
    json_text,
    node_row,
    nodes_head,
    plan_text,
    read_head,
    row_line,
    task_row,
    tasks_head,
)
from batchspec.spec import Spec, Text, thaw

_SAMPLES = 10
"""How many causes of failures get the output of a task."""
_LEVEL = 6
"""The level of compression: level 9 takes three times as long for 2 % less."""


@dataclass(slots=True)
class RecordFiles:
    """Writes the facts to the folder of a run. Implements :class:`batchspec.apply.ports.RunRecord`.

    ``jobs`` are the jobs of the run before it begins.
    """

    folder: RunFolder
    jobs: Sequence[str] = ()
    _files: int = field(default=0, init=False)

    @property
    def earlier_jobs(self) -> Sequence[str]:
        """The jobs of the run whose tasks no record on this disk contains."""
        return [job for job in self.jobs if not any(self._heads(job))]

    def is_complete(self, job_id: str) -> bool:
        """Whether a record on this disk contains the final facts about the tasks of a job."""
        return any(head.final for head in self._heads(job_id))

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
        """Save the last lines of the stderr of a failed task."""
        if not self.folder.failed:
            with self.folder.guarded():
                self.folder.save_output(task_id, stderr)

    async def save_nodes(
        self, pool_id: str, at: datetime, nodes: AsyncIterator[NodeRecord]
    ) -> None:
        """Save the nodes of a pool."""
        if self.folder.failed:
            return
        with self.folder.guarded(), self._lines("nodes", pool_id) as write:
            write(row_line(nodes_head(pool_id, at)))
            async for node in nodes:
                write(row_line(node_row(node)))

    @contextmanager
    def _lines(self, kind: str, name: str) -> Iterator[Callable[[str], object]]:
        """A function that writes lines to a new file, which exists when all are written.

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

    def _heads(self, job: str) -> Iterator[RecordHead]:
        pattern = f"*/tasks/{file_name(job)}.*.jsonl.gz"
        for path in self.folder.runs.glob(pattern):
            with read_lines(path) as lines:
                head = read_head(next(lines, ""))
            if head is not None:
                yield head


def applied_text(spec: Spec, plan: Plan) -> str:
    """What a run applies, as JSON without secrets: the spec, its parameters and the plan."""
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
