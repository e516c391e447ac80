"""Autoscale in the store: when a pool's formula is due, and its samples.

Pools that scale by formula are sampled every 30 seconds of the service's time. Samples are kept for
a week, the longest evaluation interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from batchspec.autoscale import Evaluation
from batchspec.local.model import AutoscaleTimes, Pool
from batchspec.local.store.database import (
    Database,
    fold,
    from_column,
    from_json,
    from_optional,
    to_column,
    to_json,
)
from batchspec.local.wire import write_time

SAMPLE_INTERVAL = timedelta(seconds=30)
_SAMPLE_RETENTION = timedelta(days=7)
_ERROR_MESSAGE = "The specified auto-scaling formula has evaluation error"


class Autoscale:
    """The tables ``scaling`` and ``sample``; rows of both are deleted with their pool."""

    def __init__(self, database: Database) -> None:
        self._db = database

    # --- the API's side

    def start(self, pool: Pool, now: datetime) -> None:
        """Evaluate the formula from ``now`` on; existing samples stay."""
        stamp = to_column(now)
        self._db.write(
            "INSERT INTO scaling (pool, since, due, sample_due) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (pool) DO UPDATE SET since = excluded.since, due = excluded.due",
            (fold(pool.id), stamp, stamp, stamp),
        )

    def stop(self, pool: Pool) -> None:
        """Stop evaluating and sampling, and delete the samples."""
        self._db.write("DELETE FROM scaling WHERE pool = ?", (fold(pool.id),))

    def of(self, pool_id: str) -> AutoscaleTimes | None:
        """When the formula and the next sample of a pool are due; ``None`` without autoscale."""
        row = self._db.one("SELECT * FROM scaling WHERE pool = ?", (fold(pool_id),))
        if row is None:
            return None
        return AutoscaleTimes(*(from_column(row[name]) for name in ("since", "due", "sample_due")))

    # --- both sides

    def samples(self, pool_id: str) -> list[tuple[datetime, Mapping[str, float]]]:
        """All samples of a pool, oldest first."""
        rows = self._db.all(
            "SELECT at, metrics FROM sample WHERE pool = ? ORDER BY at", (fold(pool_id),)
        )
        return [(from_column(row["at"]), from_json(row["metrics"])) for row in rows]

    # --- the engine's side

    def due(self, now: datetime) -> list[str]:
        """The pools (ids in lower case) whose formula or sample is due."""
        stamp = to_column(now)
        rows = self._db.all(
            "SELECT pool FROM scaling WHERE due <= ? OR sample_due <= ?", (stamp, stamp)
        )
        return [row["pool"] for row in rows]

    def next_moment(self) -> datetime | None:
        """The next time at which something is :meth:`due`."""
        row = self._db.one("SELECT min(min(due, sample_due)) FROM scaling")
        return from_optional(row[0] if row is not None else None)

    def current_metrics(self, pool_id: str) -> Mapping[str, float]:
        """The current metrics of a pool: of its nodes, and of the tasks of its active jobs."""
        key = fold(pool_id)
        tasks = self._db.one(
            "SELECT total(n_running), total(n_succeeded), total(n_failed) FROM tally "
            "JOIN job ON job.key = tally.job WHERE job.pool = ? AND job.state = 'active'",
            (key,),
        )
        ready = self._db.one(
            "SELECT count(*) FROM job CROSS JOIN task INDEXED BY task_runnable "
            "ON task.job = job.key AND task.state = 'active' AND task.waiting = 0 "
            "WHERE job.pool = ? AND job.state = 'active'",
            (key,),
        )
        nodes = self._db.one(
            "SELECT total(dedicated), total(1 - dedicated), total(state = 'preempted'), "
            "total(state IN ('idle', 'running')) FROM node WHERE pool = ?",
            (key,),
        )
        assert tasks is not None and ready is not None and nodes is not None
        active, running = float(ready[0]), tasks[0]
        return {
            "ActiveTasks": active,
            "RunningTasks": running,
            "PendingTasks": active + running,
            "SucceededTasks": tasks[1],
            "FailedTasks": tasks[2],
            "CurrentDedicatedNodes": nodes[0],
            "CurrentLowPriorityNodes": nodes[1],
            "PreemptedNodeCount": nodes[2],
            "SampleNodeCount": nodes[3],
        }

    def add_sample(
        self, pool: Pool, at: datetime, metrics: Mapping[str, float], following: datetime
    ) -> None:
        """Add a sample; the next one is due at ``following``."""
        key = fold(pool.id)
        with self._db.transaction():
            self._db.write(
                "INSERT OR REPLACE INTO sample (pool, at, metrics) VALUES (?, ?, ?)",
                (key, to_column(at), to_json(metrics)),
            )
            self._db.write(
                "DELETE FROM sample WHERE pool = ? AND at < ?",
                (key, to_column(at - _SAMPLE_RETENTION)),
            )
            self._db.write(
                "UPDATE scaling SET sample_due = ? WHERE pool = ?", (to_column(following), key)
            )

    def set_next_evaluation(self, pool: Pool, following: datetime) -> None:
        """The formula was evaluated; it is due again at ``following``."""
        self._db.write(
            "UPDATE scaling SET due = ? WHERE pool = ?", (to_column(following), fold(pool.id))
        )


def autoscale_run(evaluated: Evaluation, now: datetime) -> dict[str, Any]:
    """``AutoScaleRun`` in wire form; the error has the recorded message."""
    shown: dict[str, Any] = {"timestamp": write_time(now), "results": evaluated.results}
    if evaluated.error is not None:
        shown["error"] = {
            "code": "AutoScalingFormulaEvaluationError",
            "message": _ERROR_MESSAGE,
            "values": [{"name": "Message", "value": evaluated.error}],
        }
    return shown
