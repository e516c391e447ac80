"""Job preparation and release tasks in the store: one row for each node that a job has run on."""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

import sqlite3

from batchspec.local.model import Job, Node, Preparation, Wire
from batchspec.local.store.database import ALL_ROWS, Database, Page, fold, from_json, to_json


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
        return None if row is None else _read(row)

    def of_job(self, job_id: str, page: Page = ALL_ROWS) -> list[Preparation]:
        """The rows of a job, by node."""
        rows = self._db.all(
            f"SELECT * FROM preparation WHERE job = ? AND node > ? AND ({page.where}) "
            "ORDER BY node LIMIT ?",
            (fold(job_id), page.after, *page.values, page.limit),
        )
        return [_read(row) for row in rows]

    def on_node(self, node: Node) -> list[Preparation]:
        """The rows of a node."""
        rows = self._db.all(
            "SELECT * FROM preparation WHERE pool = ? AND node = ? ORDER BY seq",
            (fold(node.pool_id), fold(node.id)),
        )
        return [_read(row) for row in rows]

    def interrupted(self) -> list[Preparation]:
        """The rows whose preparation or release task is running."""
        rows = self._db.all(
            "SELECT * FROM preparation WHERE state = 'running' OR release_state = 'running'"
        )
        return [_read(row) for row in rows]

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


def _read(row: sqlite3.Row) -> Preparation:
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
