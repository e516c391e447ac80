"""Tasks in the store, as the API sees them: add, read, list, change, ask to end, delete.

What a task does on a node is in :mod:`batchspec.local.store.runs`.
"""

# ruff: noqa: S608 - only names and conditions of our own are joined in; values are bound
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
    fold,
    from_column,
    from_json,
    from_optional,
    next_modified,
    to_column,
    to_json,
)
from batchspec.local.store.nodes import free_slots

_LARGEST = 2**31 - 1
_DEPENDS_ON = (
    "((job = :job AND key = :key) OR (job = :job AND first <= :number AND last >= :number))"
)


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
            f"SELECT task, count(*) AS n FROM dependency WHERE {_DEPENDS_ON} GROUP BY task",
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


# Read by place: looking columns up by name costs a page of a list half its time.
COLUMNS = (
    "seq, job_id, id, body, created, modified, state, state_since, previous_state, "
    "previous_since, slots, waiting, run, retry_count, requeue_count, last_retry, last_requeue, "
    "pool_id, node_id, directory, ending, started, ended, exit_code, result, failure, "
    "retain_until, cleaned, container"
)
_STATES = {str(state): state for state in TaskState}


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to add. ``needs`` are the ids, ``ranges`` the inclusive id ranges it depends on."""

    id: str
    body: Wire
    slots: int = 1
    needs: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class ResourceUse:
    """Of one task, or summed over those of a job: time waited, what was used, and retries."""

    waiting: timedelta
    usage: Usage
    retries: int


class Tasks:
    """The table ``task``, seen from the API."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._dependencies = Dependencies(database)

    def add(self, job: Job, new: Sequence[NewTask], now: datetime) -> list[Task | None]:
        """Add tasks to ``job``, in order, in one transaction; ``None`` where the id is taken."""
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
                made.append(_new(job, task, seq, waiting, now))
        return made

    def get(self, job_id: str, task_id: str) -> Task | None:
        """The task of that id in that job."""
        row = self._db.one(
            f"SELECT {COLUMNS} FROM task WHERE job = ? AND key = ?", (fold(job_id), fold(task_id))
        )
        return None if row is None else task_from_row(row)

    def page(self, job_id: str, page: Page = ALL_ROWS, *, bodies: bool = True) -> list[Task]:
        """Tasks of a job, by id; without ``bodies`` when those are not to be shown."""
        # Of two lower bounds an index serves the first: on the first page that of the condition.
        next_modified, values = ("key > ? AND", [page.after]) if page.after else ("", [])
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task WHERE job = ? AND {next_modified} ({page.where}) "
            "ORDER BY key LIMIT ?",
            (fold(job_id), *values, *page.values, page.limit),
        )
        return [task_from_row(row, bodies=bodies) for row in rows]

    def recent(self, pool_id: str, node_id: str, limit: int = 10) -> list[Task]:
        """The tasks a node started last, newest first."""
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task WHERE pool = ? AND node = ? ORDER BY started DESC LIMIT ?",
            (fold(pool_id), fold(node_id), limit),
        )
        return [task_from_row(row) for row in rows]

    def use_of_job(self, job_id: str, now: datetime) -> ResourceUse:
        """What the tasks of a job have used; reads all of them, and only when it is asked for."""
        return self._use("job = ? AND started IS NOT NULL", fold(job_id), now)

    def use_of_task(self, task: Task, now: datetime) -> ResourceUse:
        """What a task has used, in all its runs."""
        return self._use("seq = ?", task.seq, now)

    def _use(self, where: str, value: str | int, now: datetime) -> ResourceUse:
        """Of a run that goes on, it is known for how long it does."""
        row = self._db.one(
            "SELECT total(started - created), total(retry_count), total(running_time + "
            "iif(state = 'running' AND started < ?, ? - started, 0)), total(user_time), "
            f"total(kernel_time), total(bytes_read), total(bytes_written) FROM task WHERE {where}",
            (to_column(now), to_column(now), value),
        )
        waiting, retries, *times, read, written = (0.0,) * 7 if row is None else row
        running, user, kernel = (timedelta(microseconds=time) for time in times)
        usage = Usage(running, user, kernel, int(read), int(written))
        return ResourceUse(timedelta(microseconds=waiting), usage, int(retries))

    def update(self, task: Task, body: Wire, now: datetime) -> Task:
        """Replace the settings of a task (only its constraints can change)."""
        self._db.update(
            "task",
            {"body": to_json(body), "modified": to_column(next_modified(task.modified, now))},
            "seq = ?",
            (task.seq,),
        )
        return self._again(task)

    def end(self, task: Task, now: datetime, failure: Wire) -> Task:
        """A user ends a task: at once if it is active, else the engine is asked to.

        Raises:
            IllegalMoveError: it is completed.
        """
        stamp = to_column(now)
        modified = to_column(next_modified(task.modified, now))
        if task.state is TaskState.ACTIVE:
            columns: dict[str, object] = {
                "state": TaskState.COMPLETED,
                "state_since": stamp,
                "previous_state": task.state,
                "previous_since": to_column(task.state_since),
                "ended": stamp,
                "result": "failure",
                "failure": to_json(failure),
            }
        else:
            TASK.check(task.state, TaskState.ACTIVE)
            columns = {"ending": "terminate"}
        self._db.update("task", {**columns, "modified": modified}, "seq = ?", (task.seq,))
        return self._again(task)

    def reactivate(self, task: Task, now: datetime) -> Task:
        """A completed task becomes active again, with no retry used and no exit information.

        It is on no node any more (recorded), so the files it left there are doomed.
        """
        TASK.check(task.state, TaskState.ACTIVE)
        with self._db.transaction():
            self._dependencies.withdraw(task.seq)
            self._doom(task)
            self._db.update(
                "task",
                {
                    "state": TaskState.ACTIVE,
                    "state_since": to_column(now),
                    "previous_state": task.state,
                    "previous_since": to_column(task.state_since),
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
        return self._again(task)

    def delete(self, task: Task, now: datetime) -> None:
        """Forget a task; the run and the files it leaves on a node are doomed."""
        with self._db.transaction():
            if task.state in (TaskState.PREPARING, TaskState.RUNNING):
                free_slots(self._db, task, now, ran=0, succeeded=0)
            self._doom(task)
            self._db.write("DELETE FROM task WHERE seq = ?", (task.seq,))

    def _doom(self, task: Task) -> None:
        """Have the engine end what goes on of ``task`` and remove its files."""
        if "multiInstanceSettings" in task.body:
            self._db.write("DELETE FROM subtask WHERE task = ?", (task.seq,))
        if task.node_id and task.pool_id and task.directory and not task.cleaned:
            self._db.insert(
                "doomed",
                {
                    "pool_id": task.pool_id,
                    "node_id": task.node_id,
                    "directory": task.directory,
                    "task_seq": task.seq,
                    "run": task.run,
                },
            )

    def _again(self, task: Task) -> Task:
        row = self._db.one(f"SELECT {COLUMNS} FROM task WHERE seq = ?", (task.seq,))
        if row is None:
            raise LookupError(f"task {task.id} is gone")
        return task_from_row(row)


def _new(job: Job, task: NewTask, seq: int, waiting: int, now: datetime) -> Task:
    """The record of a task that was just inserted, without reading it back."""
    return Task(
        seq=seq,
        job_id=job.id,
        id=task.id,
        body=task.body,
        created=now,
        modified=now,
        state=TaskState.ACTIVE,
        state_since=now,
        previous_state=None,
        previous_since=None,
        slots=task.slots,
        waiting=waiting,
        run=0,
        retry_count=0,
        requeue_count=0,
        last_retry=None,
        last_requeue=None,
        pool_id=None,
        node_id=None,
        directory=None,
        ending=None,
        started=None,
        ended=None,
        exit_code=None,
        result=None,
        failure=None,
        retain_until=None,
        cleaned=False,
        container=None,
    )


def task_from_row(row: Sequence[Any], *, bodies: bool = True) -> Task:
    """A :class:`Task` of a row of :data:`COLUMNS`; without ``bodies`` its body is empty."""
    seq, job_id, task_id, body, created, modified, state, since, previous, previous_since = row[:10]
    slots, waiting, run, retries, requeues, last_retry, last_requeue = row[10:17]
    pool_id, node_id, directory, ending, started, ended = row[17:23]
    exit_code, result, failure, retain_until, cleaned, container = row[23:]
    return Task(
        seq=seq,
        job_id=job_id,
        id=task_id,
        body=from_json(body) if bodies else {},
        created=from_column(created),
        modified=from_column(modified),
        state=_STATES[state],
        state_since=from_column(since),
        previous_state=None if previous is None else _STATES[previous],
        previous_since=from_optional(previous_since),
        slots=slots,
        waiting=waiting,
        run=run,
        retry_count=retries,
        requeue_count=requeues,
        last_retry=from_optional(last_retry),
        last_requeue=from_optional(last_requeue),
        pool_id=pool_id,
        node_id=node_id,
        directory=directory,
        ending=ending,
        started=from_optional(started),
        ended=from_optional(ended),
        exit_code=exit_code,
        result=result,
        failure=from_json(failure),
        retain_until=from_optional(retain_until),
        cleaned=bool(cleaned),
        container=from_json(container),
    )
