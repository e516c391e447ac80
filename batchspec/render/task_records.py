"""The facts about tasks and nodes in the record of a run: as lines of JSON, and read from them.

The first line of a file is its :class:`RecordHead`. Default values are left out. Lines that this
version cannot read are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from batchspec.account import NodeRecord, TaskRecord
from batchspec.diagnostics import redact
from batchspec.frozen import frozen
from batchspec.plan.failures import cause_of
from batchspec.plan.observed import JobFacts
from batchspec.render.progress.json_stream import moment

_VERSION = 1
"""The version of the files, which a removed or changed key raises."""


@frozen
class RecordHead:
    """What a file of a record is about: ``kind`` (``tasks``, ``nodes``) and the job or pool ``id``.

    ``at`` is the time of the service at which the facts were read. ``state``, ``created``,
    ``ended``, ``reason`` (why it ended) and ``pool`` are those of the job.
    """

    kind: str
    id: str
    at: str
    state: str = ""
    created: str = ""
    ended: str = ""
    reason: str = ""
    pool: str = ""
    version: int = 0

    @property
    def final(self) -> bool:
        """Whether the tasks of the job can no longer change."""
        return self.kind == "tasks" and self.state == "completed"


@frozen
class TaskRow:
    """A task of a record. Times are RFC 3339 in UTC; empty if it has not started or ended.

    ``state`` is ``succeeded``, ``failed``, ``active`` or ``running``; ``cause`` is that of a
    failure, the word by which ``failures`` groups. ``item`` identifies what the task is for, in all
    versions of it; ``job`` is not part of a line.
    """

    id: str
    state: str
    job: str = ""
    name: str = ""
    stage: str = ""
    item: str = ""
    exit_code: int | None = None
    cause: str = ""
    category: str = ""
    code: str = ""
    message: str = ""
    node: str = ""
    retries: int = 0
    requeued: int = 0
    created: str = ""
    started: str = ""
    ended: str = ""


@frozen
class NodeRow:
    """A node of a record. Times are RFC 3339 in UTC, empty if unknown; ``pool`` is of its file.

    ``at`` is when it was read, ``exit_code`` and ``message`` are those of its start task.
    """

    id: str
    state: str
    pool: str = ""
    at: str = ""
    vm_size: str = ""
    dedicated: bool = True
    allocated: str = ""
    booted: str = ""
    start_task_started: str = ""
    start_task_ended: str = ""
    exit_code: int | None = None
    message: str = ""


def tasks_head(job: JobFacts, at: datetime) -> RecordHead:
    """The head of the file with the tasks of a job."""
    ended = moment(job.ended) if job.ended else ""
    reason = redact(job.terminate_reason or "")
    return RecordHead(
        "tasks",
        job.id,
        moment(at),
        job.state,
        moment(job.created),
        ended,
        reason,
        job.pool,
        _VERSION,
    )


def nodes_head(pool: str, at: datetime) -> RecordHead:
    """The head of the file with the nodes of a pool."""
    return RecordHead("nodes", pool, moment(at), version=_VERSION)


def task_row(record: TaskRecord, job: JobFacts) -> TaskRow:
    """A task of a job, without secrets."""
    task = record.facts
    failed = task.succeeded is False
    return TaskRow(
        id=task.id,
        state=_STATES[task.succeeded] or ("active" if task.state == "active" else "running"),
        name=redact(record.name),
        stage=task.marks.stage,
        item=task.marks.item,
        exit_code=task.exit_code,
        cause=cause_of(task, job) if failed else "",
        category=record.category,
        code=task.code or "",
        message=redact(task.message) if task.message else "",
        node=task.node or "",
        retries=task.retries,
        requeued=record.requeued,
        created=_text(task.created),
        started=_text(record.started),
        ended=_text(record.ended),
    )


_STATES = {True: "succeeded", False: "failed", None: ""}


def node_row(record: NodeRecord) -> NodeRow:
    """A node, without secrets."""
    return NodeRow(
        id=record.id,
        state=record.state,
        vm_size=record.vm_size,
        dedicated=record.dedicated,
        allocated=_text(record.allocated),
        booted=_text(record.booted),
        start_task_started=_text(record.start_task_started),
        start_task_ended=_text(record.start_task_ended),
        exit_code=record.exit_code,
        message=redact(record.message) if record.message else "",
    )


def row_line(row: RecordHead | TaskRow | NodeRow) -> str:
    """A head or a row as one line of JSON, which ends with a newline."""
    values = {
        name: value
        for name, default in _DEFAULTS[type(row)].items()
        if (value := getattr(row, name)) != default
    }
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) + "\n"


_DEFAULTS: Mapping[type, Mapping[str, object]] = {
    kind: {field.name: field.default for field in fields(kind)}
    for kind in (RecordHead, TaskRow, NodeRow)
}


def read_head(line: str) -> RecordHead | None:
    """The head of a file; ``None`` if this version cannot read it."""
    return _read(RecordHead, _object(line))


def read_tasks(job: str, lines: Iterable[str]) -> Iterator[TaskRow]:
    """The tasks in the lines after the head."""
    for line in lines:
        row = _read(TaskRow, {**_object(line), "job": job})
        if row is not None:
            yield row


def read_nodes(head: RecordHead, lines: Iterable[str]) -> Iterator[NodeRow]:
    """The nodes in the lines after the head."""
    for line in lines:
        row = _read(NodeRow, {**_object(line), "pool": head.id, "at": head.at})
        if row is not None:
            yield row


Row = TypeVar("Row", RecordHead, TaskRow, NodeRow)
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "int | None": int,
}


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def _read(kind: type[Row], row: dict[str, Any]) -> Row | None:
    values = {}
    for name, expected in _FIELDS[kind].items():
        if name in row:
            if not isinstance(row[name], expected):
                return None
            values[name] = row[name]
    try:
        return kind(**values)
    except TypeError:
        return None  # The id or the state is missing.


_FIELDS: Mapping[type, Mapping[str, type | tuple[type, ...]]] = {
    kind: {field.name: _KINDS[str(field.type)] for field in fields(kind)}
    for kind in (RecordHead, TaskRow, NodeRow)
}


def _text(at: datetime | None) -> str:
    return moment(at) if at is not None else ""
