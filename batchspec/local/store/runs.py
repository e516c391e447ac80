"""Task runs in the store: start, outcome, and the directories to delete.

A write checks that the given run is still the current run: the task can end, become active again or
be deleted after the engine has read it. In this case nothing is written, and the method returns
``None``. The slots of the node change in the same transaction.
"""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from batchspec.local.model import (
    NO_USAGE,
    TASK,
    Node,
    PendingDeletion,
    Subtask,
    Task,
    TaskState,
    Usage,
    Wire,
)
from batchspec.local.store.database import (
    Database,
    fold,
    from_column,
    from_optional,
    record_reader,
    state_columns,
    to_column,
    to_json,
    to_microseconds,
    to_optional,
)
from batchspec.local.store.nodes import free_slots, take_slots
from batchspec.local.store.tasks import COLUMNS, Dependencies, task_from_row


class Subtasks:
    """The table ``subtask``: a row for each node of a multi-instance task except the primary node.

    A row describes the latest run of its task. It is deleted with its task, or when the task
    becomes active again; a trigger then schedules the deletion of its files.
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, task: Task, nodes: Sequence[Node], info: Wire, now: datetime) -> None:
        """Start the subtasks of a run, one on each of ``nodes``, and take the slots."""
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
                take_slots(self._db, fold(node.pool_id), fold(node.id), task.slots, now)

    def restart(self, task: Task, info: Wire) -> None:
        """Record a retry of the task, which also retries its subtasks on their nodes."""
        values = {"state": "running", "info": to_json(info), "run": task.run}
        self._db.update("subtask", values, "task = ?", (task.seq,))

    def complete(self, task: Task, number: int, info: Wire) -> None:
        """Set the info of a subtask at the end of its task."""
        where = "task = ? AND number = ?"
        self._db.update("subtask", {"info": to_json(info)}, where, (task.seq, number))

    def of(self, task: Task) -> list[Subtask]:
        """The subtasks of a task, by number."""
        rows = self._db.all("SELECT * FROM subtask WHERE task = ? ORDER BY number", (task.seq,))
        return [_read(row) for row in rows]


_read = record_reader(Subtask)


_LIVE = "state IN ('preparing', 'running')"


_RUN = "run of a task"
"""The change of a task by its run: it needs no request to end the run, and has no expired files."""
_BEGIN = """
UPDATE task SET state = ?, state_since = ?, previous_state = 'active',
    previous_since = state_since, run = run + 1, pool = ?, pool_id = ?, node = ?, node_id = ?,
    directory = ?, ending = NULL, started = ?, ended = NULL, exit_code = NULL, result = NULL,
    failure = NULL, container = NULL, retain_until = NULL, cleaned = 0
WHERE seq = ? AND run = ? AND state = 'active'
    AND EXISTS (SELECT 1 FROM job WHERE job.key = task.job AND job.state = 'active')
    AND EXISTS (SELECT 1 FROM node WHERE node.pool = ? AND node.key = ?
        AND node.running_slots + task.slots <= node.slots)
"""
_FINISH = f"""
UPDATE task SET state = 'completed', state_since = ?, previous_state = ?, previous_since = ?,
    started = ifnull(?, started), ended = ?, exit_code = ?, result = ?, failure = ?,
    container = ?, retain_until = ?, ending = NULL, satisfied = max(satisfied, ?),
    running_time = running_time + ?, user_time = user_time + ?, kernel_time = kernel_time + ?,
    bytes_read = bytes_read + ?, bytes_written = bytes_written + ?,
    read_calls = read_calls + ?, write_calls = write_calls + ?
WHERE seq = ? AND run = ? AND {_LIVE}
"""


class Runs:
    """The table ``task`` for the engine, and the table ``pending_deletion``."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("task")
        self._kept_deletions = database.kept("pending_deletion")
        self._dependencies = Dependencies(database)

    # --- runnable and running tasks

    def runnable(
        self, job_id: str, limit: int, largest: int, skip: Sequence[int] = ()
    ) -> list[Task]:
        """The next active tasks of a job without unmet dependencies, oldest first.

        Returns at most ``limit`` tasks. ``largest`` is the largest number of free slots on one
        node: tasks that need more slots are omitted. ``skip`` are the ``seq`` of tasks that the
        caller cannot place. An index excludes blocked and finished tasks from the read.
        """
        marks = ", ".join("?" * len(skip))
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task INDEXED BY task_runnable WHERE job = ? "
            f"AND state = 'active' AND waiting = 0 AND slots <= ? AND seq NOT IN ({marks}) "
            "ORDER BY seq LIMIT ?",
            (fold(job_id), largest, *skip, limit),
        )
        return [task_from_row(row) for row in rows]

    def live(self, job_id: str | None = None) -> list[Task]:
        """Preparing and running tasks, of a job or all; the slots of the nodes limit them."""
        if job_id is None:
            rows = self._db.all(
                f"SELECT {COLUMNS} FROM task INDEXED BY task_on_node WHERE {_LIVE} ORDER BY seq"
            )
        else:
            rows = self._db.all(
                f"SELECT {COLUMNS} FROM task WHERE job = ? AND {_LIVE} ORDER BY seq",
                (fold(job_id),),
            )
        return [task_from_row(row) for row in rows]

    def live_on(self, node: Node) -> list[Task]:
        """Tasks that are preparing or running on a node, or have a running subtask on it."""
        place = (fold(node.pool_id), fold(node.id))
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task WHERE pool = ? AND node = ? AND {_LIVE} UNION "
            f"SELECT {COLUMNS} FROM task WHERE seq IN (SELECT task FROM subtask "
            f"WHERE pool = ? AND node = ? AND state = 'running') AND {_LIVE} ORDER BY seq",
            (*place, *place),
        )
        return [task_from_row(row) for row in rows]

    def preparing_on(self, node: Node, job_id: str) -> list[Task]:
        """Tasks of a job that wait on a node for the job preparation task."""
        return [
            task
            for task in self.live_on(node)
            if task.state is TaskState.PREPARING and fold(task.job_id) == fold(job_id)
        ]

    def retained(self, node: Node) -> bool:
        """Whether a node has files of completed tasks."""
        row = self._db.one(
            "SELECT 1 FROM task WHERE pool = ? AND node = ? AND state = 'completed' "
            "AND cleaned = 0 LIMIT 1",
            (fold(node.pool_id), fold(node.id)),
        )
        return row is not None

    def ending(self) -> list[Task]:
        """Tasks on nodes that the engine must end (:attr:`Task.ending`)."""
        if not self._has_ending():
            return []
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task INDEXED BY task_ending "
            f"WHERE ending IS NOT NULL AND {_LIVE} ORDER BY seq"
        )
        return [task_from_row(row) for row in rows]

    def requested_end(self, task: Task) -> str | None:
        """How the engine must end a task (:attr:`Task.ending`); ``None`` once it is deleted."""
        if not self._has_ending():
            return None
        row = self._db.one("SELECT ending FROM task WHERE seq = ?", (task.seq,))
        return None if row is None else row[0]

    def _has_ending(self) -> bool:
        sql = "SELECT 1 FROM task INDEXED BY task_ending WHERE ending IS NOT NULL LIMIT 1"
        return bool(self._kept.rows("ending", lambda: self._db.all(sql)))

    def get(self, seq: int) -> Task | None:
        """The task with this ``seq``; ``None`` once it is deleted."""
        row = self._db.one(f"SELECT {COLUMNS} FROM task WHERE seq = ?", (seq,))
        return None if row is None else task_from_row(row)

    # --- changes of a run

    def begin(
        self,
        task: Task,
        node: Node,
        directory: str,
        now: datetime,
        state: TaskState = TaskState.RUNNING,
    ) -> Task | None:
        """Start a run of an active task on ``node``, in state ``preparing`` or ``running``.

        ``directory`` is relative to the node's root. The run takes the slots of the node; an idle
        node becomes ``running``. ``None`` if the task or its job is no longer active, or the node
        has too few free slots.
        """
        TASK.check(TaskState.ACTIVE, state)
        stamp = to_column(now)
        pool, key = fold(node.pool_id), fold(node.id)
        places = (pool, node.pool_id, key, node.id, directory)
        values = (state, stamp, *places, stamp, task.seq, task.run, pool, key)
        with self._db.transaction():
            if not self._db.write(_BEGIN, values, change=_RUN).rowcount:
                return None
            take_slots(self._db, pool, key, task.slots, now)
        since = from_column(stamp)
        return replace(
            task,
            state=state,
            state_since=since,
            previous_state=TaskState.ACTIVE,
            previous_since=task.state_since,
            run=task.run + 1,
            pool_id=node.pool_id,
            node_id=node.id,
            directory=directory,
            ending=None,
            started=since,
            ended=None,
            exit_code=None,
            result=None,
            failure=None,
            retain_until=None,
            cleaned=False,
            container=None,
        )

    def start_prepared(self, task: Task, now: datetime) -> Task | None:
        """Change a task from ``preparing`` to ``running`` after the job preparation task."""
        changed = self._db.update(
            "task",
            {
                "state": TaskState.RUNNING,
                "state_since": to_column(now),
                "previous_state": TaskState.PREPARING,
                "previous_since": to_column(task.state_since),
                "started": to_column(now),
            },
            "seq = ? AND run = ? AND state = 'preparing'",
            (task.seq, task.run),
        )
        return self.get(task.seq) if changed else None

    def finish(
        self,
        task: Task,
        now: datetime,
        *,
        started: datetime | None,
        ended: datetime,
        exit_code: int | None,
        failure: Wire | None,
        satisfies: bool,
        retain_until: datetime | None,
        container: Wire | None = None,
        usage: Usage = NO_USAGE,
    ) -> bool:
        """Complete a task with its result and the usage of the run; free the slots of its node.

        A ``failure``, in wire form, makes the result ``failure``. ``satisfies`` lets dependent
        tasks run. False, and without effect, if the run is not the current run.
        """
        expiry, dependencies = to_optional(retain_until), self._dependencies.exist()
        values = (
            to_column(now),
            task.state,
            to_column(task.state_since),
            to_optional(started),
            to_column(ended),
            exit_code,
            "success" if failure is None else "failure",
            None if failure is None else to_json(failure),
            None if container is None else to_json(container),
            expiry,
            int(satisfies and not dependencies),
            *_usage_columns(usage),
            *_run(task),
        )
        with self._db.transaction():
            if not self._db.write(_FINISH, values, change=_RUN).rowcount:
                return False
            self._note_expiry(expiry)
            free_slots(self._db, task, now, ran=1, succeeded=int(failure is None))
            if "multiInstanceSettings" in task.body:
                over = {"state": TaskState.COMPLETED}
                self._db.update("subtask", over, "task = ?", (task.seq,))
            if satisfies and dependencies:
                self._dependencies.satisfy(task.seq)
        return True

    def add_usage(self, task: Task, usage: Usage) -> None:
        """Add the usage of a run to its task before the task runs again."""
        self._db.write(
            "UPDATE task SET running_time = running_time + ?, user_time = user_time + ?, "
            "kernel_time = kernel_time + ?, bytes_read = bytes_read + ?, "
            "bytes_written = bytes_written + ?, read_calls = read_calls + ?, "
            f"write_calls = write_calls + ? WHERE seq = ? AND run = ? AND {_LIVE}",
            (*_usage_columns(usage), *_run(task)),
            change=_RUN,
        )

    def retry(self, task: Task, now: datetime) -> Task | None:
        """Retry a failed run on the same node; the task keeps its slots.

        A new run starts immediately (``retryCount`` + 1), and its start time becomes the start time
        of the task (contract 20). ``None`` if the run is not the current run.
        """
        changed = self._db.update(
            "task",
            {
                "retry_count": task.retry_count + 1,
                "last_retry": to_column(now),
                "started": to_column(now),
                "run": task.run + 1,
            },
            f"seq = ? AND run = ? AND {_LIVE}",
            _run(task),
        )
        return self.get(task.seq) if changed else None

    def requeue(self, task: Task, now: datetime, *, counted: bool = True) -> Task | None:
        """Make a task active again after the early end of a run, without a node.

        ``counted`` increases ``requeueCount``. ``None`` if the run is not the current run. The
        files of the run stay on the node until the task runs on the node again or is deleted.
        """
        count = {"requeue_count": task.requeue_count + 1, "last_requeue": to_column(now)}
        with self._db.transaction():
            changed = self._db.update(
                "task",
                {
                    **state_columns(task, TaskState.ACTIVE, now),
                    **(count if counted else {}),
                    "pool": None,
                    "pool_id": None,
                    "node": None,
                    "node_id": None,
                    "directory": None,
                    "ending": None,
                    "started": None,
                },
                f"seq = ? AND run = ? AND {_LIVE}",
                _run(task),
            )
            if not changed:
                return None
            free_slots(self._db, task, now, ran=0, succeeded=0)
            if "multiInstanceSettings" in task.body:
                self._db.write("DELETE FROM subtask WHERE task = ?", (task.seq,))
            return self.get(task.seq)

    def request_end(self, task: Task, how: str) -> None:
        """Request the end of a live task: ``terminate`` or ``requeue``. The first request wins."""
        where = f"seq = ? AND ending IS NULL AND {_LIVE}"
        self._db.update("task", {"ending": how}, where, (task.seq,))

    # --- directories to delete

    def pending_deletions(self, limit: int = 100) -> list[PendingDeletion]:
        """The directories to delete and the runs that may still write to them, oldest first."""
        sql = "SELECT * FROM pending_deletion ORDER BY seq LIMIT ?"
        rows = self._kept_deletions.rows("pending", lambda: self._db.all(sql, (limit,)))
        return [PendingDeletion(*row) for row in rows]

    def deletion_done(self, deletion: PendingDeletion) -> None:
        """Remove the request of a deletion that is done."""
        self._db.write("DELETE FROM pending_deletion WHERE seq = ?", (deletion.seq,))

    def expired(self, now: datetime) -> list[Task]:
        """Completed tasks whose ``retentionTime`` has passed and whose files exist; at most 100."""
        expiry = self.next_expiry()
        if expiry is None or expiry > now:
            return []
        rows = self._db.all(
            f"SELECT {COLUMNS} FROM task WHERE retain_until IS NOT NULL AND retain_until <= ? "
            "ORDER BY retain_until LIMIT 100",
            (to_column(now),),
        )
        return [task_from_row(row) for row in rows]

    def files_deleted(self, task: Task) -> None:
        """Record that the files of an expired task are deleted; file operations report this."""
        self._db.update(
            "task", {"retain_until": None, "cleaned": 1}, "seq = ? AND run = ?", _run(task)
        )

    def next_expiry(self) -> datetime | None:
        """The next time at which a task will be :meth:`expired`."""
        return from_optional(self._kept.get("expiry", self._next_expiry))

    def _next_expiry(self) -> int | None:
        row = self._db.one("SELECT min(retain_until) FROM task WHERE retain_until IS NOT NULL")
        return None if row is None else row[0]

    def _note_expiry(self, expiry: int | None) -> None:
        """Keep the next expiry up to date when a task completes."""
        if expiry is None:
            return
        earlier = self._kept.get("expiry", self._next_expiry)
        self._kept.set("expiry", expiry if earlier is None else min(earlier, expiry))


def _usage_columns(usage: Usage) -> tuple[int, ...]:
    times = map(to_microseconds, (usage.running, usage.user, usage.kernel))
    return (*times, usage.read, usage.written, usage.reads, usage.writes)


def _run(task: Task) -> tuple[int, int]:
    return task.seq, task.run
