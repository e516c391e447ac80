"""Pools in the store: requests of the API and resizes by the engine."""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

import sqlite3
from dataclasses import replace
from datetime import datetime

from batchspec.local.model import ALLOCATION, POOL, AllocationState, Pool, PoolState, Wire
from batchspec.local.store.database import (
    ALL_ROWS,
    Database,
    Page,
    fold,
    from_column,
    from_json,
    next_modified,
    to_column,
    to_json,
)


class Pools:
    """The table ``pool``. A deleted pool stays, ``deleting``, until its nodes are gone."""

    def __init__(self, database: Database) -> None:
        self._db = database

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
        row = self._db.one("SELECT * FROM pool WHERE key = ?", (fold(pool_id),))
        return None if row is None else _read(row)

    def page(self, page: Page = ALL_ROWS) -> list[Pool]:
        """Pools by id."""
        rows = self._db.all(
            f"SELECT * FROM pool WHERE key > ? AND ({page.where}) ORDER BY key LIMIT ?",
            (page.after, *page.values, page.limit),
        )
        return [_read(row) for row in rows]

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
        """Start a resize: ``resizing``, with the errors of the last one cleared.

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
        """Request that a resize stops: ``stopping`` if the pool is resizing, else no change."""
        if pool.allocation is not AllocationState.RESIZING:
            return pool
        return self._set(
            pool, now, allocation=AllocationState.STOPPING, allocation_since=to_column(now)
        )

    def set_autoscale(self, pool: Pool, autoscale: Wire | None, now: datetime) -> Pool:
        """Set the autoscale formula, its interval and its last run; ``None`` disables autoscale."""
        return self._set(pool, now, autoscale=None if autoscale is None else to_json(autoscale))

    def set_autoscale_run(self, pool: Pool, run: Wire) -> Pool:
        """Set the last run of the formula, which does not count as a change of the pool."""
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
        rows = self._db.all(
            "SELECT * FROM pool WHERE allocation <> 'steady' OR state = 'deleting' ORDER BY seq"
        )
        return [_read(row) for row in rows]

    def complete_resize(self, pool: Pool, now: datetime, errors: tuple[Wire, ...] = ()) -> None:
        """The resize is over: ``steady``, with ``resizeErrors`` if targets were not reached.

        Nothing is written if another resize was started since ``pool`` was read.
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
        """Remove a pool that is being deleted and has no node left."""
        self._db.write(
            "DELETE FROM pool WHERE seq = ? AND state = 'deleting' "
            "AND NOT EXISTS (SELECT 1 FROM node WHERE node.pool = pool.key)",
            (pool.seq,),
        )

    def _set(self, pool: Pool, now: datetime, **columns: object) -> Pool:
        modified = to_column(next_modified(pool.modified, now))
        self._db.update("pool", {**columns, "modified": modified}, "seq = ?", (pool.seq,))
        return _read(self._db.row("pool", pool.seq))


def _read(row: sqlite3.Row) -> Pool:
    return Pool(
        seq=row["seq"],
        id=row["id"],
        body=from_json(row["body"]),
        created=from_column(row["created"]),
        modified=from_column(row["modified"]),
        state=PoolState(row["state"]),
        state_since=from_column(row["state_since"]),
        allocation=AllocationState(row["allocation"]),
        allocation_since=from_column(row["allocation_since"]),
        target_dedicated=row["target_dedicated"],
        target_spot=row["target_spot"],
        resize=row["resize"],
        resize_timeout=row["resize_timeout"],
        resize_errors=tuple(from_json(row["resize_errors"])),
        deallocation=row["deallocation"],
        autoscale=from_json(row["autoscale"]),
    )
