"""Applies decisions: writes them to store and disk and yields requests for the executor.

All decisions of a round are one transaction. The executor carries out the requests after the
transaction, so that each process belongs to a run in the store. This module makes no decisions.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from batchspec.local.agent import WITHOUT_LOGIN, Agent, SshServers
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
    FileDecision,
    InstallPackages,
    JobDecision,
    KillProcess,
    KillRun,
    NodeDecision,
    PoolDecision,
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
    RunDecision,
    RunPreparationTask,
    RunReleaseTask,
    RunStartTask,
    RunTask,
    ScheduleDecision,
    SetJobState,
    SetNodeState,
    SetScheduleState,
    SkipScheduledJob,
)
from batchspec.local.engine.environment import without_packages
from batchspec.local.engine.outcomes import subtask_started
from batchspec.local.engine.runs import Cancel, ExecutorRequest, RunStarter, TaskRun
from batchspec.local.engine.state import run_key
from batchspec.local.model import (
    NODE_DIRECTORIES,
    Node,
    NodeState,
    Pool,
    PoolState,
    TaskState,
    node_root,
    task_directory,
)
from batchspec.local.safe_paths import open_directory
from batchspec.local.store import Store, add_job
from batchspec.local.task_users import UserIds

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_log = logging.getLogger(__name__)
_fault_log = logging.getLogger("batchspec.local.chaos")


class NodeDirectories:
    """The directories of all nodes, in the folder ``data``.

    To remove a directory, this class renames it into ``trash``. A rename takes no time for any size
    and can be part of a transaction of the store; the trash is emptied in the background. Removal
    never follows a link out of the data folder and raises no error: directories that cannot be
    removed stay and are logged.
    """

    def __init__(self, data: Path, users: UserIds | None = None) -> None:
        """``users`` are the user ids of tasks, if tasks run as separate users."""
        self._data = data
        self._users = users
        self._trash = data / "trash"
        self._trash.mkdir(parents=True, exist_ok=True)
        self._numbers = itertools.count()
        self._emptying: asyncio.Task[None] | None = None
        self._filled = True  # possibly by an earlier run of the service
        self._closing = threading.Event()

    def make_node(self, pool_id: str, node_id: str) -> None:
        """Create the directories at the root of a node; existing ones stay."""
        root = node_root(self._data, pool_id, node_id)
        above = root.relative_to(self._data).parts
        for name in NODE_DIRECTORIES:
            try:
                folders = None if self._users is None else self._users.folders
                with open_directory(
                    self._data, [*above, name], own=True, owner=folders
                ) as directory:
                    if self._users is not None and name == "shared":
                        self._users.shared_folders.take(directory)
            except OSError as error:  # a task created another file with this name
                _log.warning("cannot create %s: %s", root / name, error.strerror)

    def root(self, node: Node) -> Path:
        """The root directory of a node."""
        return node_root(self._data, node.pool_id, node.id)

    def remove_node(self, pool_id: str, node_id: str) -> None:
        """Remove the root directory of a node."""
        self._discard(node_root(self._data, pool_id, node_id))

    def remove_pool(self, pool_id: str) -> None:
        """Remove the directory that contained the nodes of a pool."""
        self._discard(node_root(self._data, pool_id, "none").parent)

    def remove(self, pool_id: str, node_id: str, directory: str) -> None:
        """Remove a directory, given relative to the root of its node."""
        self._discard(node_root(self._data, pool_id, node_id) / directory)

    def empty_trash(self) -> None:
        """Start the deletion of the trash, unless a deletion is already in progress."""
        if self._filled and (self._emptying is None or self._emptying.done()):
            self._filled = False
            self._emptying = asyncio.create_task(
                asyncio.to_thread(_empty_trash, self._trash, self._closing)
            )

    async def close(self) -> None:
        """Stop the deletion; the next run of the service deletes the rest of the trash."""
        self._closing.set()
        if self._emptying is not None:
            await self._emptying

    def _discard(self, path: Path) -> None:
        target = self._trash / str(next(self._numbers))
        while target.exists():  # of an earlier run
            target = self._trash / str(next(self._numbers))
        self._filled = True
        try:
            try:
                self._move(path, target)
            except PermissionError:
                # A task can make a directory read-only; the rename of a directory writes its "..".
                for directory in (*reversed(path.relative_to(self._data).parents), path):
                    _make_writable(self._data / directory)
                self._move(path, target)
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            _log.warning("cannot remove %s: %s", path, error.strerror)

    def _move(self, path: Path, target: Path) -> None:
        """Rename ``path`` without following links of tasks in its parent folders."""
        *above, name = path.relative_to(self._data).parts
        descriptor = os.open(self._data, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            for part in above:
                below = os.open(part, _DIRECTORY, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            os.rename(name, target, src_dir_fd=descriptor)
        finally:
            os.close(descriptor)


def _make_writable(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.chmod(0o700)


def _empty_trash(trash: Path, closing: threading.Event) -> None:
    for path in trash.iterdir():
        if closing.is_set():
            return
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, onerror=_retry_with_permission)
            else:
                path.unlink()
        except OSError as error:
            _log.warning("cannot remove %s: %s", error.filename, error.strerror)


def _retry_with_permission(function: Callable[..., Any], path: str, _: Any) -> None:
    """Retry once with write permission, which a task can remove from a directory."""
    with suppress(FileNotFoundError):
        if function in (os.unlink, os.rmdir):
            _make_writable(Path(path).parent)
            function(path)
        else:
            _make_writable(Path(path))
            shutil.rmtree(path)


class DecisionApplier:
    """Writes decisions to the store, and the states of nodes to their logs.

    ``token`` returns 64 random hexadecimal digits for node ids. ``ssh`` are the SSH servers of
    nodes. ``pool_quota`` limits auto pools of scheduled jobs.
    """

    def __init__(
        self,
        store: Store,
        directories: NodeDirectories,
        starter: RunStarter,
        token: Callable[[], str],
        agent: Agent,
        *,
        ssh: SshServers | None = None,
        pool_quota: int | None = None,
    ) -> None:
        self._pool_quota = pool_quota
        self._mounts = agent.mounts
        self._logs = agent.logs
        self._ssh = ssh
        self._store = store
        self._directories = directories
        self._starter = starter
        self._token = token

    def apply(self, decisions: Iterable[Decision], now: datetime) -> Iterator[ExecutorRequest]:
        """Write each decision in order and yield the requests that follow from it.

        Exhaust the iterator in one transaction.
        """
        for decision in decisions:
            if isinstance(decision, PoolDecision):
                self._apply_to_pool(decision, now)
            elif isinstance(decision, NodeDecision):
                self._apply_to_node(decision, now)
            elif isinstance(decision, JobDecision):
                self._apply_to_job(decision, now)
            elif isinstance(decision, ScheduleDecision):
                self._apply_to_schedule(decision, now)
            elif isinstance(decision, FileDecision):
                self._delete_files(decision)
            else:
                yield from self._apply_to_run(decision, now)

    def _apply_to_pool(self, decision: PoolDecision, now: datetime) -> None:
        store = self._store
        match decision:
            case AddNodes(pool, dedicated, count):
                self._add_nodes(pool, count, now, dedicated=dedicated)
            case CompleteResize(pool, errors):
                store.pools.complete_resize(pool, now, errors)
            case RecordSample(pool, metrics, following):
                store.autoscale.add_sample(pool, now, metrics, following)
            case RecordAutoscaleRun(pool, run, following):
                store.pools.set_autoscale_run(pool, run)
                store.autoscale.set_next_evaluation(pool, following)
            case ResizePool():
                self._resize(decision, now)
            case DeletePool(pool_id):
                found = store.pools.get(pool_id)
                if found is not None and found.state is PoolState.ACTIVE:
                    store.pools.delete(found, now)
            case RemovePool(pool):
                store.pools.remove(pool)
                self._directories.remove_pool(pool.id)

    def _apply_to_node(self, decision: NodeDecision, now: datetime) -> None:
        nodes = self._store.nodes
        match decision:
            case RequestNodeRemoval(node, option):
                nodes.set_intent(node, "remove", option)
            case CancelNodeRemoval(node):
                nodes.update(node, node.state, now, done=True)
            case SetNodeState(node, state, done):
                nodes.update(node, state, now, done=done)
                if state in WITHOUT_LOGIN:
                    self._end_logins(node, kept=True)
                self._logs.write(node.pool_id, node.id, now, f"node {state}")
            case PreemptNode(node):
                self._preempt(node, now)
            case ReallocateNode(node):
                self._reallocate(node, now)
            case BootNode(node, fresh):
                self._boot(node, now, fresh=fresh)
            case RemoveNode(node):
                self._clear(node)
                self._logs.remove(node.pool_id, node.id)
                self._end_logins(node, kept=False)
                nodes.delete(node, now)

    def _apply_to_job(self, decision: JobDecision, now: datetime) -> None:
        match decision:
            case SetJobState(job, state, reason):
                self._store.jobs.set_state(job, state, now, reason=reason)
            case RemoveJob(job):
                if self._store.jobs.purge(job):
                    self._store.preparations.delete_job(job)
                    self._remove_job_directories(job.id, job.pool_id)

    def _apply_to_schedule(self, decision: ScheduleDecision, now: datetime) -> None:
        schedules = self._store.schedules
        match decision:
            case CreateScheduledJob():
                self._create_scheduled_job(decision, now)
            case SkipScheduledJob(schedule, due, following):
                schedules.run_skipped(schedule, due, following)
            case SetScheduleState(schedule, state):
                schedules.set_state(schedule, state, now)
            case RemoveSchedule(schedule):
                schedules.delete(schedule)

    def _apply_to_run(self, decision: RunDecision, now: datetime) -> Iterator[ExecutorRequest]:
        starter = self._starter
        match decision:
            case RunTask():
                yield from self._run_task(decision, now)
            case InstallPackages(node, pool):
                yield starter.install_packages(node, pool)
            case RunStartTask(node, pool):
                yield starter.start_task(node, pool, now)
            case RunPreparationTask(job, node):
                yield starter.preparation_task(job, node, now)
            case RunReleaseTask(job, preparation):
                request = starter.release_task(job, preparation, now)
                if request is not None:
                    yield request
            case KillProcess(key):
                yield Cancel(key)
            case KillRun(seq, run):
                yield Cancel(run_key(seq, run))
            case EndPreparingTask(task):
                starter.end_without_process(task, now)
            case RequestTaskEnd(task, mode):
                self._store.runs.request_end(task, mode)

    def _delete_files(self, decision: FileDecision) -> None:
        match decision:
            case DeletePendingFiles(deletion):
                self._directories.remove(deletion.pool_id, deletion.node_id, deletion.directory)
                self._store.runs.deletion_done(deletion)
            case DeleteExpiredFiles(task):
                if task.pool_id and task.node_id and task.directory:
                    self._directories.remove(task.pool_id, task.node_id, task.directory)
                for subtask in self._store.subtasks.of(task):
                    self._directories.remove(subtask.pool_id, subtask.node_id, subtask.directory)
                self._store.runs.files_deleted(task)

    def _add_nodes(self, pool: Pool, count: int, now: datetime, *, dedicated: bool) -> None:
        suffix = "d" if dedicated else "p"
        ids = [f"tvmps_{self._token()}_{suffix}" for _ in range(count)]
        slots = pool.body["taskSlotsPerNode"]
        self._store.nodes.add(pool, ids, now, dedicated=dedicated, slots=slots)

    def _resize(self, decision: ResizePool, now: datetime) -> None:
        self._store.pools.resize(
            decision.pool,
            now,
            target_dedicated=decision.dedicated,
            target_spot=decision.spot,
            timeout=decision.pool.resize_timeout,
            deallocation=decision.option,
        )

    def _preempt(self, node: Node, now: datetime) -> None:
        """Preempt a node, unless it has another intent now."""
        current = self._store.nodes.get(node.pool_id, node.id)
        if current is not None and current.intent is None:
            _fault_log.warning("preempt: node %s of pool %s", node.id, node.pool_id)
            self._store.nodes.set_intent(
                current, "preempt", "requeue", state=NodeState.PREEMPTED, now=now
            )

    def _reallocate(self, node: Node, now: datetime) -> None:
        self._reset_preparations(node, fresh=True)
        self._clear(node)
        self._end_logins(node, kept=False)
        self._store.nodes.update(node, NodeState.CREATING, now, detail={})

    def _clear(self, node: Node) -> None:
        """Unmount the file systems of a node and remove its directory."""
        self._mounts.leave(self._directories.root(node))
        self._directories.remove_node(node.pool_id, node.id)

    def _end_logins(self, node: Node, *, kept: bool) -> None:
        """End the SSH sessions on a node, and its SSH server unless the server is ``kept``."""
        if self._ssh is not None:
            end = self._ssh.disconnect if kept else self._ssh.close
            end(node.pool_id, node.id)

    def _boot(self, node: Node, now: datetime, *, fresh: bool) -> None:
        self._reset_preparations(node, fresh=fresh)
        self._end_logins(node, kept=not fresh)
        if fresh:
            self._clear(node)
        self._directories.make_node(node.pool_id, node.id)
        self._logs.write(node.pool_id, node.id, now, "node starting")
        self._store.nodes.update(
            node,
            NodeState.STARTING,
            now,
            booted=now,
            detail={} if fresh else without_packages(node),
            errors=(),
            done=True,
        )

    def _reset_preparations(self, node: Node, *, fresh: bool) -> None:
        """Reset the preparation tasks that must run again after a boot of ``node``."""
        for preparation in self._store.preparations.on_node(node):
            job = self._store.jobs.get(preparation.job_id)
            settings = {} if job is None else job.body.get("jobPreparationTask", {})
            kept = not settings.get("rerunOnNodeRebootAfterSuccess", True)
            if fresh or preparation.state != "ready" or not kept:
                self._store.preparations.delete(preparation)

    def _run_task(self, decision: RunTask, now: datetime) -> Iterator[ExecutorRequest]:
        task, node, job = decision.task, decision.node, decision.job
        directory = task_directory(job.id, task.id)
        state = TaskState.PREPARING if decision.waits else TaskState.RUNNING
        started = self._store.runs.begin(task, node, directory, now, state)
        if started is None:
            return
        if decision.others:
            self._store.subtasks.begin(started, decision.others, subtask_started(now), now)
        if not decision.waits:
            yield self._starter.task(TaskRun(started, job, node, decision.others), fresh=True)

    def _create_scheduled_job(self, decision: CreateScheduledJob, now: datetime) -> None:
        schedule = decision.schedule
        body = schedule.body["jobSpecification"]
        job_id = f"{schedule.id}:job-{schedule.runs + 1}"
        job = add_job(
            self._store, job_id, body, now, schedule=schedule, pool_quota=self._pool_quota
        )
        auto_pool = body["poolInfo"].get("autoPoolSpecification", {})
        pool_id = schedule.pool_id
        if job is not None and auto_pool.get("poolLifetimeOption") == "jobschedule":
            pool_id = job.pool_id
        self._store.schedules.job_created(
            schedule, job_id, pool_id, decision.due, decision.following
        )

    def _remove_job_directories(self, job_id: str, pool_id: str) -> None:
        """Remove the directories that contained a job's task directories."""
        directory = task_directory(job_id, "any").rpartition("/")[0]
        for node in self._store.nodes.of(pool_id):
            self._directories.remove(node.pool_id, node.id, directory)
