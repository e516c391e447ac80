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
from batchspec.local.engine.application_packages import without_packages
from batchspec.local.engine.decisions import (
    AddNodes,
    BootNode,
    CancelNodeRemoval,
    CompleteResize,
    CreateScheduledJob,
    Decision,
    DeleteExpiredFiles,
    DeletePendingFiles,
    DeletePool,
    EndPreparingTask,
    InstallPackages,
    KillProcess,
    KillRun,
    PreemptNode,
    ReallocateNode,
    RecordAutoscaleRun,
    RecordSample,
    RemoveJob,
    RemoveNode,
    RemovePool,
    RemoveSchedule,
    RequestNodeRemoval,
    RequestTaskEnd,
    ResizePool,
    RunPreparationTask,
    RunReleaseTask,
    RunStartTask,
    RunTask,
    SetJobState,
    SetNodeState,
    SetScheduleState,
    SkipScheduledJob,
)
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.executor import (
    Cancel,
    Execute,
    ExecutorRequest,
    InstallRun,
    PreparationRun,
    ReleaseRun,
    StartTaskRun,
    TaskRun,
)
from batchspec.local.engine.launches import (
    installation,
    job_task_directory,
    job_task_launch,
    start_launch,
    task_launch,
)
from batchspec.local.engine.node_directories import NodeDirectories
from batchspec.local.engine.state import preparation_key, release_key, run_key
from batchspec.local.engine.task_result import failure_json, subtask_started
from batchspec.local.model import (
    Job,
    Node,
    NodeState,
    Pool,
    PoolState,
    Preparation,
    Schedule,
    Task,
    TaskState,
    Wire,
    task_directory,
)
from batchspec.local.store import Store, add_job
from batchspec.local.wire import write_time

_FAULT_LOG = logging.getLogger("batchspec.local.chaos")


class DecisionApplier:
    """Writes what was decided. ``token`` makes 64 random hexadecimal digits, for node ids."""

    def __init__(
        self,
        store: Store,
        disk: NodeDirectories,
        node_config: NodeConfig,
        data: Path,
        token: Callable[[], str],
    ) -> None:
        self._store = store
        self._disk = disk
        self._node_config = node_config
        self._data = data
        self._token = token

    def commit(self, decisions: Iterable[Decision], now: datetime) -> Iterator[ExecutorRequest]:
        """Write each decision in turn; to be called, and read to its end, in a transaction."""
        for decision in decisions:
            yield from self._commit(decision, now)

    # One case for each decision, however many there are.
    def _commit(  # noqa: PLR0912, PLR0915
        self, decision: Decision, now: datetime
    ) -> Iterator[ExecutorRequest]:
        store = self._store
        match decision:
            case RunTask():
                yield from self._begin(decision, now)
            case AddNodes(pool, dedicated, count):
                self._add_nodes(pool, count, now, dedicated=dedicated)
            case RequestNodeRemoval(node, option):
                store.nodes.set_intent(node, "remove", option)
            case CancelNodeRemoval(node):
                store.nodes.update(node, node.state, now, done=True)
            case CompleteResize(pool, errors):
                store.pools.complete_resize(pool, now, errors)
            case RecordSample(pool, metrics, following):
                store.autoscale.add_sample(pool, now, metrics, following)
            case RecordAutoscaleRun(pool, run, following):
                store.pools.set_autoscale_run(pool, run)
                store.autoscale.set_next_evaluation(pool, following)
            case ResizePool(pool, dedicated, spot, option):
                store.pools.resize(
                    pool,
                    now,
                    target_dedicated=dedicated,
                    target_spot=spot,
                    timeout=pool.resize_timeout,
                    deallocation=option,
                )
            case RemovePool(pool):
                store.pools.remove(pool)
                self._disk.remove_pool(pool.id)
            case SetNodeState(node, state, done):
                store.nodes.update(node, state, now, done=done)
            case PreemptNode(node):
                self._take(node, now)
            case ReallocateNode(node):
                self._unprepare(node, fresh=True)
                self._disk.remove_node(node.pool_id, node.id)
                store.nodes.update(node, NodeState.CREATING, now)
            case BootNode(node, fresh):
                self._unprepare(node, fresh=fresh)
                if fresh:
                    self._disk.remove_node(node.pool_id, node.id)
                self._disk.make_node(node.pool_id, node.id)
                detail = {} if fresh else without_packages(node)
                state = NodeState.STARTING
                store.nodes.update(
                    node, state, now, booted=now, detail=detail, errors=(), done=True
                )
            case InstallPackages(node, pool):
                order = installation(self._node_config, self._data, node, pool)
                yield Execute(order, InstallRun(node, order.packages))
            case RunStartTask(node, pool):
                yield self.start(node, pool, now)
            case KillProcess(key):
                yield Cancel(key)
            case RunPreparationTask(job, node):
                yield from self._prepare(job, node, now)
            case RunReleaseTask(job, preparation):
                yield from self._release(job, preparation, now)
            case RemoveNode(node):
                self._disk.remove_node(node.pool_id, node.id)
                store.preparations.delete_node(node)
                store.nodes.delete(node)
            case EndPreparingTask(task):
                self.cut_short(task, now)
            case RequestTaskEnd(task, how):
                store.runs.request_end(task, how)
            case KillRun(seq, run):
                yield Cancel(run_key(seq, run))
            case SetJobState(job, state, reason):
                store.jobs.set_state(job, state, now, reason=reason)
            case CreateScheduledJob(schedule, due, following):
                self._open_job(schedule, due, following, now)
            case SkipScheduledJob(schedule, due, following):
                store.schedules.run_skipped(schedule, due, following)
            case SetScheduleState(schedule, state):
                store.schedules.set_state(schedule, state, now)
            case RemoveSchedule(schedule):
                store.schedules.delete(schedule)
            case DeletePool(pool_id):
                found = store.pools.get(pool_id)
                if found is not None and found.state is PoolState.ACTIVE:
                    store.pools.delete(found, now)
            case RemoveJob(job):
                if store.jobs.purge(job):
                    store.preparations.delete_job(job)
                    self._remove_job(job.id, job.pool_id)
            case DeletePendingFiles(deletion):
                self._disk.remove(deletion.pool_id, deletion.node_id, deletion.directory)
                store.runs.deletion_done(deletion)
            case DeleteExpiredFiles(task):
                if task.pool_id and task.node_id and task.directory:
                    self._disk.remove(task.pool_id, task.node_id, task.directory)
                for one in store.subtasks.of(task):
                    self._disk.remove(one.pool_id, one.node_id, one.directory)
                store.runs.files_deleted(task)

    def start(
        self, node: Node, pool: Pool, now: datetime, retries: int = 0, info: Wire | None = None
    ) -> Execute:
        """Note on ``node`` that its start task runs, and order it; ``info`` adds to the note."""
        noted = {"state": "running", "startTime": write_time(now), "retryCount": retries}
        current = self._store.nodes.get(node.pool_id, node.id) or node
        moved = self._store.nodes.update(
            current, current.state, now, start_task_info=noted | dict(info or {})
        )
        launch = start_launch(self._node_config, self._data, moved, pool)
        return Execute(launch, StartTaskRun(moved, pool, retries))

    def again(self, run: TaskRun, *, fresh: bool) -> Execute:
        """Order a run that the store has begun; a retry is not ``fresh``."""
        nodes = (run.node, *run.others)
        pool = self._pool(run.node)
        launch = task_launch(
            self._node_config, self._data, run.task, run.job, nodes, pool=pool, fresh=fresh
        )
        return Execute(launch, run)

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
            failure=failure_json(ended_by_user()),
            satisfies=False,
            retain_until=None,
        )

    def prepare_again(self, run: PreparationRun, *, fresh: bool) -> Execute:
        """Order a run of a preparation task that the store knows of."""
        key, pool = preparation_key(run.preparation), self._pool(run.node)
        launch = job_task_launch(
            self._node_config,
            self._data,
            run.job,
            run.node,
            pool=pool,
            key=key,
            release=False,
            fresh=fresh,
        )
        return Execute(launch, run)

    def _prepare(self, job: Job, node: Node, now: datetime) -> Iterator[ExecutorRequest]:
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": job_task_directory(job, release=False),
            "retryCount": 0,
        }
        preparation = self._store.preparations.begin(job, node, info)
        yield self.prepare_again(PreparationRun(preparation, job, node, 0), fresh=True)

    def _release(
        self, job: Job, preparation: Preparation, now: datetime
    ) -> Iterator[ExecutorRequest]:
        node = self._store.nodes.get(preparation.pool_id, preparation.node_id)
        if node is None:
            self._store.preparations.delete(preparation)
            return
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": job_task_directory(job, release=True),
        }
        self._store.preparations.update_release(preparation, "running", info)
        key, pool = release_key(preparation), self._pool(node)
        launch = job_task_launch(
            self._node_config, self._data, job, node, pool=pool, key=key, release=True, fresh=True
        )
        yield Execute(launch, ReleaseRun(preparation))

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
                self._store.preparations.delete(preparation)

    def _begin(self, decision: RunTask, now: datetime) -> Iterator[ExecutorRequest]:
        task, node, job = decision.task, decision.node, decision.job
        directory = task_directory(job.id, task.id)
        state = TaskState.PREPARING if decision.waits else TaskState.RUNNING
        begun = self._store.runs.begin(task, node, directory, now, state)
        if begun is None:
            return
        if decision.others:
            self._store.subtasks.begin(begun, decision.others, subtask_started(now), now)
        if not decision.waits:
            yield self.again(TaskRun(begun, job, node, decision.others), fresh=True)

    def _open_job(
        self, schedule: Schedule, due: datetime, following: datetime | None, now: datetime
    ) -> None:
        body = schedule.body["jobSpecification"]
        job_id = f"{schedule.id}:job-{schedule.runs + 1}"
        job = add_job(self._store, job_id, body, now, schedule=schedule)
        auto = body["poolInfo"].get("autoPoolSpecification", {})
        pool_id = schedule.pool_id
        if job is not None and auto.get("poolLifetimeOption") == "jobschedule":
            pool_id = job.pool_id
        self._store.schedules.job_created(schedule, job_id, pool_id, due, following)

    def _take(self, node: Node, now: datetime) -> None:
        """Take a node away, unless something else was just asked of it."""
        current = self._store.nodes.get(node.pool_id, node.id)
        if current is not None and current.intent is None:
            _FAULT_LOG.warning("preempt: node %s of pool %s", node.id, node.pool_id)
            away = NodeState.PREEMPTED
            self._store.nodes.set_intent(current, "preempt", "requeue", state=away, now=now)

    def _add_nodes(self, pool: Pool, count: int, now: datetime, *, dedicated: bool) -> None:
        suffix = "d" if dedicated else "p"
        ids = [f"tvmps_{self._token()}_{suffix}" for _ in range(count)]
        slots = pool.body["taskSlotsPerNode"]
        self._store.nodes.add(pool, ids, now, dedicated=dedicated, slots=slots)

    def _remove_job(self, job_id: str, pool_id: str) -> None:
        """Remove the directories that held a job's tasks, which were deletion one by one."""
        directory = task_directory(job_id, "any").rpartition("/")[0]
        for node in self._store.nodes.of(pool_id):
            self._disk.remove(node.pool_id, node.id, directory)
