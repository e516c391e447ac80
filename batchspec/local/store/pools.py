"""Pools in the store: requests of the API, resizes by the engine, autoscale and its samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any

from batchspec.autoscale import Evaluation
from batchspec.local.model import (
    ALLOCATION,
    POOL,
    AllocationState,
    AutoscaleTimes,
    Pool,
    PoolState,
    Resources,
    Wire,
)
from batchspec.local.store.database import (
    ALL_ROWS,
    Database,
    Page,
    fold,
    from_column,
    from_json,
    from_optional,
    next_modified,
    record_reader,
    to_column,
    to_json,
)
from batchspec.local.wire import write_time

# Pools with autoscale get a sample every 30 seconds of the service's time. Samples are kept for a
# week, the longest evaluation interval.


SAMPLE_INTERVAL = timedelta(seconds=30)
_SAMPLE_RETENTION = timedelta(days=7)
_ERROR_MESSAGE = "The specified auto-scaling formula has evaluation error"


class Autoscale:
    """The tables ``scaling`` and ``sample``; rows of both are deleted with their pool."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("scaling")

    # --- the API's side

    def start(self, pool: Pool, now: datetime) -> None:
        """Start evaluating the formula at ``now``; existing samples stay."""
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
        """The due times of a pool's formula and next sample; ``None`` without autoscale."""
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
        if not self._kept.rows("any", lambda: self._db.all("SELECT 1 FROM scaling LIMIT 1")):
            return []
        stamp = to_column(now)
        rows = self._db.all(
            "SELECT pool FROM scaling WHERE due <= ? OR sample_due <= ?", (stamp, stamp)
        )
        return [row["pool"] for row in rows]

    def next_moment(self) -> datetime | None:
        """The next time at which a formula or a sample is :meth:`due`."""
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
            "UsableNodeCount": nodes[3],
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
        """Record an evaluation of the formula; the next one is due at ``following``."""
        self._db.write(
            "UPDATE scaling SET due = ? WHERE pool = ?", (to_column(following), fold(pool.id))
        )


def autoscale_run(evaluated: Evaluation, now: datetime) -> dict[str, Any]:
    """``AutoScaleRun`` in wire form, with the recorded message of an error."""
    shown: dict[str, Any] = {"timestamp": write_time(now), "results": evaluated.results}
    if evaluated.error is not None:
        shown["error"] = {
            "code": "AutoScalingFormulaEvaluationError",
            "message": _ERROR_MESSAGE,
            "values": [{"name": "Message", "value": evaluated.error}],
        }
    return shown


# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound

_AMOUNTS = tuple(one.name for one in fields(Resources) if one.name not in ("since", "until"))


class Pools:
    """The tables ``pool`` and ``resources``.

    A deleted pool stays in state ``deleting`` until its nodes are gone.
    """

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("pool")
        self._kept_lists = database.kept("pool")

    # --- the API's side

    def add(
        self,
        pool_id: str,
        body: Wire,
        now: datetime,
        *,
        target_dedicated: int,
        target_spot: int,
        resize_timeout: str,
        autoscale: Wire | None = None,
    ) -> Pool | None:
        """Create a pool that is resizing to its targets; ``None`` if the id exists."""
        stamp = to_column(now)
        with self._db.transaction():
            if self._db.one("SELECT 1 FROM pool WHERE key = ?", (fold(pool_id),)):
                return None
            self._db.insert(
                "pool",
                {
                    "key": fold(pool_id),
                    "id": pool_id,
                    "body": to_json(body),
                    "created": stamp,
                    "modified": stamp,
                    "state": PoolState.ACTIVE,
                    "state_since": stamp,
                    "allocation": AllocationState.RESIZING,
                    "allocation_since": stamp,
                    "target_dedicated": target_dedicated,
                    "target_spot": target_spot,
                    "resize_timeout": resize_timeout,
                    "autoscale": None if autoscale is None else to_json(autoscale),
                },
            )
            return self.get(pool_id)

    def get(self, pool_id: str) -> Pool | None:
        """The pool with this id, in any case."""
        return self._kept.get(fold(pool_id), lambda: self._get(fold(pool_id)))

    def _get(self, key: str) -> Pool | None:
        row = self._db.one("SELECT * FROM pool WHERE key = ?", (key,))
        return None if row is None else _read(row)

    def page(self, page: Page = ALL_ROWS) -> list[Pool]:
        """Pools by id."""
        return [_read(row) for row in self._db.page("pool", page)]

    def resources(self, pool: Pool) -> Resources | None:
        """The resource usage while ``pool`` had nodes; ``None`` before the first measurement."""
        row = self._db.one("SELECT * FROM resources WHERE pool = ?", (fold(pool.id),))
        if row is None:
            return None
        since, until = from_column(row["since"]), from_column(row["until"])
        return Resources(since, until, **{name: row[name] for name in _AMOUNTS})

    def count(self) -> int:
        """The number of pools, including pools in state ``deleting``."""
        return int(self._db.all("SELECT count(*) FROM pool")[0][0])

    def update(self, pool: Pool, body: Wire, now: datetime) -> Pool:
        """Replace the settings of ``pool``."""
        return self._set(pool, now, body=to_json(body))

    def resize(
        self,
        pool: Pool,
        now: datetime,
        *,
        target_dedicated: int,
        target_spot: int,
        timeout: str,
        deallocation: str,
    ) -> Pool:
        """Start a resize: ``resizing``, without the errors of the last resize.

        Raises:
            IllegalTransitionError: the pool is not steady.
        """
        ALLOCATION.check(pool.allocation, AllocationState.RESIZING)
        return self._set(
            pool,
            now,
            allocation=AllocationState.RESIZING,
            allocation_since=to_column(now),
            target_dedicated=target_dedicated,
            target_spot=target_spot,
            resize=pool.resize + 1,
            resize_timeout=timeout,
            resize_errors="[]",
            deallocation=deallocation,
        )

    def stop_resize(self, pool: Pool, now: datetime) -> Pool:
        """Request the stop of a resize: ``stopping`` if the pool is resizing, else no change."""
        if pool.allocation is not AllocationState.RESIZING:
            return pool
        return self._set(
            pool, now, allocation=AllocationState.STOPPING, allocation_since=to_column(now)
        )

    def set_autoscale(self, pool: Pool, autoscale: Wire | None, now: datetime) -> Pool:
        """Set the autoscale formula, its interval and its last run; ``None`` disables autoscale."""
        return self._set(pool, now, autoscale=None if autoscale is None else to_json(autoscale))

    def set_autoscale_run(self, pool: Pool, run: Wire) -> Pool:
        """Set the last run of the formula; ``lastModified`` of the pool stays."""
        if pool.autoscale is None:
            return pool
        noted = {**pool.autoscale, "autoScaleRun": run}
        self._db.update("pool", {"autoscale": to_json(noted)}, "seq = ?", (pool.seq,))
        return replace(pool, autoscale=noted)

    def delete(self, pool: Pool, now: datetime) -> Pool:
        """Request the deletion of the pool: ``deleting`` until the engine removes it."""
        POOL.check(pool.state, PoolState.DELETING)
        return self._set(pool, now, state=PoolState.DELETING, state_since=to_column(now))

    # --- the engine's side

    def in_transition(self) -> list[Pool]:
        """Pools with work for the engine: deleting, resizing or stopping."""
        sql = "SELECT * FROM pool WHERE allocation <> 'steady' OR state = 'deleting' ORDER BY seq"
        rows = self._kept_lists.rows("transition", lambda: self._db.all(sql))
        return [_read(row) for row in rows]

    def with_nodes(self) -> list[Pool]:
        """Pools that have nodes."""
        rows = self._db.all(
            "SELECT * FROM pool WHERE EXISTS (SELECT 1 FROM node WHERE node.pool = pool.key) "
            "ORDER BY seq"
        )
        return [_read(row) for row in rows]

    def set_resources(self, pool: Pool, used: Resources) -> None:
        """Set the resource usage of ``pool``; ``lastModified`` of the pool stays."""
        row = {"pool": fold(pool.id), "since": to_column(used.since)}
        row |= {"until": to_column(used.until)}
        row |= {name: getattr(used, name) for name in _AMOUNTS}
        names, marks = ", ".join(row), ", ".join("?" * len(row))
        self._db.write(
            f"INSERT OR REPLACE INTO resources ({names}) VALUES ({marks})", tuple(row.values())
        )

    def complete_resize(self, pool: Pool, now: datetime, errors: tuple[Wire, ...] = ()) -> None:
        """Complete a resize: ``steady``, with ``resizeErrors`` if a target was not reached.

        Writes nothing if another resize has started since ``pool`` was read.
        """
        ALLOCATION.check(pool.allocation, AllocationState.STEADY)
        self._db.update(
            "pool",
            {
                "allocation": AllocationState.STEADY,
                "allocation_since": to_column(now),
                "resize_errors": to_json(errors),
            },
            "seq = ? AND resize = ?",
            (pool.seq, pool.resize),
        )

    def remove(self, pool: Pool) -> None:
        """Remove a pool in state ``deleting`` that has no nodes."""
        self._db.write(
            "DELETE FROM pool WHERE seq = ? AND state = 'deleting' "
            "AND NOT EXISTS (SELECT 1 FROM node WHERE node.pool = pool.key)",
            (pool.seq,),
        )

    def _set(self, pool: Pool, now: datetime, **columns: object) -> Pool:
        modified = to_column(next_modified(pool.modified, now))
        self._db.update("pool", {**columns, "modified": modified}, "seq = ?", (pool.seq,))
        return _read(self._db.row("pool", pool.seq))


_read = record_reader(Pool)
