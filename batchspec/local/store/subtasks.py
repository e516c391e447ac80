"""The subtasks of multi-instance tasks in the store: one row for each node but the primary's.

A row tells of the latest run of its task. It goes with its task, and when the task is active again;
a trigger sees to what it leaves on its node.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import datetime

from batchspec.local.model.record import Node, Subtask, Task, Wire
from batchspec.local.store.database import Database, fold, from_json, to_json
from batchspec.local.store.slots import take


class Subtasks:
    """The table ``subtask``."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, task: Task, nodes: Sequence[Node], info: Wire, now: datetime) -> None:
        """The subtasks of a run begin, one on each of ``nodes``, whose slots are taken."""
        with self._db.transaction():
            for number, node in enumerate(nodes, start=1):
                self._db.insert(
                    "subtask",
                    {
                        "task": task.seq,
                        "number": number,
                        "pool": fold(node.pool_id),
                        "pool_id": node.pool_id,
                        "node": fold(node.id),
                        "node_id": node.id,
                        "directory": task.directory,
                        "state": "running",
                        "info": to_json(info),
                        "run": task.run,
                    },
                )
                take(self._db, fold(node.pool_id), fold(node.id), task.slots, now)

    def again(self, task: Task, info: Wire) -> None:
        """The task is retried, and with it its subtasks, where they are."""
        values = {"state": "running", "info": to_json(info), "run": task.run}
        self._db.update("subtask", values, "task = ?", (task.seq,))

    def note(self, task: Task, number: int, info: Wire) -> None:
        """What a subtask has come to, at the end of its task."""
        where = "task = ? AND number = ?"
        self._db.update("subtask", {"info": to_json(info)}, where, (task.seq, number))

    def of(self, task: Task) -> list[Subtask]:
        """The subtasks of a task, by number."""
        rows = self._db.all("SELECT * FROM subtask WHERE task = ? ORDER BY number", (task.seq,))
        return [_read(row) for row in rows]


def _read(row: sqlite3.Row) -> Subtask:
    return Subtask(
        number=row["number"],
        pool_id=row["pool_id"],
        node_id=row["node_id"],
        directory=row["directory"],
        state=row["state"],
        info=from_json(row["info"]),
    )
