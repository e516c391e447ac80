"""Tasks and their dependencies in the store, for the API: add, read, list, change, end, delete.

The runs of a task on nodes are in :mod:`batchspec.local.store.runs`.
"""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from batchspec.local.model import TASK, Job, Task, TaskState, Usage, Wire
from batchspec.local.store.database import (
    ALL_ROWS,
    Database,
    Page,
    conversions,
    fold,
    next_modified,
    state_columns,
    to_column,
    to_json,
)
from batchspec.local.store.nodes import free_slots

_LARGEST = 2**31 - 1
_DEPENDS_ON = (
    "((job = :job AND key = :key) OR (job = :job AND first <= :number AND last >= :number))"
)


def number_of(task_id: str) -> int | None:
    """The number of a task id in an id range, without leading zeros; ``None`` for other ids."""
    if not (task_id.isascii() and task_id.isdigit()):
        return None
    number = int(task_id)
    return number if number <= _LARGEST else None


class Dependencies:
    """The table ``dependency``, and the count of unmet dependencies (``waiting``) of each task.

    A task is runnable when ``waiting`` is 0, so that the scheduler never reads blocked tasks.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("dependency")

    def add(
        self, job: str, task: int, needs: Sequence[str], ranges: Sequence[tuple[int, int]]
    ) -> int:
        """Add the dependencies of ``task``; return the number of unmet dependencies.

        Every integer of a range counts, even if no task with this id exists yet.
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

    def exist(self) -> bool:
        """Whether any task has dependencies."""
        sql = "SELECT 1 FROM dependency LIMIT 1"
        return bool(self._kept.rows("any", lambda: self._db.all(sql)))

    def satisfy(self, task: int) -> None:
        """Record that the end of ``task`` satisfies its dependent tasks."""
        self._shift(task, satisfied=True)

    def withdraw(self, task: int) -> None:
        """Record that ``task`` runs again: its dependent tasks wait again."""
        self._shift(task, satisfied=False)

    def _shift(self, task: int, *, satisfied: bool) -> None:
        row = self._db.one("SELECT job, key, number, satisfied FROM task WHERE seq = ?", (task,))
        if row is None or bool(row["satisfied"]) is satisfied:
            return
        number = row["number"]
        if number is not None and self._has_equal_number(row["job"], number, task):
            number = None
        values = {
            "job": row["job"],
            "key": row["key"],
            "number": number,
            "step": -1 if satisfied else 1,
        }
        self._db.write("UPDATE task SET satisfied = ? WHERE seq = ?", (int(satisfied), task))
        waiting = self._db.all(
            f"SELECT task, count(*) AS n FROM dependency WHERE {_DEPENDS_ON} GROUP BY task",
            values,
        )
        for other in waiting:
            self._db.write(
                "UPDATE task SET waiting = waiting + ? WHERE seq = ?",
                (values["step"] * other["n"], other["task"]),
            )

    def _has_equal_number(self, job: str, number: int, task: int) -> bool:
        """Whether another id with the same number (``7``, ``007``) is already satisfied."""
        return (
            self._db.one(
                "SELECT 1 FROM task WHERE job = ? AND number = ? AND satisfied = 1 AND seq <> ?",
                (job, number, task),
            )
            is not None
        )


# Columns are read by position: access by name takes half of the time of a list page.
_COLUMNS, _CONVERSIONS = zip(*conversions(Task), strict=True)
COLUMNS = ", ".join(_COLUMNS)


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to add. It depends on the ids ``needs`` and on the inclusive id ranges ``ranges``."""

    id: str
    body: Wire
    slots: int = 1
    needs: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """Waiting time, resource usage and retries of one task, or the sums over a job."""

    waiting: timedelta
    usage: Usage
    retries: int


class Tasks:
    """The table ``task`` for the API."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._dependencies = Dependencies(database)

    def add(self, job: Job, new: Sequence[NewTask], now: datetime) -> list[Task | None]:
        """Add tasks to ``job`` in order, in one transaction; ``None`` where the id exists."""
        stamp = to_column(now)
        made: list[Task | None] = []
        with self._db.transaction():
            for task in new:
                cursor = self._db.write(
                    "INSERT INTO task (job, job_id, key, id, number, body, created, modified, "
                    "state_since, slots) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (job, key) DO NOTHING",
                    (
                        fold(job.id),
                        job.id,
                        fold(task.id),
                        task.id,
                        number_of(task.id),
                        to_json(task.body),
                        stamp,
                        stamp,
                        stamp,
                        task.slots,
                    ),
                )
                if cursor.rowcount == 0:
                    made.append(None)
                    continue
                seq = cursor.lastrowid or 0
                waiting = self._dependencies.add(fold(job.id), seq, task.needs, task.ranges)
                if waiting:
                    self._db.write("UPDATE task SET waiting = ? WHERE seq = ?", (waiting, seq))
                state = TaskState.ACTIVE
                made.append(
                    Task(
                        *(seq, job.id, task.id, task.body, now, now, state, now),
                        slots=task.slots,
                        waiting=waiting,
                    )
                )
        return made

    def get(self, job_id: str, task_id: str) -> Task | None:
        """The task with this id in this job."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM task WHERE job = ? AND key = ?", (fold(job_id), fold(task_id))
        )
        return None if row is None else task_from_row(row)

    def page(self, job_id: str, page: Page = ALL_ROWS, *, bodies: bool = True) -> list[Task]:
        """Tasks of a job, by id; without ``bodies`` the settings are empty."""
        columns = COLUMNS if bodies else COLUMNS.replace(" body,", " '{}',", 1)
        return [task_from_row(row) for row in self._page(columns, job_id, page)]

    def states(self, job_id: str, page: Page) -> Sequence[tuple[str, str]]:
        """The ids and states of tasks of a job, by id."""
        return [(task_id, state) for task_id, state in self._page("id, state", job_id, page)]

    def _page(self, columns: str, job_id: str, page: Page) -> Sequence[Sequence[Any]]:
        # SQLite uses an index for the first of two lower bounds. The first page has only the lower
        # bound of the filter.
        after, values = ("key > ? AND", [page.after]) if page.after else ("", [])
        return self._db.all(
            f"SELECT {columns} FROM task WHERE job = ? AND {after} ({page.where}) "
            "ORDER BY key LIMIT ?",
            (fold(job_id), *values, *page.values, page.limit),
        )

    def recent(self, pool_id: str, node_id: str) -> list[Task]:
        """The last ten tasks that were started on a node, newest first."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task WHERE pool = ? AND node = ? "
            "ORDER BY started DESC LIMIT 10",
            (fold(pool_id), fold(node_id)),
        )
        return [task_from_row(row) for row in rows]

    def use_of_job(self, job_id: str, now: datetime) -> ResourceUse:
        """The resource usage of a job; reads all its tasks."""
        return self._use("job = ? AND started IS NOT NULL", fold(job_id), now)

    def use_of_task(self, task: Task, now: datetime) -> ResourceUse:
        """The resource usage of all runs of a task."""
        return self._use("seq = ?", task.seq, now)

    def _use(self, where: str, value: str | int, now: datetime) -> ResourceUse:
        """The sums over rows; a run in progress counts with its elapsed time."""
        row = self._db.one(
            "SELECT total(started - created), total(retry_count), total(running_time + "
            "iif(state = 'running' AND started < ?, ? - started, 0)), total(user_time), "
            "total(kernel_time), total(bytes_read), total(bytes_written), total(read_calls), "
            f"total(write_calls) FROM task WHERE {where}",
            (to_column(now), to_column(now), value),
        )
        waiting, retries, *used = (0.0,) * 9 if row is None else row
        running, user, kernel = (timedelta(microseconds=time) for time in used[:3])
        usage = Usage(running, user, kernel, *map(int, used[3:]))
        return ResourceUse(timedelta(microseconds=waiting), usage, int(retries))

    def update(self, task: Task, body: Wire, now: datetime) -> Task:
        """Replace the settings of a task; only its constraints can change."""
        self._db.update(
            "task",
            {"body": to_json(body), "modified": to_column(next_modified(task.modified, now))},
            "seq = ?",
            (task.seq,),
        )
        return self._reread(task)

    def end(self, task: Task, now: datetime, failure: Wire) -> Task:
        """End a task for a user: immediately if it is active, else by a request to the engine.

        Raises:
            IllegalTransitionError: the task is completed.
        """
        stamp = to_column(now)
        modified = to_column(next_modified(task.modified, now))
        if task.state is TaskState.ACTIVE:
            columns: dict[str, object] = {
                **state_columns(task, TaskState.COMPLETED, now),
                "ended": stamp,
                "result": "failure",
                "failure": to_json(failure),
            }
        else:
            TASK.check(task.state, TaskState.ACTIVE)
            columns = {"ending": "terminate"}
        self._db.update("task", {**columns, "modified": modified}, "seq = ?", (task.seq,))
        return self._reread(task)

    def reactivate(self, task: Task, now: datetime) -> Task:
        """Make a completed task active again, without retries and exit information.

        The task is no longer on a node (recorded), so its files on the node are deleted.
        """
        TASK.check(task.state, TaskState.ACTIVE)
        with self._db.transaction():
            self._dependencies.withdraw(task.seq)
            self._schedule_deletion(task)
            self._db.update(
                "task",
                {
                    **state_columns(task, TaskState.ACTIVE, now),
                    "modified": to_column(next_modified(task.modified, now)),
                    "retry_count": 0,
                    "pool": None,
                    "pool_id": None,
                    "node": None,
                    "node_id": None,
                    "directory": None,
                    "started": None,
                    "ended": None,
                    "exit_code": None,
                    "result": None,
                    "failure": None,
                    "container": None,
                    "retain_until": None,
                },
                "seq = ?",
                (task.seq,),
            )
        return self._reread(task)

    def delete(self, task: Task, now: datetime) -> None:
        """Delete a task, its run and its files on a node."""
        with self._db.transaction():
            if task.state in (TaskState.PREPARING, TaskState.RUNNING):
                free_slots(self._db, task, now, ran=0, succeeded=0)
            self._schedule_deletion(task)
            self._db.write("DELETE FROM task WHERE seq = ?", (task.seq,))

    def _schedule_deletion(self, task: Task) -> None:
        """Request that the engine ends the run of ``task`` and deletes its files."""
        if "multiInstanceSettings" in task.body:
            self._db.write("DELETE FROM subtask WHERE task = ?", (task.seq,))
        if task.node_id and task.pool_id and task.directory and not task.cleaned:
            self._db.insert(
                "pending_deletion",
                {
                    "pool_id": task.pool_id,
                    "node_id": task.node_id,
                    "directory": task.directory,
                    "task_seq": task.seq,
                    "run": task.run,
                },
            )

    def _reread(self, task: Task) -> Task:
        row = self._db.one(f"SELECT {COLUMNS} FROM task WHERE seq = ?", (task.seq,))
        if row is None:
            raise LookupError(f"task {task.id} does not exist")
        return task_from_row(row)


def task_from_row(row: Sequence[Any]) -> Task:
    """The task of a row with :data:`COLUMNS`."""
    return Task(
        *[
            value if convert is None else convert(value)
            for value, convert in zip(row, _CONVERSIONS, strict=True)
        ]
    )
