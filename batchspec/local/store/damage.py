"""Damaged records: a complete check of the database, and what becomes of a record that fails it.

A record is damaged if it cannot be read, or if its values are not of the type that every reader
relies on. It is not checked when it is read, which would cost more than reading it: the check runs
after an unexpected error. A damaged task fails. Any other damaged record is removed, as if its
object had been deleted. The table ``damaged`` keeps the original values.
"""

# ruff: noqa: S608 - only names of this package are joined in; values are bound
from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from batchspec.local.model import (
    AllocationState,
    JobState,
    NodeState,
    PoolState,
    ScheduleState,
    TaskState,
)
from batchspec.local.store.database import Database, fold, to_column, to_json
from batchspec.local.store.tasks import number_of
from batchspec.local.wire import UNLIMITED, all_properties, read_duration, read_time

_END_OF_TIME = 253_402_300_800_000_000
"""The first microsecond of the year 10000."""
_MAX_DEPTH = 40
"""Levels of a JSON value; the deepest model of the protocol has fewer than ten."""


class _DamageError(Exception):
    """A value is not what it must be; the text names the value's place."""


@dataclass(frozen=True, slots=True)
class _Table:
    """What the values of a table must be, beyond the types of its columns.

    ``name`` is the column that names a record. ``models`` are the wire models of JSON columns, in
    brackets for lists. ``complete`` are the properties that every stored body has, by the path of
    their object. ``folded`` pairs a key column with the id that it is made of.
    """

    name: str
    models: Mapping[str, str] = field(default_factory=dict)
    complete: Mapping[str, str] = field(default_factory=dict)
    words: Mapping[str, Iterable[str]] = field(default_factory=dict)
    times: str = ""
    counts: str = ""
    durations: str = ""
    folded: Mapping[str, str] = field(default_factory=dict)


_TASK_CONSTRAINTS = "maxWallClockTime retentionTime maxTaskRetryCount"
_JOB = {
    "": "priority maxParallelTasks constraints poolInfo onAllTasksComplete onTaskFailure",
    "constraints": "maxWallClockTime maxTaskRetryCount",
    "jobManagerTask": "id commandLine constraints requiredSlots runExclusive allowLowPriorityNode",
    "jobManagerTask.constraints": _TASK_CONSTRAINTS,
    "jobPreparationTask": "id commandLine constraints waitForSuccess",
    "jobPreparationTask.constraints": _TASK_CONSTRAINTS,
    "jobReleaseTask": "id commandLine",
}
_PLACE = {"pool": "pool_id", "node": "node_id"}
_KEY = {"key": "id"}

_TABLES: Mapping[str, _Table] = {
    "pool": _Table(
        "id",
        {
            "body": "BatchPoolCreateOptions",
            "resize_errors": "[ResizeError]",
            "autoscale": "BatchPoolEnableAutoScaleOptions",
        },
        {
            "": "vmSize enableInterNodeCommunication taskSlotsPerNode",
            "startTask": "commandLine maxTaskRetryCount waitForSuccess",
        },
        {"state": PoolState, "allocation": AllocationState},
        "created modified state_since allocation_since",
        "target_dedicated target_spot resize",
        "resize_timeout",
        _KEY,
    ),
    "node": _Table(
        "id",
        {"start_task_info": "BatchStartTaskInfo", "errors": "[BatchNodeError]", "detail": "any"},
        {},
        {
            "state": NodeState,
            "scheduling": ("enabled", "disabled"),
            "intent": (
                "remove",
                "reboot",
                "reimage",
                "deallocate",
                "start",
                "offline",
                "preempt",
            ),
        },
        "state_since allocated booted",
        "slots running_tasks running_slots total_run total_succeeded",
        "",
        {"pool": "pool_id", **_KEY},
    ),
    "job": _Table(
        "id",
        {"body": "BatchJobCreateOptions", "scheduling_error": "BatchJobSchedulingError"},
        _JOB,
        {"state": JobState, "previous_state": JobState},
        "created modified state_since previous_since started ended deadline",
        "",
        "",
        {"pool": "pool_id", **_KEY},
    ),
    "task": _Table(
        "id",
        {
            "body": "BatchTaskCreateOptions",
            "failure": "BatchTaskFailureInfo",
            "container": "BatchTaskContainerExecutionInfo",
        },
        {"": "commandLine constraints", "constraints": _TASK_CONSTRAINTS},
        {
            "state": TaskState,
            "previous_state": TaskState,
            "ending": ("terminate", "requeue"),
            "result": ("success", "failure"),
        },
        "created modified state_since previous_since last_retry last_requeue started ended "
        "retain_until",
        "slots run retry_count requeue_count running_time user_time kernel_time bytes_read "
        "bytes_written",
        "",
        {"job": "job_id", **_PLACE, **_KEY},
    ),
    "schedule": _Table(
        "id",
        {"body": "BatchJobScheduleCreateOptions"},
        {
            "": "schedule jobSpecification",
            **{
                ".".join(filter(None, ("jobSpecification", path))): names
                for path, names in _JOB.items()
            },
        },
        {"state": ScheduleState, "previous_state": ScheduleState},
        "created modified state_since previous_since next_run last_due ended",
        "runs",
        "",
        _KEY,
    ),
    "preparation": _Table(
        "job_id",
        {
            "info": "BatchJobPreparationTaskExecutionInfo",
            "release": "BatchJobReleaseTaskExecutionInfo",
        },
        {},
        {"state": ("running", "ready", "failed"), "release_state": ("running", "completed")},
        folded={"job": "job_id", **_PLACE},
    ),
    "subtask": _Table(
        "number",
        {"info": "BatchSubtask"},
        {},
        {"state": ("running", "completed")},
        counts="number run",
        folded=_PLACE,
    ),
    "pending_deletion": _Table("directory", counts="task_seq run"),
    "scaling": _Table("pool", times="since due sample_due"),
    "sample": _Table("pool", {"metrics": "any"}, times="at"),
}

_KEYS = {"subtask": ("task", "number"), "scaling": ("pool",), "sample": ("pool", "at")}
"""The primary keys of the tables without ``seq``."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged record: its table, the name of its object, and why it is damaged."""

    table: str
    name: str
    reason: str


class DamagedRecords:
    """Finds damaged records and sets them aside."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def set_aside(self, now: datetime) -> list[Damage]:
        """Set aside every damaged record; returns them. Reads the whole database."""
        with self._db.transaction():
            found = [
                (table, damage, dict(row))
                for table in _TABLES
                for columns in (self._columns(table),)
                for row in self._db.scan(f"SELECT {', '.join(columns)} FROM {table}")
                if (damage := _check_row(table, columns, row)) is not None
            ]
            for table, damage, row in found:
                self._keep(damage, row, now)
                if table == "task" and not _is_lost(row):
                    self._fail(row, damage, now)
                else:
                    self._remove(table, row)
            self._correct_counts(now)
            return [damage for _, damage, _ in found]

    def _columns(self, table: str) -> dict[str, _Column]:
        """The stored columns; a generated one cannot be read if its source is damaged."""
        rows = self._db.all(f"PRAGMA table_info({table})")
        return {
            row["name"]: _Column(_TYPES[row["type"]], required=bool(row["notnull"])) for row in rows
        }

    def _keep(self, damage: Damage, row: Mapping[str, Any], now: datetime) -> None:
        self._db.insert(
            "damaged",
            {
                "source": damage.table,
                "name": damage.name,
                "reason": damage.reason,
                "at": to_column(now),
                "record": json.dumps(row, default=repr),
            },
        )

    def _fail(self, row: Mapping[str, Any], damage: Damage, now: datetime) -> None:
        """Replace the damaged values of a task, and end it with a failure."""
        failure = {
            "category": "ServerError",
            "code": "Unknown",
            "message": "The stored record of the task is damaged",
            "details": [{"name": "Message", "value": damage.reason}],
        }
        self._db.update(
            "task",
            {
                **dict.fromkeys(_TASK_OPTIONAL),
                **{name: to_column(now) for name in ("created", "modified", "state_since")},
                **dict.fromkeys(_TASK_COUNTS, 0),
                "number": number_of(row["id"]),
                "run": row["run"] if _is_whole(row["run"]) and row["run"] >= 0 else 0,
                "body": to_json({**_TASK_BODY, **_command_line(row["body"])}),
                "slots": 1,
                "state": "completed",
                "ended": to_column(now),
                "result": "failure",
                "failure": to_json(failure),
            },
            "seq = ?",
            (row["seq"],),
        )

    def _remove(self, table: str, row: Mapping[str, Any]) -> None:
        names = _KEYS.get(table, ("seq",))
        where = " AND ".join(f"{name} IS ?" for name in names)
        self._db.write(f"DELETE FROM {table} WHERE {where}", tuple(row[name] for name in names))
        for sql in _FOLLOWING.get(table, ()):
            self._db.write(sql, row)

    def _correct_counts(self, now: datetime) -> None:
        """Count tasks and runs again, and fill the pools that have lost nodes."""
        self._db.write("INSERT OR IGNORE INTO tally (job) SELECT key FROM job")
        self._db.write(_COUNT_TASKS)
        self._db.write(_COUNT_RUNS, {"now": to_column(now)})
        self._db.write(_REFILL, {"now": to_column(now)})


_TASK_BODY: Mapping[str, Any] = {
    "commandLine": "",
    "userIdentity": {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}},
    "constraints": {
        "maxWallClockTime": UNLIMITED,
        "retentionTime": "P7D",
        "maxTaskRetryCount": 0,
    },
    "requiredSlots": 1,
}
_TASK_OPTIONAL = (
    "previous_state",
    "previous_since",
    "last_retry",
    "last_requeue",
    "pool",
    "pool_id",
    "node",
    "node_id",
    "directory",
    "process",
    "ending",
    "started",
    "exit_code",
    "retain_until",
    "container",
)
_TASK_COUNTS = (
    "waiting",
    "satisfied",
    "retry_count",
    "requeue_count",
    "cleaned",
    "running_time",
    "user_time",
    "kernel_time",
    "bytes_read",
    "bytes_written",
)
_FOLLOWING: Mapping[str, tuple[str, ...]] = {
    "pool": (
        "DELETE FROM node WHERE pool = :key",
        "UPDATE task SET state = 'active', pool = NULL, pool_id = NULL, node = NULL, "
        "node_id = NULL WHERE pool = :key AND state IN ('preparing', 'running')",
        "DELETE FROM preparation WHERE pool = :key",
        "DELETE FROM subtask WHERE pool = :key",
    ),
    "node": (
        "UPDATE task SET state = 'active', pool = NULL, pool_id = NULL, node = NULL, "
        "node_id = NULL WHERE node = :key AND state IN ('preparing', 'running')",
        "DELETE FROM preparation WHERE node = :key",
        "DELETE FROM subtask WHERE node = :key",
    ),
    "job": (
        "DELETE FROM task WHERE job = :key",
        "DELETE FROM preparation WHERE job = :key",
    ),
}
"""What is removed with the object of a record; tasks of a lost node become active again."""

_RUNS = "task.state IN ('preparing', 'running')"
_ON_NODE = f"SELECT {{}} FROM task WHERE {_RUNS} AND task.pool = node.pool AND task.node = node.key"
_SUBTASKS = (
    f"SELECT {{}} FROM subtask JOIN task ON task.seq = subtask.task WHERE {_RUNS} "
    "AND subtask.state = 'running' AND subtask.pool = node.pool AND subtask.node = node.key"
)
_COUNT = f"(({_ON_NODE.format('count(*)')}) + ({_SUBTASKS.format('count(*)')}))"
_SLOTS = (
    f"(({_ON_NODE.format('coalesce(sum(task.slots), 0)')}) + "
    f"({_SUBTASKS.format('coalesce(sum(task.slots), 0)')}))"
)
_COUNT_RUNS = f"""
UPDATE node SET running_tasks = {_COUNT}, running_slots = {_SLOTS},
    state_since = CASE WHEN state = 'running' AND NOT {_COUNT} THEN :now ELSE state_since END,
    state = CASE WHEN state = 'running' AND NOT {_COUNT} THEN 'idle' ELSE state END
"""
_REFILL = """
UPDATE pool SET allocation = 'resizing', allocation_since = :now, resize = resize + 1
WHERE state = 'active' AND allocation = 'steady'
    AND (SELECT count(*) FROM node WHERE node.pool = pool.key) < target_dedicated + target_spot
    AND resize_errors = '[]'
"""


_COUNT_TASKS = "UPDATE tally SET " + ", ".join(
    f"{unit}_{kind} = (SELECT {total} FROM task WHERE task.job = tally.job AND {condition})"
    for kind, condition in (
        ("active", "state = 'active'"),
        ("running", "state IN ('preparing', 'running')"),
        ("succeeded", "state = 'completed' AND result IS NOT 'failure'"),
        ("failed", "state = 'completed' AND result IS 'failure'"),
    )
    for unit, total in (("n", "count(*)"), ("s", "coalesce(sum(slots), 0)"))
)


@dataclass(frozen=True, slots=True)
class _Column:
    """The type of a column's values; ``required`` if they cannot be NULL."""

    type: type
    required: bool


_TYPES: Mapping[str, type] = {"TEXT": str, "INTEGER": int}


def _check_row(table: str, columns: Mapping[str, _Column], row: sqlite3.Row) -> Damage | None:
    """Why a row is damaged; ``None`` if it is not."""
    spec = _TABLES[table]
    try:
        _check_types(columns, row)
        _check_values(spec, row)
        _check_json(spec, row)
    except _DamageError as error:
        return Damage(table, str(row[spec.name])[:100], str(error))
    return None


def _check_types(columns: Mapping[str, _Column], row: sqlite3.Row) -> None:
    for name, column in columns.items():
        value = row[name]
        if value is None:
            if column.required:
                raise _DamageError(f"{name} is missing")
        elif not isinstance(value, column.type):
            raise _DamageError(f"{name} is not of type {column.type.__name__}")
        elif isinstance(value, str) and not _is_text(value):
            raise _DamageError(f"{name} is not UTF-8")


def _is_text(value: str) -> bool:
    """Whether a value that was read with surrogates for invalid bytes has none."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _check_values(spec: _Table, row: sqlite3.Row) -> None:
    for name, words in spec.words.items():
        if row[name] is not None and row[name] not in tuple(map(str, words)):
            raise _DamageError(f"{name} is not a valid value")
    for name in spec.times.split():
        if row[name] is not None and not 0 <= row[name] < _END_OF_TIME:
            raise _DamageError(f"{name} is out of range")
    for name in spec.counts.split():
        if row[name] is not None and not 0 <= row[name] < 2**53:
            raise _DamageError(f"{name} is out of range")
    for name in spec.durations.split():
        _check_scalar("duration", row[name], name)
    for key, name in spec.folded.items():
        if row[key] != (None if row[name] is None else fold(row[name])):
            raise _DamageError(f"{key} does not match {name}")
    if "id" in spec.folded.values() and not row["id"]:
        raise _DamageError("id is empty")


def _check_json(spec: _Table, row: sqlite3.Row) -> None:
    for name, model in spec.models.items():
        if row[name] is None:
            continue
        try:
            value = json.loads(row[name])
        except (ValueError, RecursionError):
            raise _DamageError(f"{name} is not JSON") from None
        kind = "{any}" if model == "any" else "@" + model
        kind = f"[@{model[1:-1]}]" if model.startswith("[") else kind
        if name == "body":
            value = {"id": row["id"], **value} if isinstance(value, dict) else value
        _check_shape(kind, value, name)
        if name == "body":
            _check_complete(spec, value)


def _check_complete(spec: _Table, body: Mapping[str, Any]) -> None:
    for path, names in spec.complete.items():
        target: Any = body
        for part in filter(None, path.split(".")):
            target = target.get(part) if isinstance(target, dict) else None
        for name in names.split() if target is not None else ():
            if name not in target:
                raise _DamageError(f"body has no {'.'.join(filter(None, (path, name)))}")


def _check_shape(kind: str, value: Any, place: str, depth: int = 0) -> None:
    """Check ``value`` against a type in the notation of ``models.json``; unknown names pass."""
    kind = kind.lstrip("-").rstrip("!")
    if depth > _MAX_DEPTH:
        raise _DamageError(f"{place} is nested too deeply")
    if kind[0] in "@{" and not isinstance(value, dict):
        raise _DamageError(f"{place} is not an object")
    if kind[0] == "[" and not isinstance(value, list):
        raise _DamageError(f"{place} is not an array")
    if kind[0] == "@":
        _check_model(kind[1:], value, place, depth)
    elif kind[0] == "[":
        for number, item in enumerate(value):
            _check_shape(kind[1:-1], item, f"{place}[{number}]", depth + 1)
    elif kind[0] == "{":
        for name, item in value.items():
            _check_shape(kind[1:-1], item, f"{place}.{name}", depth + 1)
    else:
        _check_scalar("string" if kind[0] == "#" else kind, value, place)


def _check_model(model: str, value: Mapping[str, Any], place: str, depth: int) -> None:
    for name, kind in all_properties(model).items():
        if name in value:
            _check_shape(kind, value[name], f"{place}.{name}", depth + 1)
        elif kind.endswith("!") and not kind.startswith("-"):
            raise _DamageError(f"{place} has no {name}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and read_time(value) is not None


def _is_duration(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    read_duration(value)
    return True


_SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str) and "\0" not in value,
    "bytes": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": _is_whole,
    "long": _is_whole,
    "double": lambda value: isinstance(value, int | float) and not isinstance(value, bool),
    "datetime": _is_time,
    "duration": _is_duration,
    "any": lambda _: True,
}


def _check_scalar(kind: str, value: Any, place: str) -> None:
    try:
        right = _SCALARS[kind](value)
    except ValueError:
        right = False
    if not right:
        raise _DamageError(f"{place} is not of type {kind}")


def _is_lost(row: Mapping[str, Any]) -> bool:
    """Whether a task cannot be identified, so that it cannot fail either."""
    identity = [row[name] for name in ("job", "job_id", "key", "id")]
    return (
        not all(isinstance(value, str) and value for value in identity)
        or row["job"] != fold(row["job_id"])
        or row["key"] != fold(row["id"])
    )


def _command_line(body: Any) -> dict[str, str]:
    """The command line of a damaged body, if it can still be read."""
    try:
        line = json.loads(body)["commandLine"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    return {"commandLine": line} if isinstance(line, str) else {}
