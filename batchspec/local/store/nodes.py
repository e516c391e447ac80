"""Compute nodes, and the preparation and release tasks of jobs on them, in the store.

The engine creates, updates and deletes nodes; the API sets intents.
"""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from batchspec.local.model import (
    NODE,
    Job,
    LogUpload,
    Node,
    NodeState,
    Pool,
    Preparation,
    Task,
    Wire,
)
from batchspec.local.store.database import (
    ALL_ROWS,
    Database,
    Page,
    fold,
    record_reader,
    to_column,
    to_json,
    to_microseconds,
)

_RUN = "run on a node"
"""The change of a node by a run: its counts, and ``idle`` or ``running``."""


def take_slots(database: Database, pool: str, node: str, slots: int, now: datetime) -> None:
    """Take ``slots`` slots of the node with these keys for a new run."""
    database.write(
        "UPDATE node SET running_tasks = running_tasks + 1, "
        "running_slots = running_slots + :slots, "
        "state_since = CASE state WHEN 'idle' THEN :now ELSE state_since END, "
        "state = CASE state WHEN 'idle' THEN 'running' ELSE state END "
        "WHERE pool = :pool AND key = :key",
        {"slots": slots, "now": to_column(now), "pool": pool, "key": node},
        change=_RUN,
    )


def free_slots(database: Database, task: Task, now: datetime, *, ran: int, succeeded: int) -> None:
    """Free the slots of a run that has ended, and of its subtasks.

    Adds ``ran`` and ``succeeded`` to the totals of the nodes.
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
            change=_RUN,
        )


TRANSIENT_NODES = (
    NodeState.CREATING,
    NodeState.STARTING,
    NodeState.REBOOTING,
    NodeState.REIMAGING,
    NodeState.DEALLOCATING,
    NodeState.OFFLINE,
    NodeState.PREEMPTED,
)
"""The states between which and other states a node changes without a run."""

_FREE = (
    "pool = ? AND state IN ('idle', 'running') AND scheduling = 'enabled' "
    "AND intent IS NULL AND running_slots < slots"
)


class Nodes:
    """The table ``node``."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("node")

    # --- the API's side

    def get(self, pool_id: str, node_id: str) -> Node | None:
        """The node with this id in this pool."""
        row = self._db.one(
            "SELECT * FROM node WHERE pool = ? AND key = ?", (fold(pool_id), fold(node_id))
        )
        return None if row is None else _read_node(row)

    def page(self, pool_id: str, page: Page = ALL_ROWS) -> list[Node]:
        """Nodes of a pool, by id."""
        rows = self._db.page("node", page, "pool = ?", (fold(pool_id),))
        return [_read_node(row) for row in rows]

    def counts(self, pool_id: str) -> Mapping[tuple[NodeState, bool], int]:
        """The number of nodes of a pool by (state, dedicated); zero counts are absent."""
        rows = self._db.all(
            "SELECT state, dedicated, count(*) AS n FROM node WHERE pool = ? "
            "GROUP BY state, dedicated",
            (fold(pool_id),),
        )
        return {(NodeState(row["state"]), bool(row["dedicated"])): row["n"] for row in rows}

    def sizes(self, pool_id: str) -> tuple[int, int]:
        """``currentDedicatedNodes`` and ``currentLowPriorityNodes`` of a pool."""
        counts = self.counts(pool_id)
        dedicated = sum(n for (_, is_dedicated), n in counts.items() if is_dedicated)
        return dedicated, sum(counts.values()) - dedicated

    def set_intent(
        self,
        node: Node,
        intent: str,
        option: str | None,
        *,
        state: NodeState | None = None,
        now: datetime | None = None,
    ) -> None:
        """Set the intent of a node (see :class:`Node`); a later intent replaces an earlier one.

        With ``state`` the node is in that state from ``now`` on, before the engine carries out the
        intent.
        """
        columns: dict[str, object] = {"intent": intent, "intent_option": option}
        if state is not None and now is not None:
            NODE.check(node.state, state)
            columns |= {"state": state, "state_since": to_column(now)}
        self._set(node, **columns)

    def set_scheduling(self, node: Node, scheduling: str, option: str | None) -> None:
        """Enable or disable scheduling; ``option`` applies to running tasks.

        Another pending intent stays and does not change ``scheduling``.
        """
        columns: dict[str, object] = {"scheduling": scheduling}
        if node.intent in (None, "offline"):
            intent = "offline" if scheduling == "disabled" else None
            columns |= {"intent": intent, "intent_option": option}
        self._set(node, **columns)

    # --- the engine's side

    def add(
        self, pool: Pool, ids: Collection[str], now: datetime, *, dedicated: bool, slots: int
    ) -> None:
        """Create nodes in state ``creating``."""
        with self._db.transaction():
            for node_id in ids:
                self._db.insert(
                    "node",
                    {
                        "pool": fold(pool.id),
                        "pool_id": pool.id,
                        "key": fold(node_id),
                        "id": node_id,
                        "dedicated": int(dedicated),
                        "state": NodeState.CREATING,
                        "state_since": to_column(now),
                        "allocated": to_column(now),
                        "slots": slots,
                    },
                )

    def of(self, pool_id: str, states: Collection[NodeState] = tuple(NodeState)) -> list[Node]:
        """The nodes of a pool that are in one of ``states``, oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._db.all(
            f"SELECT * FROM node WHERE pool = ? AND state IN ({marks}) ORDER BY seq",
            (fold(pool_id), *states),
        )
        return [_read_node(row) for row in rows]

    def in_state(self, *states: NodeState) -> list[Node]:
        """The nodes of all pools that are in one of ``states``, oldest first."""
        marks = ", ".join("?" * len(states))
        rows = self._db.all(
            f"SELECT * FROM node WHERE state IN ({marks}) ORDER BY seq",
            states,
        )
        return [_read_node(row) for row in rows]

    def counts_by_size(self, *, dedicated: bool) -> Mapping[str, int]:
        """The number of dedicated or Spot nodes in all pools, by VM size."""
        rows = self._db.all(
            "SELECT vm_size, count(*) AS n FROM node JOIN pool ON pool.key = node.pool "
            "WHERE dedicated = ? GROUP BY vm_size",
            (int(dedicated),),
        )
        return {row["vm_size"]: row["n"] for row in rows}

    def with_intent(self) -> list[Node]:
        """Nodes with an intent that the engine has not carried out yet."""
        sql = "SELECT * FROM node INDEXED BY node_by_intent WHERE intent IS NOT NULL ORDER BY seq"
        rows = self._kept.rows("intent", lambda: self._db.all(sql))
        return [_read_node(row) for row in rows]

    def in_transition(self) -> list[Node]:
        """The nodes of all pools in :data:`TRANSIENT_NODES`, oldest first."""
        return self._kept.rows("transient", lambda: self.in_state(*TRANSIENT_NODES))

    def free_slots(self, pool_id: str) -> tuple[int, int]:
        """The free slots of :meth:`with_free_slots`: the total, and the maximum on one node."""
        row = self._db.one(
            "SELECT total(slots - running_slots), max(slots - running_slots) FROM node "
            f"WHERE {_FREE}",
            (fold(pool_id),),
        )
        total, most = (0.0, None) if row is None else row
        return int(total), most or 0

    def schedulable_nodes(self, pool_id: str) -> int:
        """The number of nodes that take tasks, with or without free slots."""
        row = self._db.one(
            "SELECT count(*) FROM node WHERE pool = ? AND state IN ('idle', 'running') "
            "AND scheduling = 'enabled' AND intent IS NULL",
            (fold(pool_id),),
        )
        return 0 if row is None else int(row[0])

    def with_free_slots(self, pool_id: str) -> list[Node]:
        """Nodes that can take a task now: idle or running, scheduling enabled, a slot free.

        This includes nodes that run a start task without ``waitForSuccess``, which are ``idle``.
        """
        rows = self._db.all(
            f"SELECT * FROM node WHERE {_FREE} ORDER BY seq",
            (fold(pool_id),),
        )
        return [_read_node(row) for row in rows]

    def update(
        self,
        node: Node,
        state: NodeState,
        now: datetime,
        *,
        booted: datetime | None = None,
        start_task_info: Wire | None = None,
        detail: Wire | None = None,
        errors: tuple[Wire, ...] | None = None,
        done: bool = False,
    ) -> Node:
        """Change a node. ``None`` keeps the value of a field; ``done`` clears the intent.

        Raises:
            IllegalTransitionError: the state machine has no such transition.
        """
        NODE.check(node.state, state)
        columns: dict[str, object] = {}
        if state is not node.state:
            columns |= {"state": state, "state_since": to_column(now)}
        if booted is not None:
            columns["booted"] = to_column(booted)
        if start_task_info is not None:
            columns["start_task_info"] = to_json(start_task_info)
        if detail is not None:
            columns["detail"] = to_json(detail)
        if errors is not None:
            columns["errors"] = to_json(errors)
        if done:
            columns |= {"intent": None, "intent_option": None}
        if columns:
            self._set(node, **columns)
        return _read_node(self._db.row("node", node.seq))

    def delete(self, node: Node, now: datetime) -> None:
        """Delete a node that has left its pool. Requeue its tasks first."""
        if node.dedicated:
            self._db.write(
                "UPDATE pool SET node_time = node_time + max(0, ?) WHERE key = ?",
                (to_microseconds(now - node.allocated), fold(node.pool_id)),
            )
        self._db.write("DELETE FROM node WHERE seq = ?", (node.seq,))

    def dedicated_time(self, pool: Pool, now: datetime) -> timedelta:
        """The total time of dedicated nodes in a pool."""
        row = self._db.one(
            "SELECT node_time + (SELECT total(max(0, ? - allocated)) FROM node "
            "WHERE pool = ? AND dedicated) FROM pool WHERE seq = ?",
            (to_column(now), fold(pool.id), pool.seq),
        )
        return timedelta(microseconds=0 if row is None else row[0])

    def _set(self, node: Node, **columns: object) -> None:
        self._db.update("node", columns, "seq = ?", (node.seq,))


_read_node = record_reader(Node)


class LogUploads:
    """The table ``log_upload``: pending requests to upload the log of a node."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._kept = database.kept("log_upload")

    def add(self, node: Node, container: str, blob: str, *, identity: bool) -> None:
        """Request an upload; see :class:`LogUpload`."""
        self._db.insert(
            "log_upload",
            {
                "pool_id": node.pool_id,
                "node_id": node.id,
                "container": container,
                "blob": blob,
                "identity": int(identity),
            },
        )

    def pending(self) -> list[LogUpload]:
        """The pending uploads, oldest first."""
        sql = "SELECT * FROM log_upload ORDER BY seq"
        rows = self._kept.rows("pending", lambda: self._db.all(sql))
        return [LogUpload(**{**row, "identity": bool(row["identity"])}) for row in rows]

    def done(self, upload: LogUpload) -> None:
        """Delete the request of an upload that has ended."""
        self._db.write("DELETE FROM log_upload WHERE seq = ?", (upload.seq,))


class Preparations:
    """The table ``preparation``. A row is deleted with its job, and stays when its node has left.

    The REST reference of the status of preparation and release tasks: "This includes Compute Nodes
    which have since been removed from the Pool".
    """

    def __init__(self, database: Database) -> None:
        self._db = database

    def begin(self, job: Job, node: Node, info: Wire) -> Preparation:
        """Record the first start of the preparation task of ``job`` on ``node``."""
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
        """Set the state and info of the release task; with ``None`` it runs again."""
        values = {"release_state": state, "release": None if info is None else to_json(info)}
        self._db.update("preparation", values, "seq = ?", (preparation.seq,))

    def get(self, seq: int) -> Preparation | None:
        """The row with this ``seq``; ``None`` if it was deleted with its job or for another run."""
        row = self._db.one("SELECT * FROM preparation WHERE seq = ?", (seq,))
        return None if row is None else _read_preparation(row)

    def of_job(self, job_id: str, page: Page = ALL_ROWS) -> list[Preparation]:
        """The rows of a job, by node, including nodes that have left their pool."""
        rows = self._db.page("preparation", page, "job = ?", (fold(job_id),), key="node")
        return [_read_preparation(row) for row in rows]

    def on_present_nodes(self, job_id: str) -> list[Preparation]:
        """The rows of a job on nodes that have not left their pool, by node."""
        rows = self._db.all(
            "SELECT * FROM preparation WHERE job = ? AND EXISTS (SELECT 1 FROM node "
            "WHERE node.pool = preparation.pool AND node.key = preparation.node) ORDER BY node",
            (fold(job_id),),
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
        """Delete a row. The preparation task runs again before the job's next task on the node."""
        self._db.write("DELETE FROM preparation WHERE seq = ?", (preparation.seq,))

    def delete_job(self, job: Job) -> None:
        """Delete the rows of a deleted job."""
        self._db.write("DELETE FROM preparation WHERE job = ?", (fold(job.id),))


_read_preparation = record_reader(Preparation)
