"""Damaged records: the service sets aside records that it cannot read.

A check costs more than the read of a record. Therefore reads do not check records; the service
checks all records after an unexpected error. A damaged task fails. Any other damaged record is
removed, as if its object had been deleted. The table ``damaged`` keeps the original values.
"""

# ruff: noqa: S608 - only names of this package are joined in; values are bound
from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchspec.local.store.database import Database, fold, to_column, to_json
from batchspec.local.store.record_check import (
    COLUMN_TYPES,
    RECORD_TABLES,
    Column,
    Damage,
    check_record,
    is_text,
    is_whole,
)
from batchspec.local.store.tasks import number_of
from batchspec.local.wire import UNLIMITED

_KEYS = {
    "subtask": ("task", "number"),
    "scaling": ("pool",),
    "sample": ("pool", "at"),
    "resources": ("pool",),
}
"""The primary keys of the tables without ``seq``."""


class DamagedRecords:
    """Finds damaged records and sets them aside."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def set_aside(self, now: datetime) -> list[Damage]:
        """Set aside and return all damaged records. Reads the whole database."""
        with self._db.transaction():
            found = [
                (table, columns, damage, dict(row))
                for table in RECORD_TABLES
                for columns in (self._columns(table),)
                for row in self._db.scan(f"SELECT {', '.join(columns)} FROM {table}")
                if (damage := check_record(table, columns, row)) is not None
            ]
            for table, columns, damage, row in found:
                self._keep(damage, row, now)
                if table == "task" and not _is_lost(row):
                    self._fail(columns, row, damage, now)
                else:
                    self._remove(table, row)
            self._correct_counts(now)
            return [damage for _, _, damage, _ in found]

    def _columns(self, table: str) -> dict[str, Column]:
        """The stored columns. Generated columns are unreadable if their source is damaged."""
        rows = self._db.scan(f"PRAGMA table_info({table})")
        return {
            row["name"]: Column(COLUMN_TYPES[row["type"]], required=bool(row["notnull"]))
            for row in rows
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

    def _fail(
        self, columns: Mapping[str, Column], row: Mapping[str, Any], damage: Damage, now: datetime
    ) -> None:
        """Replace the damaged values of a task, and end it with a failure."""
        empty = {
            name: 0 if column.required else None
            for name, column in columns.items()
            if name != "seq" and not (column.required and column.type is str)
        }
        failure = {
            "category": "ServerError",
            "code": "Unknown",
            "message": "The stored record of the task is damaged",
            "details": [{"name": "Message", "value": damage.reason}],
        }
        self._db.update(
            "task",
            {
                **empty,
                **{name: to_column(now) for name in ("created", "modified", "state_since")},
                "number": number_of(row["id"]),
                "run": row["run"] if is_whole(row["run"]) and row["run"] >= 0 else 0,
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
        bound = {name: _bindable(row[name]) for name in names}
        where = " AND ".join(
            f"{name} IS ?" if value is row[name] else f"CAST({name} AS BLOB) IS ?"
            for name, value in bound.items()
        )
        self._db.write(f"DELETE FROM {table} WHERE {where}", tuple(bound.values()))
        for sql in _FOLLOWING.get(table, ()):
            self._db.write(sql, {"key": _bindable(row["key"])})

    def _correct_counts(self, now: datetime) -> None:
        """Count tasks and runs again, and resize the pools that have lost nodes."""
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
"""The changes that follow the removal of a record; tasks of a lost node become active again."""

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


def _is_lost(row: Mapping[str, Any]) -> bool:
    """Whether a task has no valid id; the service removes such a task."""
    identity = [row[name] for name in ("job", "job_id", "key", "id")]
    return (
        not all(isinstance(value, str) and value and is_text(value) for value in identity)
        or row["job"] != fold(row["job_id"])
        or row["key"] != fold(row["id"])
    )


def _command_line(body: Any) -> dict[str, str]:
    """The command line of a damaged body, if it is readable."""
    try:
        line = json.loads(body)["commandLine"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return {}
    sound = isinstance(line, str) and is_text(line) and "\0" not in line
    return {"commandLine": line} if sound else {}


def _bindable(value: Any) -> Any:
    """The value as a parameter of SQL; text that is not UTF-8 becomes bytes."""
    if isinstance(value, str) and not is_text(value):
        return value.encode(errors="surrogateescape")
    return value
