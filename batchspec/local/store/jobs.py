"""Jobs, and their preparation and release tasks, in the store."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from batchspec.local.model import JOB, Counts, Job, JobState, Node, Preparation, TaskCounts, Wire
from batchspec.local.store.database import (
    ALL_ROWS,
    Database,
    Page,
    fold,
    from_column,
    from_json,
    from_optional,
    next_modified,
    state_columns,
    to_column,
    to_json,
    to_optional,
)

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound


class Preparations:
    """The table ``preparation``. A row is deleted with its node and with its job."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, job: Job, node: Node, info: Wire) -> Preparation:
        """The preparation task of ``job`` starts on ``node``, where it has not run before."""
        seq = self._db.insert(
            "preparation",
            {
                "job": fold(job.id),
                "job_id": job.id,
                "pool": fold(node.pool_id),
                "pool_id": node.pool_id,
                "node": fold(node.id),
                "node_id": node.id,
                "state": "running",
                "info": to_json(info),
            },
        )
        return Preparation(seq, job.id, node.pool_id, node.id, "running", info, None, None)

    def update(self, preparation: Preparation, state: str, info: Wire) -> None:
        """Set the state and info of the preparation task."""
        values = {"state": state, "info": to_json(info)}
        self._db.update("preparation", values, "seq = ?", (preparation.seq,))

    def update_release(
        self, preparation: Preparation, state: str | None, info: Wire | None
    ) -> None:
        """Set the state and info of the release task; ``None`` if it is to run again."""
        values = {"release_state": state, "release": None if info is None else to_json(info)}
        self._db.update("preparation", values, "seq = ?", (preparation.seq,))

    def get(self, seq: int) -> Preparation | None:
        """The row with this ``seq``; ``None`` once its node or its job is gone."""
        row = self._db.one("SELECT * FROM preparation WHERE seq = ?", (seq,))
        return None if row is None else _read_preparation(row)

    def of_job(self, job_id: str, page: Page = ALL_ROWS) -> list[Preparation]:
        """The rows of a job, by node."""
        rows = self._db.all(
            f"SELECT * FROM preparation WHERE job = ? AND node > ? AND ({page.where}) "
            "ORDER BY node LIMIT ?",
            (fold(job_id), page.after, *page.values, page.limit),
        )
        return [_read_preparation(row) for row in rows]

    def on_node(self, node: Node) -> list[Preparation]:
        """The rows of a node."""
        rows = self._db.all(
            "SELECT * FROM preparation WHERE pool = ? AND node = ? ORDER BY seq",
            (fold(node.pool_id), fold(node.id)),
        )
        return [_read_preparation(row) for row in rows]

    def interrupted(self) -> list[Preparation]:
        """The rows whose preparation or release task is running."""
        rows = self._db.all(
            "SELECT * FROM preparation WHERE state = 'running' OR release_state = 'running'"
        )
        return [_read_preparation(row) for row in rows]

    def delete(self, preparation: Preparation) -> None:
        """Delete a row: the preparation task runs again before the job's next task on that node."""
        self._db.write("DELETE FROM preparation WHERE seq = ?", (preparation.seq,))

    def delete_node(self, node: Node) -> None:
        """Delete the rows of a node that has left its pool."""
        self._db.write(
            "DELETE FROM preparation WHERE pool = ? AND node = ?",
            (fold(node.pool_id), fold(node.id)),
        )

    def delete_job(self, job: Job) -> None:
        """Delete the rows of a deleted job."""
        self._db.write("DELETE FROM preparation WHERE job = ?", (fold(job.id),))


def _read_preparation(row: sqlite3.Row) -> Preparation:
    return Preparation(
        seq=row["seq"],
        job_id=row["job_id"],
        pool_id=row["pool_id"],
        node_id=row["node_id"],
        state=row["state"],
        info=from_json(row["info"]),
        release_state=row["release_state"],
        release=from_json(row["release"]),
    )


# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound


class Jobs:
    """The table ``job`` and the counters of tasks."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --- the API's side

    def add(
        self,
        job_id: str,
        body: Wire,
        now: datetime,
        *,
        pool_id: str,
        priority: int,
        max_parallel: int,
        deadline: datetime | None,
        schedule_id: str | None = None,
    ) -> Job | None:
        """Create an active job; ``None`` if the id exists."""
        stamp = to_column(now)
        with self._db.transaction():
            if self._db.one("SELECT 1 FROM job WHERE key = ?", (fold(job_id),)):
                return None
            self._db.insert(
                "job",
                {
                    "key": fold(job_id),
                    "id": job_id,
                    "body": to_json(body),
                    "created": stamp,
                    "modified": stamp,
                    "state": JobState.ACTIVE,
                    "state_since": stamp,
                    "pool": fold(pool_id),
                    "pool_id": pool_id,
                    "priority": priority,
                    "max_parallel": max_parallel,
                    "started": stamp,
                    "deadline": to_optional(deadline),
                    "schedule": None if schedule_id is None else fold(schedule_id),
                    "schedule_id": schedule_id,
                },
            )
            return self.get(job_id)

    def get(self, job_id: str) -> Job | None:
        """The job with this id, in any case."""
        row = self._db.one("SELECT * FROM job WHERE key = ?", (fold(job_id),))
        return None if row is None else _read(row)

    def page(self, page: Page = ALL_ROWS, schedule_id: str | None = None) -> list[Job]:
        """Jobs by id: all, or those of a schedule."""
        where = f"key > ? AND ({page.where})"
        values: tuple[object, ...] = (page.after, *page.values)
        if schedule_id is not None:
            where, values = f"schedule = ? AND {where}", (fold(schedule_id), *values)
        rows = self._db.all(
            f"SELECT * FROM job WHERE {where} ORDER BY key LIMIT ?",
            (*values, page.limit),
        )
        return [_read(row) for row in rows]

    def update(
        self,
        job: Job,
        body: Wire,
        now: datetime,
        *,
        pool_id: str,
        priority: int,
        max_parallel: int,
        deadline: datetime | None,
    ) -> Job:
        """Replace the settings of ``job``."""
        return self._set(
            job,
            modified=to_column(next_modified(job.modified, now)),
            body=to_json(body),
            pool=fold(pool_id),
            pool_id=pool_id,
            priority=priority,
            max_parallel=max_parallel,
            deadline=to_optional(deadline),
        )

    def counts(self, job_id: str) -> TaskCounts:
        """The number of tasks and of slots of a job by state, from counters."""
        row = self._db.one("SELECT * FROM tally WHERE job = ?", (fold(job_id),))
        if row is None:
            return TaskCounts(Counts(0, 0, 0, 0), Counts(0, 0, 0, 0))
        return TaskCounts(Counts(*row[1:5]), Counts(*row[5:9]))

    # --- both sides

    def set_state(
        self,
        job: Job,
        state: JobState,
        now: datetime,
        *,
        reason: str | None = None,
        disable_tasks: str | None = None,
        scheduling_error: Wire | None = None,
    ) -> Job:
        """Bring a job to ``state``. ``completed`` sets its end; the first ``reason`` stays.

        Raises:
            IllegalTransitionError: the state machine has no such transition.
        """
        JOB.check(job.state, state)
        if state is job.state:
            return job
        columns: dict[str, object] = {
            **state_columns(job, state, now),
            "modified": to_column(next_modified(job.modified, now)),
            "disable_tasks": disable_tasks,
        }
        if reason is not None and job.reason is None:
            columns["reason"] = reason
        if scheduling_error is not None:
            columns["scheduling_error"] = to_json(scheduling_error)
        if state is JobState.COMPLETED:
            columns["ended"] = to_column(now)
        if state in (JobState.COMPLETED, JobState.TERMINATING, JobState.DELETING):
            columns["deadline"] = None
        return self._set(job, **columns)

    # --- the engine's side

    def in_state(self, *states: JobState) -> list[Job]:
        """Jobs in one of ``states``, oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._db.all(
            f"SELECT * FROM job WHERE state IN ({marks}) ORDER BY seq",
            states,
        )
        return [_read(row) for row in rows]

    def with_work(self, pool_id: str) -> list[Job]:
        """Active jobs of a pool that have active tasks, in scheduling order.

        That is: highest priority first, then oldest first.
        """
        rows = self._db.all(
            "SELECT job.* FROM job JOIN tally ON tally.job = job.key "
            "WHERE job.pool = ? AND job.state = 'active' AND tally.n_active > 0 "
            "ORDER BY job.priority DESC, job.seq",
            (fold(pool_id),),
        )
        return [_read(row) for row in rows]

    def pools_with_work(self) -> list[str]:
        """The pools that have jobs :meth:`with_work`."""
        rows = self._db.all(
            "SELECT DISTINCT job.pool FROM job JOIN tally ON tally.job = job.key "
            "WHERE job.state = 'active' AND tally.n_active > 0"
        )
        return [row[0] for row in rows]

    def overdue(self, now: datetime) -> list[Job]:
        """Jobs whose ``maxWallClockTime`` has passed and that are not ending yet."""
        rows = self._db.all(
            "SELECT * FROM job WHERE deadline IS NOT NULL AND deadline <= ? ORDER BY deadline",
            (to_column(now),),
        )
        return [_read(row) for row in rows]

    def with_manager_complete(self) -> list[Job]:
        """Jobs whose job manager task is completed and ends them."""
        rows = self._db.all(
            "SELECT job.* FROM job CROSS JOIN task "
            "ON task.job = job.key AND task.key = job.manager "
            "WHERE job.manager IS NOT NULL AND task.state = 'completed' "
            "AND job.state IN ('active', 'disabling', 'disabled', 'enabling') ORDER BY job.seq"
        )
        return [_read(row) for row in rows]

    def of_schedule(self, schedule_id: str, *, completed: bool) -> list[Job]:
        """Jobs of a schedule: all, or those that are not completed."""
        rows = self._db.all(
            "SELECT * FROM job WHERE schedule = ? AND (? OR state <> 'completed') ORDER BY seq",
            (fold(schedule_id), completed),
        )
        return [_read(row) for row in rows]

    def with_all_tasks_complete(self) -> list[Job]:
        """Active jobs with ``onAllTasksComplete: terminatejob`` whose tasks are all completed.

        A job without tasks counts: it ends at once, as documented in the reference (contract 7).
        """
        rows = self._db.all(
            "SELECT job.* FROM job JOIN tally ON tally.job = job.key "
            "WHERE job.state = 'active' AND job.on_all_complete = 'terminatejob' "
            "AND tally.n_active = 0 AND tally.n_running = 0 ORDER BY job.seq"
        )
        return [_read(row) for row in rows]

    def purge(self, job: Job, limit: int = 2000) -> bool:
        """Delete up to ``limit`` tasks of a job that is being deleted, and finally the job.

        Returns whether the job is deleted. Running tasks stay; they must be ended first.
        """
        with self._db.transaction():
            self._db.write(
                "INSERT INTO pending_deletion (pool_id, node_id, directory, task_seq, run) "
                "SELECT pool_id, node_id, directory, seq, run FROM task WHERE seq IN "
                "(SELECT seq FROM task WHERE job = ? AND state IN ('active', 'completed') LIMIT ?)"
                " AND node IS NOT NULL AND directory IS NOT NULL AND cleaned = 0",
                (fold(job.id), limit),
            )
            self._db.write(
                "DELETE FROM task WHERE seq IN "
                "(SELECT seq FROM task WHERE job = ? AND state IN ('active', 'completed') LIMIT ?)",
                (fold(job.id), limit),
            )
            if self._db.one("SELECT 1 FROM task WHERE job = ? LIMIT 1", (fold(job.id),)):
                return False
            self._db.write("DELETE FROM job WHERE seq = ? AND state = 'deleting'", (job.seq,))
            return True

    def next_deadline(self) -> datetime | None:
        """The next time at which a job will be :meth:`overdue`."""
        row = self._db.one("SELECT min(deadline) FROM job WHERE deadline IS NOT NULL")
        return from_optional(row[0] if row is not None else None)

    def _set(self, job: Job, **columns: object) -> Job:
        self._db.update("job", columns, "seq = ?", (job.seq,))
        return _read(self._db.row("job", job.seq))


def _read(row: sqlite3.Row) -> Job:
    previous = row["previous_state"]
    return Job(
        seq=row["seq"],
        id=row["id"],
        body=from_json(row["body"]),
        created=from_column(row["created"]),
        modified=from_column(row["modified"]),
        state=JobState(row["state"]),
        state_since=from_column(row["state_since"]),
        previous_state=None if previous is None else JobState(previous),
        previous_since=from_optional(row["previous_since"]),
        pool_id=row["pool_id"],
        priority=row["priority"],
        max_parallel=row["max_parallel"],
        started=from_column(row["started"]),
        ended=from_optional(row["ended"]),
        deadline=from_optional(row["deadline"]),
        reason=row["reason"],
        scheduling_error=from_json(row["scheduling_error"]),
        disable_tasks=row["disable_tasks"],
        schedule_id=row["schedule_id"],
    )
