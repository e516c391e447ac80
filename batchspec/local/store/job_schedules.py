"""Job schedules in the store: requests of the API and transitions of the engine."""

from __future__ import annotations

import sqlite3
from datetime import datetime

from batchspec.local.model import SCHEDULE, Schedule, ScheduleState, Wire
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


class Schedules:
    """The table ``schedule``."""

    def __init__(self, database: Database) -> None:
        self._db = database

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

    def get(self, schedule_id: str) -> Schedule | None:
        """The schedule with this id, in any case."""
        row = self._db.one("SELECT * FROM schedule WHERE key = ?", (fold(schedule_id),))
        return None if row is None else _read(row)

    def page(self, page: Page = ALL_ROWS) -> list[Schedule]:
        """Schedules by id."""
        rows = self._db.all(
            f"SELECT * FROM schedule WHERE key > ? AND ({page.where}) ORDER BY key LIMIT ?",
            (page.after, *page.values, page.limit),
        )
        return [_read(row) for row in rows]

    def update(
        self, schedule: Schedule, body: Wire, now: datetime, next_run: datetime | None
    ) -> Schedule:
        """Replace the settings of a schedule; ``next_run`` is when its next job is due."""
        return self._set(
            schedule,
            body=to_json(body),
            modified=to_column(next_modified(schedule.modified, now)),
            next_run=to_optional(next_run),
        )

    # --- both sides

    def set_state(self, schedule: Schedule, state: ScheduleState, now: datetime) -> Schedule:
        """Bring a schedule to ``state``; ``completed`` sets its end and clears the next run.

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
        """Ending schedules, and active ones whose next job is due or that have no next job."""
        rows = self._db.all(
            "SELECT * FROM schedule WHERE state IN ('terminating', 'deleting') "
            "OR (state = 'active' AND (next_run IS NULL OR next_run <= ?)) ORDER BY seq",
            (to_column(now),),
        )
        return [_read(row) for row in rows]

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
        """The job that was due at ``due`` was created; ``pool_id`` is the pool of the schedule."""
        self._set(
            schedule,
            recent_job=job_id,
            runs=schedule.runs + 1,
            pool_id=pool_id,
            last_due=to_column(due),
            next_run=to_optional(next_run),
        )

    def run_skipped(self, schedule: Schedule, due: datetime, next_run: datetime | None) -> None:
        """The job that was due at ``due`` is not created, because its start window has passed."""
        self._set(schedule, last_due=to_column(due), next_run=to_optional(next_run))

    def delete(self, schedule: Schedule) -> None:
        """Delete a schedule that is being deleted and has no job left."""
        self._db.write("DELETE FROM schedule WHERE seq = ? AND state = 'deleting'", (schedule.seq,))

    def _set(self, schedule: Schedule, **columns: object) -> Schedule:
        self._db.update("schedule", columns, "seq = ?", (schedule.seq,))
        return _read(self._db.row("schedule", schedule.seq))


def _read(row: sqlite3.Row) -> Schedule:
    previous = row["previous_state"]
    return Schedule(
        seq=row["seq"],
        id=row["id"],
        body=from_json(row["body"]),
        created=from_column(row["created"]),
        modified=from_column(row["modified"]),
        state=ScheduleState(row["state"]),
        state_since=from_column(row["state_since"]),
        previous_state=None if previous is None else ScheduleState(previous),
        previous_since=from_optional(row["previous_since"]),
        next_run=from_optional(row["next_run"]),
        recent_job=row["recent_job"],
        runs=row["runs"],
        ended=from_optional(row["ended"]),
        pool_id=row["pool_id"],
        last_due=from_optional(row["last_due"]),
    )
