"""Which tasks wait for which: a count on each waiting task, kept as others are satisfied.

A task is runnable when its ``waiting`` is 0, so the scheduler never looks at a blocked one.
"""

# ruff: noqa: S608 - only names and conditions of our own are joined in; values are bound
from __future__ import annotations

from collections.abc import Sequence

from batchspec.local.store.database import Database, fold

_LARGEST = 2**31 - 1
_MATCH = "((job = :job AND key = :key) OR (job = :job AND first <= :number AND last >= :number))"


def number_of(task_id: str) -> int | None:
    """The integer a task id stands for in a range (leading zeros ignored); ``None`` for others."""
    if not (task_id.isascii() and task_id.isdigit()):
        return None
    number = int(task_id)
    return number if number <= _LARGEST else None


class Dependencies:
    """The table ``dependency``."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def add(
        self, job: str, task: int, needs: Sequence[str], ranges: Sequence[tuple[int, int]]
    ) -> int:
        """Note what ``task`` depends on; return how much of it is not satisfied yet.

        Every integer of a range counts, whether or not its task exists yet.
        """
        waiting = 0
        for key in dict.fromkeys(map(fold, needs)):
            self._db.write(
                "INSERT INTO dependency (task, job, key) VALUES (?, ?, ?)", (task, job, key)
            )
            row = self._db.one(
                "SELECT 1 FROM task WHERE job = ? AND key = ? AND satisfied = 1", (job, key)
            )
            waiting += row is None
        for first, last in ranges:
            self._db.write(
                "INSERT INTO dependency (task, job, first, last) VALUES (?, ?, ?, ?)",
                (task, job, first, last),
            )
            row = self._db.one(
                "SELECT count(DISTINCT number) FROM task "
                "WHERE job = ? AND number BETWEEN ? AND ? AND satisfied = 1",
                (job, first, last),
            )
            waiting += last - first + 1 - (row[0] if row is not None else 0)
        return waiting

    def satisfy(self, task: int) -> None:
        """Task ``task`` has ended in a way that lets those run that wait for it."""
        self._shift(task, satisfied=True)

    def withdraw(self, task: int) -> None:
        """Task ``task`` runs again: those that wait for it wait again."""
        self._shift(task, satisfied=False)

    def _shift(self, task: int, *, satisfied: bool) -> None:
        row = self._db.one("SELECT job, key, number, satisfied FROM task WHERE seq = ?", (task,))
        if row is None or bool(row["satisfied"]) is satisfied:
            return
        number = row["number"]
        if number is not None and self._twin(row["job"], number, task):
            number = None
        values = {
            "job": row["job"],
            "key": row["key"],
            "number": number,
            "step": -1 if satisfied else 1,
        }
        self._db.write("UPDATE task SET satisfied = ? WHERE seq = ?", (int(satisfied), task))
        waiting = self._db.all(
            f"SELECT task, count(*) AS n FROM dependency WHERE {_MATCH} GROUP BY task",
            values,
        )
        for other in waiting:
            self._db.write(
                "UPDATE task SET waiting = waiting + ? WHERE seq = ?",
                (values["step"] * other["n"], other["task"]),
            )

    def _twin(self, job: str, number: int, task: int) -> bool:
        """Whether another id of the same number (``7``, ``007``) is satisfied already."""
        return (
            self._db.one(
                "SELECT 1 FROM task WHERE job = ? AND number = ? AND satisfied = 1 AND seq <> ?",
                (job, number, task),
            )
            is not None
        )
