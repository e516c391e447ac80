"""Starts of runs: the store notes that a run begins, and the executor is requested to run it.

Everything here is called in a transaction; the requests are carried out after it, so that no
process runs that the store does not know.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from batchspec.local.agent import ended_by_user
from batchspec.local.engine.environment import NodeConfig
from batchspec.local.engine.executor import (
    Execute,
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
from batchspec.local.engine.state import preparation_key, release_key
from batchspec.local.engine.task_result import failure_json
from batchspec.local.model import Job, Node, Pool, Preparation, Task, Wire
from batchspec.local.store import Store
from batchspec.local.wire import write_time


class RunStarter:
    """Starts runs of tasks, start tasks, preparation and release tasks, and installations.

    ``data`` is the folder of the nodes' directories.
    """

    def __init__(self, store: Store, node_config: NodeConfig, data: Path) -> None:
        self._store = store
        self._node_config = node_config
        self._data = data

    def install_packages(self, node: Node, pool: Pool) -> Execute:
        """Install the application packages of ``pool`` on ``node``."""
        launch = installation(self._node_config, self._data, node, pool)
        return Execute(launch, InstallRun(node, launch.packages))

    def start_task(
        self, node: Node, pool: Pool, now: datetime, retries: int = 0, info: Wire | None = None
    ) -> Execute:
        """Run the start task of ``pool`` on ``node``; ``info`` extends its ``startTaskInfo``."""
        started = {"state": "running", "startTime": write_time(now), "retryCount": retries}
        current = self._store.nodes.get(node.pool_id, node.id) or node
        updated = self._store.nodes.update(
            current, current.state, now, start_task_info=started | dict(info or {})
        )
        launch = start_launch(self._node_config, self._data, updated, pool)
        return Execute(launch, StartTaskRun(updated, pool, retries))

    def task(self, run: TaskRun, *, fresh: bool) -> Execute:
        """Run a task whose run has begun in the store; a retry is not ``fresh``."""
        nodes = (run.node, *run.others)
        pool = self._pool(run.node)
        launch = task_launch(
            self._node_config, self._data, run.task, run.job, nodes, pool=pool, fresh=fresh
        )
        return Execute(launch, run)

    def preparation_task(self, job: Job, node: Node, now: datetime) -> Execute:
        """Run the preparation task of ``job`` on ``node`` for the first time."""
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": job_task_directory(job, release=False),
            "retryCount": 0,
        }
        preparation = self._store.preparations.begin(job, node, info)
        return self.preparation_run(PreparationRun(preparation, job, node, 0), fresh=True)

    def preparation_run(self, run: PreparationRun, *, fresh: bool) -> Execute:
        """Run a preparation task that the store knows; a retry is not ``fresh``."""
        launch = job_task_launch(
            self._node_config,
            self._data,
            run.job,
            run.node,
            pool=self._pool(run.node),
            key=preparation_key(run.preparation),
            release=False,
            fresh=fresh,
        )
        return Execute(launch, run)

    def release_task(self, job: Job, preparation: Preparation, now: datetime) -> Execute | None:
        """Run the release task of ``job`` on a prepared node; ``None`` if the node is gone."""
        node = self._store.nodes.get(preparation.pool_id, preparation.node_id)
        if node is None:
            self._store.preparations.delete(preparation)
            return None
        info = {
            "startTime": write_time(now),
            "state": "running",
            "taskRootDirectory": job_task_directory(job, release=True),
        }
        self._store.preparations.update_release(preparation, "running", info)
        launch = job_task_launch(
            self._node_config,
            self._data,
            job,
            node,
            pool=self._pool(node),
            key=release_key(preparation),
            release=True,
            fresh=True,
        )
        return Execute(launch, ReleaseRun(preparation))

    def end_without_process(self, task: Task, now: datetime) -> None:
        """End a task that is on a node and has no process: as requested, else requeue it."""
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

    def _pool(self, node: Node) -> Pool:
        """The pool of a node, which exists as long as it has nodes."""
        pool = self._store.pools.get(node.pool_id)
        if pool is None:
            raise LookupError(f"pool {node.pool_id} does not exist")
        return pool
