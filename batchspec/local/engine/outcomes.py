"""The effects of the end of a run on its task, dependent tasks and the job, and their record.

Source: the reference of ``ExitConditions``, ``ExitOptions`` and ``TaskConstraints``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from batchspec.local.agent import Outcome, ended_by_user, failure_json, node_error_json
from batchspec.local.engine.environment import with_packages
from batchspec.local.engine.runs import (
    ExecutorRequest,
    FinishedRun,
    InstallRun,
    PreparationRun,
    ReleaseRun,
    RunStarter,
    StartTaskRun,
    TaskRun,
)
from batchspec.local.model import Job, JobState, NodeState, Task, Wire
from batchspec.local.store import Store
from batchspec.local.wire import add_duration, read_duration, write_time


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of a run.

    With ``retry`` the task runs again immediately. Otherwise the task is completed: ``satisfies``
    lets dependent tasks run, and ``job_action`` (``none``, ``disable``, ``terminate``) applies to
    the job.
    """

    retry: bool
    satisfies: bool = False
    job_action: str = "none"


def task_result(task: Wire, job: Wire, retries: int, outcome: Outcome) -> TaskResult:
    """The result of a run of ``task`` after ``retries`` retries; ``task`` and ``job`` are bodies.

    Only an exit code other than 0 leads to a retry. A failed download or upload, a program that
    cannot be started, and an ended run do not.
    """
    failure = outcome.failure
    limit = task.get("constraints", {}).get("maxTaskRetryCount", 0)
    failed_by_code = failure is not None and failure.code == "FailureExitCode"
    if failed_by_code and (limit < 0 or retries < limit):
        return TaskResult(retry=True)
    options = _exit_options(task.get("exitConditions") or {}, outcome)
    default = "satisfy" if failure is None else "block"
    satisfies = options.get("dependencyAction", default).lower() == "satisfy"
    action = "none"
    if job.get("onTaskFailure", "noaction").lower() == "performexitoptionsjobaction":
        action = options.get("jobAction", "none" if failure is None else "terminate").lower()
    return TaskResult(retry=False, satisfies=satisfies, job_action=action)


def _exit_options(conditions: Mapping[str, Any], outcome: Outcome) -> Mapping[str, Any]:
    """The exit options that apply. A listed exit code precedes a failed upload."""
    code, failure = outcome.exit_code, outcome.failure
    none: Mapping[str, Any] = {}
    if code is not None:
        for mapping in conditions.get("exitCodes", ()):
            if mapping["code"] == code:
                return mapping.get("exitOptions") or none
        for mapping in conditions.get("exitCodeRanges", ()):
            if mapping["start"] <= code <= mapping["end"]:
                return mapping.get("exitOptions") or none
    if failure is None:
        return none
    kind = None
    if code is None and failure.code != "TaskEnded":
        kind = "preProcessingError"
    elif failure.code.startswith("FileUpload"):
        kind = "fileUploadError"
    return conditions.get(kind or "") or conditions.get("default") or none


def subtask_started(now: datetime) -> Wire:
    """The info of a subtask when it starts."""
    stamp = write_time(now)
    return {"startTime": stamp, "stateTransitionTime": stamp}


def subtask_ended(outcome: Outcome) -> Wire:
    """The info of a subtask when its task has ended."""
    stamp = write_time(outcome.ended)
    info: dict[str, Any] = {"startTime": write_time(outcome.started), "endTime": stamp}
    if outcome.exit_code is not None:
        info["exitCode"] = outcome.exit_code
    failure = failure_json(outcome.failure)
    if failure is not None:
        info["failureInfo"] = failure
    return info | {
        "result": "success" if failure is None else "failure",
        "stateTransitionTime": stamp,
        "previousState": "running",
        "previousStateTransitionTime": info["startTime"],
    }


_OPEN_JOBS = (JobState.ACTIVE, JobState.DISABLING, JobState.DISABLED, JobState.ENABLING)


class OutcomeRecorder:
    """Records outcomes; use it in a transaction."""

    def __init__(self, store: Store, starter: RunStarter) -> None:
        self._store = store
        self._starter = starter

    def record(self, finished: Iterable[FinishedRun], now: datetime) -> Iterator[ExecutorRequest]:
        """Record each outcome in order; the requests are retries and prepared tasks."""
        jobs: dict[str, Job | None] = {}
        for one in finished:
            if not isinstance(one.subject, TaskRun):
                yield from self._other(one.subject, one.outcome, now)
                continue
            job_id = one.subject.task.job_id
            if job_id not in jobs:
                jobs[job_id] = self._store.jobs.get(job_id)
            job = jobs[job_id]
            if job is None:  # deleted, and its tasks with it
                continue
            outcome = self._with_requested_end(one.subject.task, job, one.outcome)
            if self._was_requeued(one.subject.task, outcome):
                if one.outcome is not None:
                    self._store.runs.add_usage(one.subject.task, one.outcome.usage)
                self._store.runs.requeue(one.subject.task, now)
            elif outcome is not None:
                acted = yield from self._task(one.subject, job, outcome, now)
                if acted:
                    del jobs[job_id]

    def _other(
        self,
        run: StartTaskRun | PreparationRun | ReleaseRun | InstallRun,
        outcome: Outcome | None,
        now: datetime,
    ) -> Iterator[ExecutorRequest]:
        if isinstance(run, InstallRun):
            self._installation(run, outcome, now)
        elif isinstance(run, StartTaskRun):
            yield from self._start_task(run, outcome, now)
        elif isinstance(run, PreparationRun):
            yield from self._preparation(run, outcome, now)
        elif (row := self._store.preparations.get(run.preparation.seq)) is not None:
            # A lost release task runs again; the job ends even if the release task fails.
            state = None if outcome is None else "completed"
            info = None if outcome is None else _task_info(outcome, row.release)
            self._store.preparations.update_release(row, state, info)

    def _preparation(
        self, run: PreparationRun, outcome: Outcome | None, now: datetime
    ) -> Iterator[ExecutorRequest]:
        row = self._store.preparations.get(run.preparation.seq)
        node = self._store.nodes.get(run.node.pool_id, run.node.id)
        job = self._store.jobs.get(run.job.id)
        if row is None or node is None or job is None:
            return
        if outcome is None:
            yield self._starter.preparation_run(run, fresh=False)
            return
        limit = run.job.body["jobPreparationTask"]["constraints"]["maxTaskRetryCount"]
        if (
            job.state in _OPEN_JOBS
            and node.intent is None
            and _should_retry(outcome, run.retries, limit)
        ):
            info = {**row.info, "retryCount": run.retries + 1, "lastRetryTime": write_time(now)}
            self._store.preparations.update(row, "running", info)
            yield self._starter.preparation_run(replace(run, retries=run.retries + 1), fresh=False)
            return
        ready = outcome.failure is None
        self._store.preparations.update(
            row, "ready" if ready else "failed", _task_info(outcome, row.info)
        )
        for task in self._store.runs.preparing_on(node, job.id):
            if task.ending is not None:
                continue
            if not ready:
                self._store.runs.requeue(task, now, counted=False)
            elif (started := self._store.runs.start_prepared(task, now)) is not None:
                yield self._starter.task(TaskRun(started, job, node), fresh=True)

    def _with_requested_end(self, task: Task, job: Job, outcome: Outcome | None) -> Outcome | None:
        """``outcome``, or ``TaskEnded`` if the requested end of the task prevents a retry."""
        if outcome is None or self._store.runs.requested_end(task) is None:
            return outcome
        again = task_result(task.body, job.body, task.retry_count, outcome).retry
        return replace(outcome, failure=ended_by_user()) if again else outcome

    def _was_requeued(self, task: Task, outcome: Outcome | None) -> bool:
        if outcome is None:
            return True
        if outcome.failure is None or outcome.failure.code != "TaskEnded":
            return False
        return self._store.runs.requested_end(task) == "requeue"

    def _task(
        self, run: TaskRun, job: Job, outcome: Outcome, now: datetime
    ) -> Generator[ExecutorRequest, None, bool]:
        """Record the end of a task's run; return whether the state of its job changed."""
        task = run.task
        result = task_result(task.body, job.body, task.retry_count, outcome)
        if result.retry and job.state in _OPEN_JOBS:
            self._store.runs.add_usage(task, outcome.usage)
            again = self._store.runs.retry(task, now)
            if again is not None:
                if run.others:
                    self._store.subtasks.restart(again, subtask_started(now))
                yield self._starter.task(replace(run, task=again, job=job), fresh=False)
            return False
        self._store.runs.finish(
            task,
            now,
            started=outcome.started,
            ended=outcome.ended,
            exit_code=outcome.exit_code,
            failure=failure_json(outcome.failure),
            satisfies=result.satisfies,
            retain_until=_retention_end(task.body, outcome.ended),
            container=outcome.container,
            usage=outcome.usage,
        )
        for number in range(1, len(run.others) + 1):
            # Subtask outcomes are missing if the preparation of the primary task has failed.
            ends = outcome.subtasks or (replace(outcome, exit_code=None),) * len(run.others)
            self._store.subtasks.complete(task, number, subtask_ended(ends[number - 1]))
        if result.job_action == "terminate" and job.state in _OPEN_JOBS:
            self._store.jobs.set_state(job, JobState.TERMINATING, now, reason="TaskFailed")
            return True
        if result.job_action == "disable" and job.state is JobState.ACTIVE:
            self._store.jobs.set_state(job, JobState.DISABLING, now, disable_tasks="requeue")
            return True
        return False

    def _installation(self, run: InstallRun, outcome: Outcome | None, now: datetime) -> None:
        """Record an installation; a failure makes the node unusable until it boots again."""
        node = self._store.nodes.get(run.node.pool_id, run.node.id)
        if node is None or node.seq != run.node.seq or outcome is None:
            return
        if outcome.failure is None:
            detail = with_packages(node, run.packages)
            self._store.nodes.update(node, node.state, now, detail=detail)
        elif node.intent is None and node.state is NodeState.STARTING:
            errors = (node_error_json(outcome.failure),)
            self._store.nodes.update(node, NodeState.UNUSABLE, now, errors=errors)

    def _start_task(
        self, run: StartTaskRun, outcome: Outcome | None, now: datetime
    ) -> Iterator[ExecutorRequest]:
        node = self._store.nodes.get(run.node.pool_id, run.node.id)
        if node is None or node.seq != run.node.seq:
            return
        if outcome is None:
            if node.intent is None:
                yield self._starter.start_task(node, run.pool, now, run.retries)
            return
        limit = run.pool.body["startTask"]["maxTaskRetryCount"]
        if node.intent is None and _should_retry(outcome, run.retries, limit):
            retried = {"lastRetryTime": write_time(now)}
            yield self._starter.start_task(node, run.pool, now, run.retries + 1, retried)
            return
        state = node.state
        if state is NodeState.WAITING_FOR_START_TASK and node.intent is None:
            state = NodeState.IDLE if outcome.failure is None else NodeState.START_TASK_FAILED
        info = _task_info(outcome, node.start_task_info)
        self._store.nodes.update(node, state, now, start_task_info=info)


def _should_retry(outcome: Outcome, retries: int, limit: int) -> bool:
    """Whether a start or preparation task runs again."""
    by_code = outcome.failure is not None and outcome.failure.code == "FailureExitCode"
    return by_code and (limit < 0 or retries < limit)


def _task_info(outcome: Outcome, before: Wire | None) -> Wire:
    """The info of a run that has ended; other fields of the info ``before`` stay."""
    info: dict[str, Any] = {
        **(before or {}),
        "state": "completed",
        "startTime": write_time(outcome.started),
        "endTime": write_time(outcome.ended),
    }
    if outcome.exit_code is not None:
        info["exitCode"] = outcome.exit_code
    if outcome.container is not None:
        info["containerInfo"] = outcome.container
    failure = failure_json(outcome.failure)
    if failure is not None:
        info["failureInfo"] = failure
    return info | {"result": "success" if failure is None else "failure"}


def _retention_end(body: Wire, ended: datetime) -> datetime | None:
    """The deletion time of the files of a task that ended at ``ended``; ``None`` for no end."""
    return add_duration(ended, read_duration(body["constraints"]["retentionTime"]))
