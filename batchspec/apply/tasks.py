"""Adds the tasks of a job, reactivates failed ones, and terminates those of an earlier version.

Tasks are added in input order, a hundred in a request, several requests at a time.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from itertools import islice

from batchspec.apply.concurrency import for_each
from batchspec.apply.context import StepContext, StepResult, id_digest
from batchspec.apply.monitor import PollInterval
from batchspec.apply.ports import Runtime
from batchspec.apply.wait import TERMINATION_LIMIT, wait_until_ended
from batchspec.diagnostics import Diagnostic, JobEndedError, ServiceError, counted
from batchspec.plan import Task
from batchspec.plan.actions import CloseJob, RetryTasks, SubmitTasks, TerminateTasks
from batchspec.plan.observed import Stream, TaskFacts
from batchspec.spec import Record

_COLLECTION = 100
"""The most tasks that one Add Task Collection takes."""
_REQUESTS = 16
"""As for uploads. With 4, a submission mostly waits if a request takes 50 ms."""
_SHOWN = 5
_CLOSED = Record(onAllTasksComplete="terminatejob")
_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})
"""The codes with which the service refuses tasks because the job has ended."""


async def submit_tasks(action: SubmitTasks, context: StepContext) -> StepResult:
    """Add every task of the step, each as soon as its inputs are uploaded.

    A task that exists in the job counts as added.

    Raises:
        ServiceError: a task was refused, its inputs were not uploaded, or it is not in the job
            although the service accepted it. The other tasks are still added, so that the
            next apply has less to do.
    """
    try:
        return await _submit(action, context)
    except ServiceError as error:
        raise await _why_refused(error, action.job, context.runtime) from None


async def _submit(action: SubmitTasks, context: StepContext) -> StepResult:
    progress, runtime = context.progress(items=len(action.tasks)), context.runtime
    refused: list[Diagnostic] = []
    existing = 0

    async def add(chunk: tuple[Task, ...]) -> None:
        nonlocal existing
        await _wait_for_inputs(action, chunk, context)
        bodies = [task.body for task in chunk]
        results = await runtime.account.tasks.create_collection(action.job, bodies, action.sas)
        for result in results:
            existing += result.existed
            if result.problem is not None:
                refused.append(result.problem)
        context.submitted.add(action.job, (each.id for each in results if each.problem is None))
        progress.finish(len(chunk))

    chunks = _chunks(action.tasks)
    await for_each(chunks, add, workers=_REQUESTS, cancellation=runtime.cancellation)
    if refused:
        raise _refused(action.stage, refused)
    if action.job not in context.verified_later:
        await context.submitted.verify(action.job, runtime)
    return StepResult(progress.done, note=f"{existing:,} already existed" if existing else "")


async def _wait_for_inputs(
    action: SubmitTasks, chunk: tuple[Task, ...], context: StepContext
) -> None:
    """Wait for the files of these tasks that are still being uploaded."""
    for task in chunk:
        for key, blob in task.inputs:
            container = action.arriving.get(key)
            if container is not None and not await context.uploads.wait(container, blob):
                context.runtime.cancellation.check()
                raise _missing_input(action.stage, blob)


async def close_job(action: CloseJob, context: StepContext) -> StepResult:
    """Let the job end with its last task, after verifying that it contains all submitted tasks.

    Raises:
        ServiceError: some tasks are missing; the job stays open.
    """
    verified = await context.submitted.verify(action.job, context.runtime)
    note = f"all {verified:,} tasks are in the job" if verified > 1 else ""
    try:
        await context.runtime.account.jobs.update(action.job, _CLOSED)
    except ServiceError as error:
        # Another run of the spec closed the job earlier, and it has ended since.
        if error.code not in _ENDED:
            raise
        note = "the job has already ended"
    return StepResult(note=note)


async def retry_tasks(action: RetryTasks, context: StepContext) -> StepResult:
    """Reactivate every failed task of the step."""
    progress, runtime = context.progress(items=len(action.tasks)), context.runtime

    async def reactivate(task: Task) -> None:
        await runtime.account.tasks.reactivate(action.job, task.id)
        progress.finish()

    try:
        await for_each(
            action.tasks, reactivate, workers=_REQUESTS, cancellation=runtime.cancellation
        )
    except ServiceError as error:
        raise await _why_refused(error, action.job, runtime) from None
    return StepResult(progress.done)


async def _why_refused(error: ServiceError, job: str, runtime: Runtime) -> ServiceError:
    """The refusal of tasks; with the terminate reason of the job if the job has ended."""
    facts = await runtime.account.jobs.get(job) if error.code in _ENDED else None
    if facts is None:
        return error
    problem = Diagnostic(
        "job-ended",
        f"the job {job!r} ended before all its tasks were submitted: "
        f"{facts.terminate_reason or 'the service gives no reason'}",
        fix="`batchspec apply` runs the rest.",
    )
    return JobEndedError(problem, code=error.code, status=error.status)


def _chunks(tasks: Stream[Task]) -> Iterator[tuple[Task, ...]]:
    source = iter(tasks)
    while chunk := tuple(islice(source, _COLLECTION)):
        yield chunk


def _missing_input(stage: str, blob: str) -> ServiceError:
    problem = Diagnostic(
        "inputs-missing",
        f"tasks of {stage} were not submitted: their input {blob!r} was not uploaded",
        fix="Fix the cause of the failed upload and apply again.",
    )
    return ServiceError(problem, code="inputs-missing")


def _refused(stage: str, refused: list[Diagnostic]) -> ServiceError:
    """The error of refused tasks: it names the first ones, with the details of the very first."""
    first = refused[0]
    detail = [first.summary, *(f"  {line}" for line in first.detail.splitlines())]
    detail += [problem.summary for problem in refused[1:_SHOWN]]
    if len(refused) > _SHOWN:
        detail.append(f"... and {len(refused) - _SHOWN:,} more")
    problem = Diagnostic(
        "tasks-refused",
        f"the service refused {counted(len(refused), 'task')} of {stage}",
        detail="\n".join(detail),
        fix=first.fix,
        request_id=first.request_id,
        property=first.property,
    )
    return ServiceError(problem, code=first.code)


REPLACED = "Replaced"
"""The terminate reason of a job that another job replaces."""


async def terminate_tasks(action: TerminateTasks, context: StepContext) -> StepResult:
    """Terminate the tasks of the step and wait until none of them runs.

    The step then waits for a second, because Last-Modified of a blob has whole seconds: results of
    tasks that are submitted afterwards are later than those of the terminated tasks.

    Raises:
        ServiceError: the account refused a request, or tasks still run after
            :data:`~batchspec.apply.wait.TERMINATION_LIMIT`.
    """
    runtime = context.runtime
    if action.whole:
        await end_job(action.job, runtime)
        done = context.step.items
    else:
        done = await _Termination(action, context).run()
    await runtime.clock.sleep(1.0)
    return StepResult(done)


async def end_job(job_id: str, runtime: Runtime) -> None:
    """Terminate a job and wait until none of its tasks runs.

    Raises:
        ServiceError: it does not end, see :func:`~batchspec.apply.wait.wait_until_ended`.
    """
    await runtime.account.jobs.terminate(job_id, REPLACED)
    await wait_until_ended(job_id, runtime)


@dataclass(slots=True)
class _Termination:
    """Terminates and deletes tasks one by one.

    A list that is read while tasks are deleted may be incomplete, so the job is listed again until
    it contains no task of an earlier version.
    """

    action: TerminateTasks
    context: StepContext
    keep: set[int] = field(default_factory=set)
    replaced: set[int] = field(default_factory=set)
    ended: set[int] = field(default_factory=set)
    deleted: int = 0

    async def run(self) -> int:
        """The number of tasks that were deleted."""
        runtime = self.context.runtime
        self.keep = set(map(id_digest, self.action.keep))
        self.replaced = set(map(id_digest, self.action.replaced))
        progress = self.context.progress(items=self.context.step.items)
        interval, deadline = PollInterval(runtime.shortest_poll_interval), self._deadline()

        async def end(task: TaskFacts) -> None:
            if task.succeeded is None and task.state != "active":
                self.ended.add(id_digest(task.id))
                await runtime.account.tasks.terminate(self.action.job, task.id)
                return
            await runtime.account.tasks.delete(self.action.job, task.id)
            self.deleted += 1
            progress.finish()

        while True:
            deleted_before, found = self.deleted, 0

            async def superseded() -> AsyncIterator[TaskFacts]:
                nonlocal found
                async for task in runtime.account.tasks.list(self.action.job):
                    if self._is_superseded(task):
                        found += 1
                        yield task

            await for_each(superseded(), end, workers=_REQUESTS, cancellation=runtime.cancellation)
            if not found:
                return self.deleted
            if self.deleted > deleted_before:
                deadline = self._deadline()
            elif runtime.clock.monotonic() > deadline:
                raise _not_ended(found, self.action.job)
            await runtime.clock.sleep(interval.next((found, self.deleted)))

    def _deadline(self) -> float:
        return self.context.runtime.clock.monotonic() + TERMINATION_LIMIT.total_seconds()

    def _is_superseded(self, task: TaskFacts) -> bool:
        key = id_digest(task.id)
        if key in self.replaced:
            return True
        if key in self.keep or not task.marks.item:
            return False
        return not task.succeeded or key in self.ended


def _not_ended(tasks: int, job: str) -> ServiceError:
    problem = Diagnostic(
        "tasks-not-ended",
        f"{counted(tasks, 'task')} of the job {job!r} had not ended half an hour after they "
        "were terminated",
        fix="They are uploading outputs, or do not stop. Check with `batchspec status`.",
    )
    return ServiceError(problem, code="tasks-not-ended")
