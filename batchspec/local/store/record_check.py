"""The requirements on every stored record, and the check of one record.

A record is damaged if it cannot be read, or if the type of a value differs from the type that
readers expect.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchspec.local.model import (
    AllocationState,
    CertificateState,
    JobState,
    NodeState,
    PoolState,
    ScheduleState,
    TaskState,
)
from batchspec.local.store.database import fold
from batchspec.local.wire import all_properties, read_duration, read_time

_END_OF_TIME = 253_402_300_800_000_000
"""The first microsecond of the year 10000."""
_MAX_DEPTH = 40
"""Levels of a JSON value; the deepest model of the protocol has fewer than ten."""


class _DamageError(Exception):
    """A value does not meet a requirement; the text names the location of the value."""


@dataclass(frozen=True, slots=True)
class _Table:
    """The requirements on the values of a table, in addition to the types of its columns.

    ``name`` is the column that names a record. ``models`` are the wire models of JSON columns, in
    brackets for lists. ``complete`` are the required properties of stored bodies, by the path of
    their object. ``folded`` pairs a key column with the column of its id.
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

RECORD_TABLES: Mapping[str, _Table] = {
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
        "target_dedicated target_spot resize node_time",
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
        "bytes_written read_calls write_calls",
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
    "log_upload": _Table("node_id", counts="identity"),
    "certificate": _Table(
        "thumbprint",
        {"error": "any"},
        {},
        {"state": CertificateState, "previous_state": CertificateState},
        "state_since previous_since",
    ),
    "scaling": _Table("pool", times="since due sample_due"),
    "sample": _Table("pool", {"metrics": "any"}, times="at"),
    "resources": _Table(
        "pool",
        times="since until",
        counts="measured busy ticks memory peak_memory disk peak_disk disk_reads disk_writes "
        "disk_read disk_written network_in network_out",
    ),
}


@dataclass(frozen=True, slots=True)
class Damage:
    """A damaged record: its table, the name of its object, and the reason."""

    table: str
    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Column:
    """The type of a column's values; a ``required`` column has no NULL."""

    type: type
    required: bool


COLUMN_TYPES: Mapping[str, type] = {"TEXT": str, "INTEGER": int}


def check_record(table: str, columns: Mapping[str, Column], row: sqlite3.Row) -> Damage | None:
    """The damage of a row; ``None`` for an undamaged row."""
    spec = RECORD_TABLES[table]
    try:
        _check_types(columns, row)
        _check_values(spec, row)
        _check_json(spec, row)
    except _DamageError as error:
        name = str(row[spec.name])[:100]
        return Damage(table, name.encode(errors="backslashreplace").decode(), str(error))
    return None


def _check_types(columns: Mapping[str, Column], row: sqlite3.Row) -> None:
    for name, column in columns.items():
        value = row[name]
        if value is None:
            if column.required:
                raise _DamageError(f"{name} is missing")
        elif not isinstance(value, column.type):
            raise _DamageError(f"{name} is not of type {column.type.__name__}")
        elif isinstance(value, str) and not is_text(value):
            raise _DamageError(f"{name} is not UTF-8")


def is_text(value: str) -> bool:
    """Whether a value is Unicode text. Invalid bytes are read as surrogates."""
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


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and read_time(value) is not None


def _is_duration(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    read_duration(value)
    return True


_SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str) and "\0" not in value and is_text(value),
    "bytes": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool),
    "int": is_whole,
    "long": is_whole,
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
