"""The slots of nodes: taken by a run, given back when it is over.

What lives here: the one place that writes them. A node with a run is ``running``, an ``idle`` one
has none.
"""

from __future__ import annotations

from datetime import datetime

from batchspec.local.model.record import Task
from batchspec.local.store.database import Database, fold, to_column


def take(database: Database, pool: str, node: str, slots: int, now: datetime) -> None:
    """A run of ``slots`` slots begins on the node of those keys."""
    database.write(
        "UPDATE node SET running_tasks = running_tasks + 1, "
        "running_slots = running_slots + :slots, "
        "state_since = CASE state WHEN 'idle' THEN :now ELSE state_since END, "
        "state = CASE state WHEN 'idle' THEN 'running' ELSE state END "
        "WHERE pool = :pool AND key = :key",
        {"slots": slots, "now": to_column(now), "pool": pool, "key": node},
    )


def free(database: Database, task: Task, now: datetime, *, ran: int, succeeded: int) -> None:
    """The run of ``task`` is over; ``ran`` and ``succeeded`` are added to the node's totals.

    So are the runs of its subtasks.
    """
    places = [(fold(task.pool_id or ""), fold(task.node_id or ""))]
    if "multiInstanceSettings" in task.body:
        running = "SELECT pool, node FROM subtask WHERE task = ? AND state = 'running'"
        places += [(row["pool"], row["node"]) for row in database.all(running, (task.seq,))]
    for pool, key in places:
        database.write(
            "UPDATE node SET running_tasks = running_tasks - 1, "
            "running_slots = running_slots - :slots, total_run = total_run + :ran, "
            "total_succeeded = total_succeeded + :succeeded, "
            "state_since = CASE WHEN state = 'running' AND running_tasks = 1 "
            "THEN :now ELSE state_since END, "
            "state = CASE WHEN state = 'running' AND running_tasks = 1 THEN 'idle' ELSE state END "
            "WHERE pool = :pool AND key = :key",
            {
                "slots": task.slots,
                "ran": ran,
                "succeeded": succeeded,
                "now": to_column(now),
                "pool": pool,
                "key": key,
            },
        )
