"""commit: decisions into the store, and into orders for the hands.

What lives here: one method for each decision. All of a round is one transaction; the orders are
carried out after it, so that no process runs that the store does not know of. What may not: a
decision of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from batchspec.local.engine.decision import (
    AddNodes,
    AskToEnd,
    BeginTask,
    BootNode,
    ClearFiles,
    Decision,
    DropNode,
    DropPool,
    EndStartTask,
    ExpireFiles,
    KeepNode,
    KillRun,
    MoveJob,
    MoveNode,
    PurgeJob,
    RemoveNode,
    RunStartTask,
    SettlePool,
)
from batchspec.local.engine.disk import Disk
from batchspec.local.engine.environment import Site
from batchspec.local.engine.hands import End, Order, Perform, StartRun, TaskRun
from batchspec.local.engine.launches import start_launch, task_launch
from batchspec.local.engine.state import run_key, start_key
from batchspec.local.model.layout import task_directory
from batchspec.local.model.life import NodeState
from batchspec.local.model.record import Node, Pool, Wire
from batchspec.local.store.store import Store
from batchspec.local.wire.times import write_time


class Committer:
    """Writes what was decided. ``token`` makes 64 random hexadecimal digits, for node ids."""

    def __init__(
        self, store: Store, disk: Disk, site: Site, data: Path, token: Callable[[], str]
    ) -> None:
        self._store = store
        self._disk = disk
        self._site = site
        self._data = data
        self._token = token

    def commit(self, decisions: Iterable[Decision], now: datetime) -> Iterator[Order]:
        """Write each decision in turn; to be called, and read to its end, in a transaction."""
        for decision in decisions:
            yield from self._commit(decision, now)

    def _commit(self, decision: Decision, now: datetime) -> Iterator[Order]:  # noqa: PLR0912
        store = self._store
        match decision:
            case BeginTask():
                yield from self._begin(decision, now)
            case AddNodes(pool, dedicated, count):
                self._add_nodes(pool, count, now, dedicated=dedicated)
            case RemoveNode(node, option):
                store.nodes.ask(node, "remove", option)
            case KeepNode(node):
                store.nodes.move(node, node.state, now, done=True)
            case SettlePool(pool, errors):
                store.pools.settle(pool, now, errors)
            case DropPool(pool):
                store.pools.drop(pool)
                self._disk.remove_pool(pool.id)
            case MoveNode(node, state, done):
                store.nodes.move(node, state, now, done=done)
            case BootNode(node, fresh):
                if fresh:
                    self._disk.remove_node(node.pool_id, node.id)
                self._disk.make_node(node.pool_id, node.id)
                store.nodes.move(node, NodeState.STARTING, now, booted=now, done=True)
            case RunStartTask(node, pool):
                yield self.start(node, pool, now)
            case EndStartTask(node):
                yield End(start_key(node))
            case DropNode(node):
                self._disk.remove_node(node.pool_id, node.id)
                store.nodes.drop(node)
            case AskToEnd(task, how):
                store.runs.ask_to_end(task, how)
            case KillRun(seq, run):
                yield End(run_key(seq, run))
            case MoveJob(job, state, reason):
                store.jobs.move(job, state, now, reason=reason)
            case PurgeJob(job):
                if store.jobs.purge(job):
                    self._remove_job(job.id, job.pool_id)
            case ClearFiles(doomed):
                self._disk.remove(doomed.pool_id, doomed.node_id, doomed.directory)
                store.runs.forget(doomed)
            case ExpireFiles(task):
                if task.pool_id and task.node_id and task.directory:
                    self._disk.remove(task.pool_id, task.node_id, task.directory)
                store.runs.cleaned(task)

    def start(
        self, node: Node, pool: Pool, now: datetime, retries: int = 0, info: Wire | None = None
    ) -> Perform:
        """Note on ``node`` that its start task runs, and order it; ``info`` adds to the note."""
        noted = {"state": "running", "startTime": write_time(now), "retryCount": retries}
        current = self._store.nodes.get(node.pool_id, node.id) or node
        moved = self._store.nodes.move(
            current, current.state, now, start_task_info=noted | dict(info or {})
        )
        launch = start_launch(self._site, self._data, moved, pool)
        return Perform(launch, StartRun(moved, pool, retries))

    def again(self, run: TaskRun) -> Perform:
        """Order a retry that the store has begun, in the directory of the run before."""
        launch = task_launch(self._site, self._data, run.task, run.job, run.node, fresh=False)
        return Perform(launch, run)

    def _begin(self, decision: BeginTask, now: datetime) -> Iterator[Order]:
        task, node, job = decision.task, decision.node, decision.job
        directory = task_directory(job.id, task.id)
        begun = self._store.runs.begin(task, node, directory, now)
        if begun is not None:
            launch = task_launch(self._site, self._data, begun, job, node, fresh=True)
            yield Perform(launch, TaskRun(begun, job, node))

    def _add_nodes(self, pool: Pool, count: int, now: datetime, *, dedicated: bool) -> None:
        suffix = "d" if dedicated else "p"
        ids = [f"tvmps_{self._token()}_{suffix}" for _ in range(count)]
        slots = pool.body["taskSlotsPerNode"]
        self._store.nodes.add(pool, ids, now, dedicated=dedicated, slots=slots)

    def _remove_job(self, job_id: str, pool_id: str) -> None:
        """Remove the directories that held a job's tasks, which were doomed one by one."""
        directory = task_directory(job_id, "any").rpartition("/")[0]
        for node in self._store.nodes.of(pool_id):
            self._disk.remove(node.pool_id, node.id, directory)
