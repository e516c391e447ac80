"""commit: decisions into the store, and into orders for the hands.

What lives here: one method for each decision. All of a round is one transaction; the orders are
carried out after it, so that no process runs that the store does not know of. What may not: a
decision of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path

from batchspec.local.agent.failures import ended_by_user
from batchspec.local.engine.decision import (
    AddNodes,
    AskToEnd,
    BeginTask,
    BootNode,
    ClearFiles,
    CutShort,
    Decision,
    DeletePool,
    DropNode,
    DropPool,
    DropSchedule,
    EndProcess,
    ExpireFiles,
    InstallPackages,
    KeepNode,
    KillRun,
    MoveJob,
    MoveNode,
    MoveSchedule,
    NoteScaleRun,
    OpenJob,
    Prepare,
    PurgeJob,
    Release,
    RemoveNode,
    ReturnNode,
    RunStartTask,
    ScalePool,
    SettlePool,
    SkipRun,
    TakeNode,
    TakeSample,
)
from batchspec.local.engine.disk import Disk
from batchspec.local.engine.environment import Site
from batchspec.local.engine.hands import (
    End,
    InstallRun,
    Order,
    Perform,
    PreparationRun,
    ReleaseRun,
    StartRun,
    TaskRun,
)
from batchspec.local.engine.launches import (
    installation,
    special_directory,
    special_launch,
    start_launch,
    task_launch,
)
from batchspec.local.engine.packages import forget_packages
from batchspec.local.engine.state import preparation_key, release_key, run_key
from batchspec.local.engine.verdict import begin_subtask, write_failure
from batchspec.local.model.layout import task_directory
from batchspec.local.model.life import NodeState, PoolState, TaskState
from batchspec.local.model.record import Job, Node, Pool, Preparation, Schedule, Task, Wire
from batchspec.local.store.opening import open_job
from batchspec.local.store.store import Store
from batchspec.local.wire.times import write_time

_CHAOS = logging.getLogger("batchspec.local.chaos")


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

    # One case for each decision, however many there are.
    def _commit(  # noqa: PLR0912, PLR0915
        self, decision: Decision, now: datetime
    ) -> Iterator[Order]:
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
            case TakeSample(pool, metrics, following):
                store.scaling.sample(pool, now, metrics, following)
            case NoteScaleRun(pool, run, following):
                store.pools.note_scale_run(pool, run)
                store.scaling.evaluated(pool, following)
            case ScalePool(pool, dedicated, spot, option):
                store.pools.resize(
                    pool,
                    now,
                    target_dedicated=dedicated,
                    target_spot=spot,
                    timeout=pool.resize_timeout,
                    deallocation=option,
                )
            case DropPool(pool):
                store.pools.drop(pool)
                self._disk.remove_pool(pool.id)
            case MoveNode(node, state, done):
                store.nodes.move(node, state, now, done=done)
            case TakeNode(node):
                self._take(node, now)
            case ReturnNode(node):
                self._unprepare(node, fresh=True)
                self._disk.remove_node(node.pool_id, node.id)
                store.nodes.move(node, NodeState.CREATING, now)
            case BootNode(node, fresh):
                self._unprepare(node, fresh=fresh)
                if fresh:
                    self._disk.remove_node(node.pool_id, node.id)
                self._disk.make_node(node.pool_id, node.id)
                detail = {} if fresh else forget_packages(node)
                state = NodeState.STARTING
                store.nodes.move(node, state, now, booted=now, detail=detail, errors=(), done=True)
            case InstallPackages(node, pool):
                order = installation(self._site, self._data, node, pool)
                yield Perform(order, InstallRun(node, order.packages))
            case RunStartTask(node, pool):
                yield self.start(node, pool, now)
            case EndProcess(key):
                yield End(key)
            case Prepare(job, node):
                yield from self._prepare(job, node, now)
            case Release(job, preparation):
                yield from self._release(job, preparation, now)
            case DropNode(node):
                self._disk.remove_node(node.pool_id, node.id)
                store.preparations.forget_node(node)
                store.nodes.drop(node)
            case CutShort(task):
                self.cut_short(task, now)
            case AskToEnd(task, how):
                store.runs.ask_to_end(task, how)
            case KillRun(seq, run):
                yield End(run_key(seq, run))
            case MoveJob(job, state, reason):
                store.jobs.move(job, state, now, reason=reason)
            case OpenJob(schedule, due, following):
                self._open_job(schedule, due, following, now)
            case SkipRun(schedule, due, following):
                store.schedules.skip(schedule, due, following)
            case MoveSchedule(schedule, state):
                store.schedules.move(schedule, state, now)
            case DropSchedule(schedule):
                store.schedules.drop(schedule)
            case DeletePool(pool_id):
                found = store.pools.get(pool_id)
                if found is not None and found.state is PoolState.ACTIVE:
                    store.pools.delete(found, now)
            case PurgeJob(job):
                if store.jobs.purge(job):
                    store.preparations.forget_job(job)
                    self._remove_job(job.id, job.pool_id)
            case ClearFiles(doomed):
                self._disk.remove(doomed.pool_id, doomed.node_id, doomed.directory)
                store.runs.forget(doomed)
            case ExpireFiles(task):
                if task.pool_id and task.node_id and task.directory:
                    self._disk.remove(task.pool_id, task.node_id, task.directory)
                for one in store.subtasks.of(task):
                    self._disk.remove(one.pool_id, one.node_id, one.directory)
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

    def again(self, run: TaskRun, *, fresh: bool) -> Perform:
        """Order a run that the store has begun; a retry is not ``fresh``."""
        nodes = (run.node, *run.others)
        pool = self._pool(run.node)
        launch = task_launch(
            self._site, self._data, run.task, run.job, nodes, pool=pool, fresh=fresh
        )
        return Perform(launch, run)

    def cut_short(self, task: Task, now: datetime) -> None:
        """End a task that has no process, as it was asked to end."""
        if task.ending != "terminate":
            self._store.runs.requeue(task, now)
            return
        self._store.runs.finish(
            task,
            now,
            started=None,
            ended=now,
            exit_code=None,
            failure=write_failure(ended_by_user()),
            satisfies=False,
            retain_until=None,
        )

    def prepare_again(self, run: PreparationRun, *, fresh: bool) -> Perform:
        """Order a run of a preparation task that the store knows of."""
        key, pool = preparation_key(run.preparation), self._pool(run.node)
        launch = special_launch(
            self._site,
            self._data,
            run.job,
            run.node,
            pool=pool,
            key=key,
            release=False,
            fresh=fresh,
        )
        return Perform(launch, run)

    def _prepare(self, job: Job, node: Node, now: datetime) -> Iterator[Order]:
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": special_directory(job, release=False),
            "retryCount": 0,
        }
        preparation = self._store.preparations.begin(job, node, info)
        yield self.prepare_again(PreparationRun(preparation, job, node, 0), fresh=True)

    def _release(self, job: Job, preparation: Preparation, now: datetime) -> Iterator[Order]:
        node = self._store.nodes.get(preparation.pool_id, preparation.node_id)
        if node is None:
            self._store.preparations.forget(preparation)
            return
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": special_directory(job, release=True),
        }
        self._store.preparations.note_release(preparation, "running", info)
        key, pool = release_key(preparation), self._pool(node)
        launch = special_launch(
            self._site, self._data, job, node, pool=pool, key=key, release=True, fresh=True
        )
        yield Perform(launch, ReleaseRun(preparation))

    def _pool(self, node: Node) -> Pool:
        """The pool of a node; it stays for as long as it has one."""
        pool = self._store.pools.get(node.pool_id)
        if pool is None:
            raise LookupError(f"pool {node.pool_id} is gone")
        return pool

    def _unprepare(self, node: Node, *, fresh: bool) -> None:
        """A node comes up again: have preparation tasks run again where they are to."""
        for preparation in self._store.preparations.on_node(node):
            job = self._store.jobs.get(preparation.job_id)
            settings = {} if job is None else job.body.get("jobPreparationTask", {})
            kept = not settings.get("rerunOnNodeRebootAfterSuccess", True)
            if fresh or preparation.state != "ready" or not kept:
                self._store.preparations.forget(preparation)

    def _begin(self, decision: BeginTask, now: datetime) -> Iterator[Order]:
        task, node, job = decision.task, decision.node, decision.job
        directory = task_directory(job.id, task.id)
        state = TaskState.PREPARING if decision.waits else TaskState.RUNNING
        begun = self._store.runs.begin(task, node, directory, now, state)
        if begun is None:
            return
        if decision.others:
            self._store.subtasks.begin(begun, decision.others, begin_subtask(now), now)
        if not decision.waits:
            yield self.again(TaskRun(begun, job, node, decision.others), fresh=True)

    def _open_job(
        self, schedule: Schedule, due: datetime, following: datetime | None, now: datetime
    ) -> None:
        body = schedule.body["jobSpecification"]
        job_id = f"{schedule.id}:job-{schedule.runs + 1}"
        job = open_job(self._store, job_id, body, now, schedule=schedule)
        auto = body["poolInfo"].get("autoPoolSpecification", {})
        pool_id = schedule.pool_id
        if job is not None and auto.get("poolLifetimeOption") == "jobschedule":
            pool_id = job.pool_id
        self._store.schedules.ran(schedule, job_id, pool_id, due, following)

    def _take(self, node: Node, now: datetime) -> None:
        """Take a node away, unless something else was just asked of it."""
        current = self._store.nodes.get(node.pool_id, node.id)
        if current is not None and current.intent is None:
            _CHAOS.warning("preempt: node %s of pool %s", node.id, node.pool_id)
            away = NodeState.PREEMPTED
            self._store.nodes.ask(current, "preempt", "requeue", state=away, now=now)

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
