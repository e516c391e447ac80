"""JSON Lines of a run: the published event stream, and the facts about its tasks and nodes.

The event stream begins with its version. Every line has ``type``, ``seq`` and ``at``, and the
fields of the event by name. A file of facts begins with its :class:`RecordHead`; default values are
left out. A removed or changed key raises the version. Lines that this version cannot read (a newer
type or key, an incomplete line) are skipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, asdict, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, TextIO, TypeVar, get_args, get_origin, get_type_hints

from batchspec.account import NodeRecord, TaskRecord
from batchspec.apply.events import Event, FailedTasks, Outcome, RunningTask, Stamped, TaskFailed
from batchspec.diagnostics import Diagnostic, Place, Severity, redact
from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.plan.failures import cause_of
from batchspec.plan.observed import JobFacts
from batchspec.render.diagnostics import diagnostic_json
from batchspec.render.output import LineWriter, json_text
from batchspec.render.run_text import snake

_ITEMS: Mapping[str, type[RunningTask | FailedTasks]] = {
    "tasks": RunningTask,
    "causes": FailedTasks,
}
"""The fields that are lists of objects."""

STREAM = 1
"""The version of the stream."""


class JsonView:
    """Writes each event as one line of JSON."""

    def __init__(self, stream: TextIO, version: str = "") -> None:
        self._writer = LineWriter(stream)
        self._version = version
        self._started = False

    def __call__(self, stamped: Stamped) -> None:
        if not self._started:
            self._started = True
            head = {"type": "version", "stream": STREAM, "seq": 0, "at": moment(stamped.at)}
            self._writer.line(json_text({**head, "batchspec": self._version}))
        self._writer.line(json_text(event_json(stamped)))

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do nothing, because the view does not use the screen."""
        yield

    def close(self) -> None:
        """Do nothing, because every line is written immediately."""


def event_json(stamped: Stamped) -> dict[str, object]:
    """A stamped event as a JSON object."""
    event = stamped.event
    head = {"type": event_name(type(event)), "seq": stamped.seq, "at": moment(stamped.at)}
    return head | {field.name: _value(getattr(event, field.name)) for field in fields(event)}


def event_name(event: type[Event]) -> str:
    """The ``type`` of an event: ``step_started``."""
    return snake(event.__name__)


def moment(at: datetime) -> str:
    """A time as RFC 3339 in UTC, to the millisecond: ``2026-01-02T03:04:05.678Z``."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _value(value: object) -> object:
    if isinstance(value, RunningTask | FailedTasks):
        value = asdict(value)
    match value:
        case Diagnostic():
            return diagnostic_json(value)
        case datetime() | Enum():
            return moment(value) if isinstance(value, datetime) else value.value
        case Mapping():
            return {str(key): _value(item) for key, item in value.items()}
        case tuple() | list():
            return [_value(item) for item in value]
        case float():
            return round(value, 3)
    return value


_EVENTS: Mapping[str, type[Event]] = {event_name(kind): kind for kind in get_args(Event)}


def read_record(lines: Iterable[str]) -> Iterator[Stamped]:
    """The events of a record, in order."""
    for line in lines:
        stamped = _read_event(json_object(line))
        if stamped is not None:
            yield stamped


def recorded_failures(lines: Iterable[str]) -> Iterator[TaskFailed]:
    """The failed tasks in a record whose stderr was read."""
    for stamped in read_record(line for line in lines if '"task_failed"' in line):
        if isinstance(stamped.event, TaskFailed) and stamped.event.stderr:
            yield stamped.event


def _read_event(row: dict[str, Any]) -> Stamped | None:
    """An event; ``None`` if it is of another version, or a value is not of its field's type."""
    kind = _EVENTS.get(str(row.get("type")))
    if kind is None:
        return None
    hints: Mapping[str, Any] = _hints(kind)  # type: ignore[arg-type]
    values = {}
    try:
        for field in fields(kind):
            if field.name in row:
                hint = hints[field.name]
                values[field.name] = _field_value(field.name, row[field.name], hint)
                if not _fits(values[field.name], hint):
                    return None
            elif field.default is MISSING and field.default_factory is MISSING:
                return None
        stamped = Stamped(row["seq"], datetime.fromisoformat(row["at"]), kind(**values))
    except (KeyError, ValueError, TypeError, OverflowError):
        return None
    return stamped if _fits(stamped.seq, int) and _fits(stamped.at, datetime) else None


@cache
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


_LARGEST = 2**63
"""All numbers of the service are smaller."""


def _fits(value: object, hint: Any) -> bool:  # noqa: PLR0911 - one for each kind of type
    """Whether a value is of the type of a field; numbers are finite, and times have a zone."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Mapping:
        return isinstance(value, Mapping) and all(
            isinstance(key, str) and _fits(item, arguments[1]) for key, item in value.items()
        )
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, arguments[0]) for item in value)
    if arguments:
        return any(_fits(value, each) for each in arguments)
    if hint in {int, float}:
        # JSON has no type for whole numbers, and a bool is an int.
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and (hint is float or isinstance(value, int)) and abs(value) < _LARGEST  # type: ignore[arg-type]
    if hint is datetime:
        return isinstance(value, datetime) and value.tzinfo is not None
    if is_dataclass(hint):
        return isinstance(value, hint) and all(  # type: ignore[arg-type]
            _fits(getattr(value, name), each)
            for name, each in _hints(hint).items()  # type: ignore[arg-type]
        )
    return isinstance(value, hint)


def _field_value(name: str, value: Any, hint: Any) -> Any:
    if isinstance(value, str) and datetime in {hint, *get_args(hint)}:
        return datetime.fromisoformat(value)
    match name, value:
        case "problem", dict():
            return _read_diagnostic(value)
        case "outcome", str() if value in set(Outcome):
            return Outcome(value)
        case _, list():
            kind = _ITEMS.get(name)
            return tuple(value if kind is None else (_read_fields(kind, item) for item in value))
    return value


def _read_fields(
    kind: type[RunningTask | FailedTasks], row: dict[str, Any]
) -> RunningTask | FailedTasks:
    """The fields of ``kind`` that a row has; a later version may have more."""
    return kind(**{name: row[name] for name in kind.__dataclass_fields__ if name in row})


def _read_diagnostic(row: dict[str, Any]) -> Diagnostic:
    where = row.get("where")
    severity = row.get("severity")
    return Diagnostic(
        str(row.get("code", "")),
        str(row.get("message", "")),
        str(row.get("detail", "")),
        Place(where["file"], where["line"], where["column"], length=where["length"])
        if isinstance(where, dict)
        else None,
        str(row.get("hint", "")),
        Severity(severity) if severity in set(Severity) else Severity.ERROR,
        str(row.get("request_id", "")),
    )


_VERSION = 1
"""The version of the files; it is raised when a key is removed or changed."""


@frozen
class RecordHead:
    """The subject of a file of a record: ``kind`` (``tasks``, ``nodes``) and job or pool ``id``.

    ``at`` is the time of the service at which the facts were read. ``state``, ``created``,
    ``ended``, ``reason`` (why the job ended) and ``pool`` are of the job.
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

    def is_of(self, job: JobFacts) -> bool:
        """Whether this is the file of the tasks of a job, not of another one with its id."""
        return (self.kind, self.id, self.created) == ("tasks", job.id, moment(job.created))


@frozen
class TaskRow:
    """A task of a record. Times are RFC 3339 in UTC; empty if it has not started or ended.

    ``state`` is ``succeeded``, ``failed``, ``active`` or ``running``; ``cause`` is the cause of a
    failure, by which ``failures`` groups tasks. ``item`` identifies the item of the task in all its
    versions; ``job`` is not part of a line.
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
    """A node of a record.

    Times are RFC 3339 in UTC, empty if unknown; ``pool`` is in the head of the file. ``at`` is the
    time at which the node was read, ``exit_code`` and ``message`` are those of its start task.
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
    return _read(RecordHead, json_object(line))


def read_tasks(job: str, lines: Iterable[str]) -> Iterator[TaskRow]:
    """The tasks in the lines after the head."""
    for line in lines:
        row = _read(TaskRow, {**json_object(line), "job": job})
        if row is not None:
            yield row


def read_nodes(head: RecordHead, lines: Iterable[str]) -> Iterator[NodeRow]:
    """The nodes in the lines after the head."""
    for line in lines:
        row = _read(NodeRow, {**json_object(line), "pool": head.id, "at": head.at})
        if row is not None:
            yield row


Row = TypeVar("Row", RecordHead, TaskRow, NodeRow)
_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "bool": bool,
    "int | None": int,
}


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
