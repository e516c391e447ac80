"""Jobs and job schedules in the store: requests of the API and transitions of the engine."""

from __future__ import annotations

from datetime import datetime

from batchspec.local.model import (
    JOB,
    SCHEDULE,
    Counts,
    Job,
    JobState,
    Schedule,
    ScheduleState,
    TaskCounts,
    Wire,
)
from batchspec.local.store.database import (
    ALL_ROWS,
    Database,
    Page,
    fold,
    from_optional,
    next_modified,
    record_reader,
    state_columns,
    to_column,
    to_json,
    to_optional,
)

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound


_OPEN = "job.state IN ('active', 'disabling', 'disabled', 'enabling')"


class Jobs:
    """The table ``job`` and the counters of tasks."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("job")
        self._kept_lists = database.kept("job")

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

    def count_active(self) -> int:
        """The number of jobs that count against the quota: all that are not completed."""
        sql = "SELECT count(*) FROM job WHERE state <> 'completed'"
        return int(self._db.all(sql)[0][0])

    def get(self, job_id: str) -> Job | None:
        """The job with this id, in any case."""
        return self._kept.get(fold(job_id), lambda: self._get(fold(job_id)))

    def _get(self, key: str) -> Job | None:
        row = self._db.one("SELECT * FROM job WHERE key = ?", (key,))
        return None if row is None else _read_job(row)

    def page(self, page: Page = ALL_ROWS, schedule_id: str | None = None) -> list[Job]:
        """Jobs by id: all jobs, or the jobs of a schedule."""
        if schedule_id is None:
            rows = self._db.page("job", page)
        else:
            rows = self._db.page("job", page, "schedule = ?", (fold(schedule_id),))
        return [_read_job(row) for row in rows]

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
        """The number of tasks and slots of a job by state, from counters."""
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
        """Change the state of a job. ``completed`` sets its end time; the first ``reason`` stays.

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
        sql = f"SELECT * FROM job WHERE state IN ({marks}) ORDER BY seq"
        rows = self._kept_lists.rows(states, lambda: self._db.all(sql, states))
        return [_read_job(row) for row in rows]

    def with_work(self, pool_id: str) -> list[Job]:
        """Active jobs of a pool that have active tasks, in scheduling order.

        The order is: highest priority first, then oldest first.
        """
        rows = self._db.all(
            "SELECT job.key FROM job JOIN tally ON tally.job = job.key "
            "WHERE job.pool = ? AND job.state = 'active' AND tally.n_active > 0 "
            "ORDER BY job.priority DESC, job.seq",
            (fold(pool_id),),
        )
        return [job for (key,) in rows if (job := self.get(key)) is not None]

    def pools_with_work(self) -> list[str]:
        """The pools that have jobs :meth:`with_work`."""
        rows = self._db.all(
            "SELECT DISTINCT job.pool FROM job JOIN tally ON tally.job = job.key "
            "WHERE job.state = 'active' AND tally.n_active > 0"
        )
        return [row[0] for row in rows]

    def overdue(self, now: datetime) -> list[Job]:
        """Jobs that have exceeded their ``maxWallClockTime`` and are not ending yet."""
        deadline = self.next_deadline()
        if deadline is None or deadline > now:
            return []
        rows = self._db.all(
            "SELECT * FROM job WHERE deadline IS NOT NULL AND deadline <= ? ORDER BY deadline",
            (to_column(now),),
        )
        return [_read_job(row) for row in rows]

    def with_manager_complete(self) -> list[Job]:
        """Jobs that end because their job manager task is completed."""
        if not self._any(f"manager IS NOT NULL AND {_OPEN}"):
            return []
        rows = self._db.all(
            "SELECT job.* FROM job CROSS JOIN task "
            "ON task.job = job.key AND task.key = job.manager "
            "WHERE job.manager IS NOT NULL AND task.state = 'completed' "
            f"AND {_OPEN} ORDER BY job.seq"
        )
        return [_read_job(row) for row in rows]

    def of_schedule(self, schedule_id: str, *, completed: bool) -> list[Job]:
        """Jobs of a schedule, with or without the ``completed`` ones."""
        rows = self._db.all(
            "SELECT * FROM job WHERE schedule = ? AND (? OR state <> 'completed') ORDER BY seq",
            (fold(schedule_id), completed),
        )
        return [_read_job(row) for row in rows]

    def with_all_tasks_complete(self) -> list[Job]:
        """Active jobs with ``onAllTasksComplete: terminatejob`` whose tasks are all completed.

        This includes a job without tasks, which ends immediately, as the REST reference documents
        (contract 7).
        """
        if not self._any("state = 'active' AND on_all_complete = 'terminatejob'"):
            return []
        rows = self._db.all(
            "SELECT job.* FROM job JOIN tally ON tally.job = job.key "
            "WHERE job.state = 'active' AND job.on_all_complete = 'terminatejob' "
            "AND tally.n_active = 0 AND tally.n_running = 0 ORDER BY job.seq"
        )
        return [_read_job(row) for row in rows]

    def purge(self, job: Job, limit: int = 2000) -> bool:
        """Delete up to ``limit`` tasks of a job that is being deleted, and finally the job.

        Returns whether the job is deleted. Running tasks stay; end them first.
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
        """The next time at which a job becomes :meth:`overdue`."""
        return self._kept_lists.get("deadline", self._next_deadline)

    def _next_deadline(self) -> datetime | None:
        row = self._db.one("SELECT min(deadline) FROM job WHERE deadline IS NOT NULL")
        return from_optional(row[0] if row is not None else None)

    def _any(self, where: str) -> bool:
        """Whether a job matches the condition ``where``, which reads no counters."""
        sql = f"SELECT 1 FROM job WHERE {where} LIMIT 1"
        return self._kept_lists.get(where, lambda: self._db.one(sql) is not None)

    def _set(self, job: Job, **columns: object) -> Job:
        self._db.update("job", columns, "seq = ?", (job.seq,))
        return _read_job(self._db.row("job", job.seq))


_read_job = record_reader(Job)


class Schedules:
    """The table ``schedule``."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("schedule")

    # --- the API's side

    def add(
        self, schedule_id: str, body: Wire, now: datetime, next_run: datetime
    ) -> Schedule | None:
        """Create an active schedule; ``None`` if the id exists."""
        stamp = to_column(now)
        with self._db.transaction():
            if self.get(schedule_id) is not None:
                return None
            self._db.insert(
                "schedule",
                {
                    "key": fold(schedule_id),
                    "id": schedule_id,
                    "body": to_json(body),
                    "created": stamp,
                    "modified": stamp,
                    "state": ScheduleState.ACTIVE,
                    "state_since": stamp,
                    "next_run": to_column(next_run),
                },
            )
            return self.get(schedule_id)

    def count_active(self) -> int:
        """The number of schedules that count against the quota: all that are not completed."""
        sql = "SELECT count(*) FROM schedule WHERE state <> 'completed'"
        return int(self._db.all(sql)[0][0])

    def get(self, schedule_id: str) -> Schedule | None:
        """The schedule with this id, in any case."""
        row = self._db.one("SELECT * FROM schedule WHERE key = ?", (fold(schedule_id),))
        return None if row is None else _read_schedule(row)

    def page(self, page: Page = ALL_ROWS) -> list[Schedule]:
        """Schedules by id."""
        return [_read_schedule(row) for row in self._db.page("schedule", page)]

    def update(
        self, schedule: Schedule, body: Wire, now: datetime, next_run: datetime | None
    ) -> Schedule:
        """Replace the settings of a schedule; ``next_run`` is the due time of its next job."""
        return self._set(
            schedule,
            body=to_json(body),
            modified=to_column(next_modified(schedule.modified, now)),
            next_run=to_optional(next_run),
        )

    # --- both sides

    def set_state(self, schedule: Schedule, state: ScheduleState, now: datetime) -> Schedule:
        """Change the state of a schedule; ``completed`` sets its end and clears the next run.

        Raises:
            IllegalTransitionError: the state machine has no such transition.
        """
        SCHEDULE.check(schedule.state, state)
        if state is schedule.state:
            return schedule
        columns: dict[str, object] = {
            **state_columns(schedule, state, now),
            "modified": to_column(next_modified(schedule.modified, now)),
        }
        if state is ScheduleState.COMPLETED:
            columns |= {"ended": to_column(now), "next_run": None}
        return self._set(schedule, **columns)

    # --- the engine's side

    def due(self, now: datetime) -> list[Schedule]:
        """Ending schedules, and active schedules whose next job is due or that have no next job."""
        if not self._kept.rows("any", lambda: self._db.all("SELECT 1 FROM schedule LIMIT 1")):
            return []
        rows = self._db.all(
            "SELECT * FROM schedule WHERE state IN ('terminating', 'deleting') "
            "OR (state = 'active' AND (next_run IS NULL OR next_run <= ?)) ORDER BY seq",
            (to_column(now),),
        )
        return [_read_schedule(row) for row in rows]

    def next_moment(self, now: datetime) -> datetime | None:
        """The next time after ``now`` at which a job is due."""
        row = self._db.one(
            "SELECT min(next_run) FROM schedule WHERE state = 'active' AND next_run > ?",
            (to_column(now),),
        )
        return from_optional(row[0] if row is not None else None)

    def job_created(
        self,
        schedule: Schedule,
        job_id: str,
        pool_id: str | None,
        due: datetime,
        next_run: datetime | None,
    ) -> None:
        """Record the job that was created for ``due``; ``pool_id`` is the schedule's pool."""
        self._set(
            schedule,
            recent_job=job_id,
            runs=schedule.runs + 1,
            pool_id=pool_id,
            last_due=to_column(due),
            next_run=to_optional(next_run),
        )

    def run_skipped(self, schedule: Schedule, due: datetime, next_run: datetime | None) -> None:
        """Skip the job that was due at ``due``, because its start window has passed."""
        self._set(schedule, last_due=to_column(due), next_run=to_optional(next_run))

    def delete(self, schedule: Schedule) -> None:
        """Delete a schedule in state ``deleting`` that has no jobs."""
        self._db.write("DELETE FROM schedule WHERE seq = ? AND state = 'deleting'", (schedule.seq,))

    def _set(self, schedule: Schedule, **columns: object) -> Schedule:
        self._db.update("schedule", columns, "seq = ?", (schedule.seq,))
        return _read_schedule(self._db.row("schedule", schedule.seq))


_read_schedule = record_reader(Schedule)
