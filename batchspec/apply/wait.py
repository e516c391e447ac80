"""The waits of a run, and the check of outputs when tasks have succeeded.

Waits for nodes and for tasks use the monitor. Waits for deletions and for the end of a job have
separate, generous limits: the service takes minutes to delete the nodes of a large pool, and the
release task of a job may run for 15 minutes on each node (the service's limit).

The service's counts may lag behind; its lists do not. Evidence: the descriptions of
Job_GetTaskCounts and Account_ListPoolNodeCounts ("may not always be up to date. If you need exact
... counts, use a list query"). So a wait does not end by counts until lists confirm them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta

from batchspec.account import Account, TaskCounts
from batchspec.apply.context import StepContext, StepResult, StoredOutputs
from batchspec.apply.events import Noticed, Outcome, StagesSeen, TaskFailed, TasksSeen
from batchspec.apply.monitor import Cause, Health, Monitor, PollInterval, TaskStates, lasting
from batchspec.apply.ports import Runtime
from batchspec.apply.record import TAIL, read_tail
from batchspec.diagnostics import Diagnostic, ServiceError, Severity, counted, redact
from batchspec.exit_codes import Exit
from batchspec.plan import (
    LostTasks,
    MissingOutput,
    OutputIndex,
    Outputs,
    collect_missing,
    count_stages,
    output_missing,
)
from batchspec.plan.actions import DownloadResults, WaitForTasks
from batchspec.plan.failures import AT_LIMIT, BLOCKED, UNPREPARED
from batchspec.plan.observed import JobFacts

DELETION_LIMIT = timedelta(hours=1)
"""How long to wait for the deletion of a pool, a job or a schedule."""

TERMINATION_LIMIT = timedelta(minutes=30)
"""How long to wait for the end of a job or of tasks that were terminated."""

_DETAILED = 10
"""How many failed tasks are shown with their stderr; the others are counted."""

TIME_LIMIT = "TimeLimit"
"""The terminate reason of a job at its limit, if the service has not ended it."""
_ALL_DONE = "AllTasksComplete"
"""The terminate reason of a job in which every task is completed."""
_NOT_TERMINATED = frozenset({None, _ALL_DONE, "JMComplete"})
"""The terminate reasons of a job that neither a client nor a failed task has ended."""


async def wait_for_pool(monitor: Monitor) -> StepResult:
    """Wait until a node accepts tasks.

    If the job ends or reaches its limit meanwhile, the wait for its tasks reports it.

    Raises:
        ServiceError: no node will ever accept tasks; with the reason of the service.
    """
    while True:
        health = await monitor.poll()
        if health.over:
            return StepResult(0, note="no longer needed: the job has ended")
        if health.usable:
            return StepResult(health.usable)
        if (cause := monitor.ending) is not None:
            raise _error_of(cause)
        if health.pool is not None and not (health.pool.target or health.nodes):
            scales = "until tasks wait" if health.pool.scales else "and does not scale"
            return StepResult(0, note=f"it has no nodes {scales}")
        if health.left <= 0:
            await monitor.keep_start_tasks()
            monitor.report_all()
            if health.job is not None:
                await monitor.runtime.account.jobs.terminate(health.job.id, TIME_LIMIT)
            return StepResult(0, note="the time limit has passed", outcome=Outcome.TIME_LIMIT)
        await monitor.pause()


async def wait_for_tasks(action: WaitForTasks, monitor: Monitor) -> StepResult:
    """Wait until every task is completed, report failures, and terminate the job at its limit.

    Raises:
        ServiceError: no task can ever run; the job or its pool was deleted.
    """
    return await _TaskWait(action, monitor).run()


@dataclass(slots=True)
class _TaskWait:
    action: WaitForTasks
    monitor: Monitor
    reported: set[str] = field(default_factory=set)
    counted: int = 0
    states: TaskStates = field(init=False)

    def __post_init__(self) -> None:
        self.states = TaskStates(self.action, self.monitor.runtime, self.monitor.emit)

    async def run(self) -> StepResult:
        performed = await self._wait()
        if self.counted:
            await self.states.finish(await self.monitor.runtime.account.jobs.get(self.action.job))
        if self.action.stages:
            await self._report_stages()
        return performed

    async def _report_stages(self) -> None:
        """Report the totals of each stage, which only a list of the tasks gives."""
        tasks = self.monitor.runtime.account.tasks.list(self.action.job)
        try:
            counts = await count_stages(self.action.stages, tasks)
        except ServiceError as error:
            # The result of the run is known; only its summary lacks the stages.
            for problem in error.problems:
                self.monitor.emit(Noticed(replace(problem, severity=Severity.WARNING)))
            return
        stages = {name: asdict(stage) for name, stage in counts.items()}
        self.monitor.emit(StagesSeen(self.action.job, stages))

    async def _wait(self) -> StepResult:
        account = self.monitor.runtime.account
        while True:
            health = await self.monitor.poll()
            if health.job is None:
                raise _job_missing(self.action.job)
            self._report(health.counts, health.left)
            if health.counts.failed > self.counted:
                await self._report_failed(health.counts)
            await self.states.read(health)
            if health.over:
                return await self._job_ended()
            if self._complete(health.counts):
                # Shortly after a retry, the service may return the counts from before the retry.
                failed = health.counts.failed
                if not (failed and await has_unfinished_tasks(account, self.action.job)):
                    # The tasks of a terminated job count as completed, too.
                    if failed and await self._is_ending():
                        return await self._job_ended()
                    final = await self._final(health.counts)
                    self._report(final, health.left)
                    return self._completed(final)
            if health.left <= 0:
                return await self._time_limit(health)
            if (cause := self.monitor.ending) is not None:
                return await self._ended_by(cause)
            await self.monitor.pause()

    async def _ended_by(self, cause: Cause) -> StepResult:
        """No task can ever start: the run ends with the cause."""
        if cause.kind.terminates_job:
            reason = UNPREPARED if cause.code == "preparation-failed" else BLOCKED
            await self.monitor.runtime.account.jobs.terminate(self.action.job, reason)
        if cause.kind.exit is not Exit.TASKS_FAILED:
            raise _error_of(cause)
        return await self._job_ended()

    async def _time_limit(self, health: Health) -> StepResult:
        await self.monitor.keep_start_tasks()
        self.monitor.report_all()
        await self.monitor.runtime.account.jobs.terminate(self.action.job, TIME_LIMIT)
        return self._out_of_time(health.counts)

    def _complete(self, counts: TaskCounts) -> bool:
        """Whether every task is completed and no more will be added."""
        done = counts.completed >= max(self.action.tasks, 1) and counts.completed == counts.total
        return done and self.action.closed

    async def _is_ending(self) -> bool:
        job = await self.monitor.runtime.account.jobs.get(self.action.job)
        return job is not None and job.state != "active"

    async def _final(self, counts: TaskCounts) -> TaskCounts:
        account = self.monitor.runtime.account
        tasks, superseded = self.action.tasks, self.action.superseded
        return await final_counts(account, self.action.job, counts, tasks, superseded=superseded)

    def _report(self, counts: TaskCounts, left: float) -> None:
        action = self.action
        self.monitor.emit(
            TasksSeen(
                action.job,
                max(counts.total, action.tasks) + action.kept + action.absent,
                counts.active,
                counts.running,
                counts.succeeded + action.kept,
                counts.failed + action.failed_before,
                max(left, 0.0),
            )
        )

    async def _report_failed(self, counts: TaskCounts) -> None:
        self.counted = counts.failed
        if len(self.reported) >= _DETAILED:
            return
        account, emit = self.monitor.runtime.account, self.monitor.emit
        async for task in account.tasks.list_failed(self.action.job):
            if task.id in self.reported:
                continue
            self.reported.add(task.id)
            tail = await read_tail(
                account.tasks.get_file_tail(self.action.job, task.id, "stderr.txt", TAIL), emit
            )
            emit(
                TaskFailed(
                    self.action.job,
                    task.id,
                    task.exit_code,
                    task.code or "",
                    redact(task.message or ""),
                    tail,
                    task.node,
                )
            )
            if len(self.reported) >= _DETAILED:
                return

    async def _job_ended(self) -> StepResult:
        """The result of a job that has ended or is ending; reports why tasks are not completed."""
        job = await wait_until_ended(self.action.job, self.monitor.runtime)
        if job is None:
            raise _job_missing(self.action.job)
        counts = await self.monitor.runtime.account.jobs.get_task_counts(self.action.job)
        counts = counts.without(self.action.superseded)
        if job.terminate_reason == _ALL_DONE:
            counts = await self._final(counts)
        self._report(counts, 0.0)
        if counts.failed > self.counted:
            await self._report_failed(counts)
        if job.terminate_reason in AT_LIMIT:
            await self.monitor.keep_start_tasks()
            self.monitor.report_all()
            return self._out_of_time(counts)
        # If the job was not closed, the final number of its tasks is not known.
        every = counts.completed >= (self.action.tasks if self.action.closed else counts.total)
        # Tasks that are terminated with their job count as completed and failed.
        if every and (not counts.failed or job.terminate_reason in _NOT_TERMINATED):
            return self._completed(counts)
        cause = self.monitor.ending
        problem = (
            _problem_of(cause, Severity.WARNING)
            if cause is not None and job.terminate_reason == BLOCKED
            else _ended_early(job, counts)
        )
        self.monitor.emit(Noticed(problem))
        return StepResult(counts.completed, outcome=Outcome.TASKS_FAILED)

    def _completed(self, counts: TaskCounts) -> StepResult:
        if counts.failed:
            return StepResult(
                counts.completed, note=f"{counts.failed} failed", outcome=Outcome.TASKS_FAILED
            )
        return StepResult(counts.completed)

    def _out_of_time(self, counts: TaskCounts) -> StepResult:
        unfinished = self.action.tasks - counts.succeeded
        reason = next(iter(self.monitor.causes), None)
        lasted = ""
        if reason is not None and reason.since is not None:
            seconds = (self.monitor.runtime.account.now() - reason.since).total_seconds()
            lasted = f", for {lasting(seconds)}"
        self.monitor.emit(Noticed(_time_limit(self.action, unfinished, reason, lasted)))
        return StepResult(counts.completed, outcome=Outcome.TIME_LIMIT)


def _problem_of(cause: Cause, severity: Severity = Severity.ERROR) -> Diagnostic:
    return Diagnostic(
        cause.code, cause.summary, detail=cause.detail, fix=cause.action, severity=severity
    )


def _error_of(cause: Cause) -> ServiceError:
    return ServiceError(_problem_of(cause), code=cause.service or cause.code)


def _ended_early(job: JobFacts, counts: TaskCounts) -> Diagnostic:
    unfinished = counts.active + counts.running
    return Diagnostic(
        "job-ended",
        f"the job {job.id!r} ended before all its tasks had succeeded: "
        f"{job.terminate_reason or 'the service gives no reason'}",
        detail=f"{counted(unfinished, 'task')} did not complete." if unfinished else "",
        fix="`batchspec apply` runs the rest.",
        severity=Severity.WARNING,
    )


def _job_missing(job: str) -> ServiceError:
    problem = Diagnostic("job-gone", f"the job {job!r} was deleted while it ran")
    return ServiceError(problem, code="JobNotFound")


def _time_limit(
    action: WaitForTasks, unfinished: int, reason: Cause | None, lasted: str
) -> Diagnostic:
    """``reason`` is the cause for which the run waited at the end, ``lasted`` its duration."""
    detail = f"{unfinished:,} of {counted(action.tasks, 'task')} did not succeed."
    fix = "Raise `job.max_wall_clock_time` and apply again; succeeded tasks do not run again."
    if reason is not None:
        detail += f" At the end: {reason.summary}{lasted}."
        fix = reason.action
    return Diagnostic(
        "time-limit",
        f"the job {action.job!r} was terminated: its time limit has passed",
        detail=detail,
        fix=fix,
        severity=Severity.WARNING,
    )


async def has_unfinished_tasks(account: Account, job: str) -> bool:
    """Whether a task of the job waits or runs, from lists.

    Running tasks are listed last, because a task may have started since the first list.
    """
    async for _ in account.tasks.list_waiting(job):
        return True
    return await account.tasks.any_running(job)


async def final_counts(
    account: Account, job: str, counts: TaskCounts, tasks: int, *, superseded: int = 0
) -> TaskCounts:
    """The counts of a job whose tasks are all completed; from lists if the counts disagree.

    ``tasks`` is the expected number. ``superseded`` further tasks of the job have succeeded and are
    not counted.
    """
    total = counts.total
    if counts.completed < max(total, tasks):
        total = sum([1 async for _ in account.tasks.list_ids(job)]) - superseded
    elif not counts.failed:
        return counts
    failed = sum([1 async for _ in account.tasks.list_failed(job)])
    return TaskCounts(0, 0, total - failed, failed)


async def check_outputs(
    action: WaitForTasks | DownloadResults, result: StepResult, context: StepContext
) -> StepResult:
    """Report missing outputs; without a required or a stored output, the run has failed.

    The results of such a run do not count as downloaded, so the next plan compares the tasks with
    the blobs and submits those without outputs again.
    """
    if result.outcome is not None or action.outputs is None:
        return result
    missing, lost = await _missing(action.outputs, action.job, context)
    for output in missing:
        for problem in output_missing([output]):
            required = output.first.required
            context.emit(
                Noticed(replace(problem, severity=Severity.ERROR) if required else problem)
            )
    if lost:
        context.emit(Noticed(_outputs_lost(lost)))
    elif not any(output.first.required for output in missing):
        return result
    context.incomplete.add(action.job)
    return replace(result, outcome=Outcome.TASKS_FAILED)


def _outputs_lost(tasks: int) -> Diagnostic:
    return Diagnostic(
        "outputs-gone",
        f"outputs of {counted(tasks, 'task')} were deleted or lost after they were stored",
        detail="The stdout and stderr of these tasks are missing, too.",
        fix="Run `batchspec apply` again: it repeats only the tasks without `results`, and the"
        " tasks without an output with `required: true`.",
    )


async def _missing(
    outputs: Outputs, job: str, context: StepContext
) -> tuple[list[MissingOutput], int]:
    """The outputs that are missing, and the number of tasks that have lost them.

    Each container is listed once.
    """
    runtime, index = context.runtime, OutputIndex()
    for expected in outputs:
        index.add(expected)
    if not index.prefixes:
        return [], 0
    since = await _since(outputs, job, runtime)
    for container, prefix in index.prefixes.items():
        count = 0
        async for blob in runtime.account.blobs.list(container, prefix):
            if blob.modified is None or blob.modified >= since:
                index.add_blob(container, blob)
                count += 1
        context.stored[container] = StoredOutputs(prefix, since, count)
    return collect_missing(outputs, index), await _lost_tasks(outputs, index, runtime)


async def _lost_tasks(outputs: Outputs, index: OutputIndex, runtime: Runtime) -> int:
    """The number of tasks without an output whose stdout and stderr no longer exist."""
    lost = LostTasks.of(outputs, index)
    for container, prefix in lost.prefixes.items():
        if await runtime.account.containers.get_metadata(container) is None:
            # Clean-up or a client deletes the logs of all tasks with the container.
            return 0
        async for blob in runtime.account.blobs.list(container, prefix):
            lost.add_blob(container, blob)
    return lost.number


async def _since(outputs: Outputs, job: str, runtime: Runtime) -> datetime:
    """When the first task was created, on the clock of the storage account."""
    since = outputs.since
    if since is None:
        facts = await runtime.account.jobs.get(job)
        since = facts.created if facts is not None else datetime.min.replace(tzinfo=UTC)
    return runtime.in_storage_time(since)


async def wait_until_deleted(
    get: Callable[[], Awaitable[object | None]], subject: str, runtime: Runtime
) -> None:
    """Poll until ``get`` returns ``None``; ``subject`` is, for example, ``pool topn``.

    Raises:
        ServiceError: the object still exists after :data:`DELETION_LIMIT`.
    """
    began, interval = runtime.clock.monotonic(), PollInterval(runtime.shortest_poll_interval)
    while await get() is not None:
        _check_limit(began, DELETION_LIMIT, runtime, _not_deleted(subject))
        await runtime.clock.sleep(interval.next(None))


async def wait_until_ended(job: str, runtime: Runtime) -> JobFacts | None:
    """Poll until a job has ended and none of its tasks runs; ``None`` if it was deleted.

    Raises:
        ServiceError: the job has not ended after :data:`TERMINATION_LIMIT`.
    """
    began, interval = runtime.clock.monotonic(), PollInterval(runtime.shortest_poll_interval)
    while (facts := await runtime.account.jobs.get(job)) is not None and facts.state != "completed":
        _check_limit(began, TERMINATION_LIMIT, runtime, _not_ended(job, facts.state))
        await runtime.clock.sleep(interval.next(facts.state))
    return facts


def _check_limit(began: float, limit: timedelta, runtime: Runtime, problem: Diagnostic) -> None:
    if runtime.clock.monotonic() - began > limit.total_seconds():
        raise ServiceError(problem, code=problem.code)


def _not_deleted(subject: str) -> Diagnostic:
    kind, _, name = subject.partition(" ")
    return Diagnostic(
        "deletion-unfinished",
        f"the {kind} {name!r} still exists an hour after its deletion was requested",
        fix="The service continues the deletion. Check with `batchspec list`.",
    )


def _not_ended(job: str, state: str) -> Diagnostic:
    return Diagnostic(
        "job-not-ended",
        f"the job {job!r} is still {state} half an hour after it was terminated",
        fix="A task or a release task does not stop. Check with `batchspec status`; "
        "`batchspec destroy` deletes the job.",
    )
