"""Jobs and tasks that a recorded request needs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchspec.local.model import Job, JobState, Task, TaskState, task_directory
from replay.pools import Pools
from replay.recordings import Exchange
from replay.resource_setup import ResourceSetup, now, time_of

_J = JobState
_WAY: Mapping[JobState, tuple[JobState, ...]] = {
    _J.ACTIVE: (),
    _J.DISABLING: (_J.DISABLING,),
    _J.DISABLED: (_J.DISABLING, _J.DISABLED),
    _J.ENABLING: (_J.DISABLING, _J.DISABLED, _J.ENABLING),
    _J.TERMINATING: (_J.TERMINATING,),
    _J.COMPLETED: (_J.TERMINATING, _J.COMPLETED),
    _J.DELETING: (_J.DELETING,),
}
_DEFAULT = {
    "poolInfo": {"poolId": "replay"},
    "usesTaskDependencies": True,
    "onTaskFailure": "performexitoptionsjobaction",
}
_ENDED = {"category": "UserError", "code": "TaskEnded", "message": "Task Was Ended by User Request"}
_FAILED = {"category": "UserError", "code": "FailureExitCode", "message": "The task exited badly"}
_RAN_BADLY = {"startTime": None, "exitCode": 1, "failureInfo": _FAILED}


class Jobs:
    """Creates jobs and tasks in a given state."""

    def __init__(self, setup: ResourceSetup, pools: Pools) -> None:
        self._setup = setup
        self._pools = pools
        self._store = setup.store

    async def before_create(self, exchange: Exchange) -> None:
        """Create the job if the reply is that it exists; delete it otherwise."""
        if exchange.code == "JobExists":
            await self.ensure(exchange.body["id"])
        elif exchange.body:
            self.remove(exchange.body["id"])

    async def before_tasks(self, job_id: str, exchange: Exchange) -> None:
        """Create the job for new tasks, and remove these tasks."""
        await self.ensure(job_id)
        if not exchange.body:
            return
        taken = {
            item["taskId"]
            for item in (exchange.reply or {}).get("value", ())
            if item.get("error", {}).get("code") == "TaskExists"
        }
        for item in exchange.body.get("value", [exchange.body]):
            found = self._store.tasks.get(job_id, item["id"])
            if item["id"] in taken:
                await self.ensure_task(job_id, item["id"])
            elif found is not None:
                self._store.tasks.delete(found, now())

    def remove(self, job_id: str) -> None:
        """Remove a job with its tasks."""
        job = self._store.jobs.get(job_id)
        if job is not None:
            for task in self._store.tasks.page(job_id):
                self._store.tasks.delete(task, now())
            self._store.jobs.purge(self._store.jobs.set_state(job, JobState.DELETING, now()))

    async def ensure(self, job_id: str, shown: Mapping[str, Any] | None = None) -> Job:
        """Create a job with the given JSON."""
        shown = shown or {}
        target = JobState(shown.get("state", "active"))
        job = self._store.jobs.get(job_id)
        if job is not None and job.state is not target and job.state is not JobState.ACTIVE:
            self.remove(job_id)
            job = None
        if job is None:
            await self._setup.make(("jobs", job_id), "BatchJobCreateOptions", shown, _DEFAULT)
        job = self.there(job_id)
        if job.state is not target:
            self.move(job, target, shown)
        elif target is JobState.ACTIVE and "previousState" in shown and job.previous_state is None:
            way = (*_WAY[JobState.ENABLING], JobState.ACTIVE)
            for state in way:
                job = self._store.jobs.set_state(job, state, now())
        return self.there(job_id)

    def move(self, job: Job, target: JobState, shown: Mapping[str, Any]) -> None:
        """Bring an active job to a state."""
        info = shown.get("executionInfo", {})
        for state in _WAY[target]:
            job = self._store.jobs.set_state(
                job,
                state,
                now(),
                reason=info.get("terminateReason"),
                scheduling_error=info.get("schedulingError"),
            )

    async def ready(self, job_id: str, action: str) -> None:
        """Create a job for an operation on it."""
        await self.ensure(job_id, {"state": "disabled" if action == "enable" else "active"})

    async def ready_task(self, job_id: str, task_id: str, action: str) -> None:
        """Create a task for an operation on it."""
        state = "active"
        shown: dict[str, Any] = {"state": state}
        if action == "reactivate":
            shown = {"state": "completed", "executionInfo": _RAN_BADLY}
        await self.ensure_task(job_id, task_id, shown)

    async def ensure_task(
        self, job_id: str, task_id: str, shown: Mapping[str, Any] | None = None
    ) -> Task:
        """Create a task with the given JSON."""
        shown = shown or {}
        where = shown.get("nodeInfo", {})
        if self._store.jobs.get(job_id) is None:
            pool = {"poolInfo": {"poolId": where.get("poolId", "replay")}}
            await self.ensure(job_id, pool)
        target = TaskState(shown.get("state", "active"))
        task = self._store.tasks.get(job_id, task_id)
        if task is not None and not _can_become(task, target, shown.get("executionInfo")):
            self._store.tasks.delete(task, now())
            task = None
        if task is None:
            # A task cannot be added to a completed job, and the job cannot be created again.
            await self.ensure(job_id)
            default = {"commandLine": "true"}
            path = ("jobs", job_id, "tasks", task_id)
            await self._setup.make(path, "BatchTaskCreateOptions", shown, default)
        task = self.task_there(job_id, task_id)
        if task.state is not target:
            await self._play(task, target, shown)
        elif shown.get("previousState") == "completed" and task.previous_state is None:
            await self._play(task, TaskState.COMPLETED, {"executionInfo": _RAN_BADLY})
            self._store.tasks.reactivate(self.task_there(job_id, task_id), now())
        return self.task_there(job_id, task_id)

    def directory(self, job_id: str, task_id: str) -> Path:
        """The directory of the files of a task that ran."""
        task = self.task_there(job_id, task_id)
        assert task.pool_id and task.node_id and task.directory
        return self._setup.root(task.pool_id, task.node_id) / task.directory

    async def _play(self, task: Task, target: TaskState, shown: Mapping[str, Any]) -> None:
        info = shown.get("executionInfo", {"startTime": None, "exitCode": 0})
        if "startTime" not in info:
            self._store.tasks.end(task, now(), info.get("failureInfo", _ENDED))
            return
        where = shown.get("nodeInfo", {"poolId": "replay", "nodeId": "tvmps_replay_d"})
        node = await self._pools.ensure_node(
            where["poolId"], {"id": where["nodeId"], "state": "idle"}, []
        )
        begun = self._store.runs.begin(task, node, task_directory(task.job_id, task.id), now())
        assert begun is not None, task
        for _ in range(info.get("retryCount", 0)):
            again = self._store.runs.retry(begun, now())
            assert again is not None
            begun = again
        if target is TaskState.COMPLETED:
            self._store.runs.finish(
                begun,
                now(),
                started=time_of(info["startTime"]),
                ended=time_of(info.get("endTime")) or now(),
                exit_code=info.get("exitCode"),
                failure=info.get("failureInfo"),
                satisfies=True,
                retain_until=None,
            )

    def there(self, job_id: str) -> Job:
        """Return an existing job."""
        job = self._store.jobs.get(job_id)
        assert job is not None, job_id
        return job

    def task_there(self, job_id: str, task_id: str) -> Task:
        """Return an existing task."""
        task = self._store.tasks.get(job_id, task_id)
        assert task is not None, task_id
        return task


def _can_become(task: Task, target: TaskState, info: Mapping[str, Any] | None) -> bool:
    """Whether the engine can bring the task from its state to the given one."""
    if task.state is TaskState.ACTIVE:
        return True
    same = info is None or (info.get("exitCode"), info.get("failureInfo")) == (
        task.exit_code,
        task.failure,
    )
    return task.state is target and same
