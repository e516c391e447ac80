"""Adds the tasks of a job: a hundred in a request, several requests at a time, in input order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from batchspec.apply.concurrency import for_each
from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.missing_resource import why_refused
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan import Task
from batchspec.plan.actions import CloseJob, RetryTasks, SubmitTasks
from batchspec.plan.observed import Stream
from batchspec.spec import Record

_COLLECTION = 100
"""The most tasks that one Add Task Collection takes."""
_REQUESTS = 4
_SHOWN = 5
_CLOSED = Record(onAllTasksComplete="terminatejob")
_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})


async def submit_tasks(action: SubmitTasks, context: StepContext) -> StepResult:
    """Add every task of the step, each as soon as its inputs are uploaded.

    A task that exists in the job counts as added.

    Raises:
        ServiceError: a task was refused, its inputs were not uploaded, or it is not in the job
            although the service accepted it. The other tasks are added all the same, so that the
            next apply has less to do.
    """
    try:
        return await _submit(action, context)
    except ServiceError as error:
        raise await why_refused(error, action.job, context.world) from None


async def _submit(action: SubmitTasks, context: StepContext) -> StepResult:
    progress, world = context.progress(items=len(action.tasks)), context.world
    refused: list[Diagnostic] = []
    existing = 0

    async def add(chunk: tuple[Task, ...]) -> None:
        nonlocal existing
        await _wait_for_inputs(action, chunk, context)
        bodies = [task.body for task in chunk]
        answers = await world.account.tasks.create_collection(action.job, bodies, action.sas)
        for answer in answers:
            existing += answer.existed
            if answer.problem is not None:
                refused.append(answer.problem)
        context.submitted.add(action.job, (a.id for a in answers if a.problem is None))
        progress.finish(len(chunk))

    chunks = _chunks(action.tasks)
    await for_each(chunks, add, workers=_REQUESTS, cancellation=world.cancellation)
    if refused:
        raise _refused(action.stage, refused)
    if action.job not in context.verified_later:
        await context.submitted.verify(action.job, world)
    return StepResult(progress.done, note=f"{existing:,} already existed" if existing else "")


async def _wait_for_inputs(
    action: SubmitTasks, chunk: tuple[Task, ...], context: StepContext
) -> None:
    """Wait for the files of these tasks that are still being uploaded."""
    for task in chunk:
        for key, blob in task.inputs:
            container = action.arriving.get(key)
            if container is not None and not await context.uploads.wait(container, blob):
                context.world.cancellation.check()
                raise _missing_input(action.stage, blob)


async def close_job(action: CloseJob, context: StepContext) -> StepResult:
    """Let the job end with its last task, after verifying that it contains all submitted tasks.

    Raises:
        ServiceError: some tasks are missing; the job stays open.
    """
    verified = await context.submitted.verify(action.job, context.world)
    note = f"all {verified:,} tasks are in it" if verified > 1 else ""
    try:
        await context.world.account.jobs.update(action.job, _CLOSED)
    except ServiceError as error:
        # Another run of the spec closed the job earlier, and it has ended since.
        if error.code not in _ENDED:
            raise
        note = "it has ended already"
    return StepResult(note=note)


async def retry_tasks(action: RetryTasks, context: StepContext) -> StepResult:
    """Reactivate every failed task of the step."""
    progress, world = context.progress(items=len(action.tasks)), context.world

    async def reactivate(task: Task) -> None:
        await world.account.tasks.reactivate(action.job, task.id)
        progress.finish()

    try:
        await for_each(action.tasks, reactivate, workers=_REQUESTS, cancellation=world.cancellation)
    except ServiceError as error:
        raise await why_refused(error, action.job, world) from None
    return StepResult(progress.done)


def _chunks(tasks: Stream[Task]) -> Iterator[tuple[Task, ...]]:
    source = iter(tasks)
    while chunk := tuple(islice(source, _COLLECTION)):
        yield chunk


def _missing_input(stage: str, blob: str) -> ServiceError:
    problem = Diagnostic(
        "inputs-missing",
        f"tasks of {stage} were not submitted: their input {blob!r} was not uploaded",
        fix="Fix the error of the upload and apply again.",
    )
    return ServiceError(problem, code="inputs-missing")


def _refused(stage: str, refused: list[Diagnostic]) -> ServiceError:
    """The error of the tasks that the service refused: each one, and why it refused the first."""
    first = refused[0]
    detail = [first.summary, *(f"  {line}" for line in first.detail.splitlines())]
    detail += [problem.summary for problem in refused[1:_SHOWN]]
    if len(refused) > _SHOWN:
        detail.append(f"... and {len(refused) - _SHOWN:,} more")
    tasks = "1 task" if len(refused) == 1 else f"{len(refused):,} tasks"
    problem = Diagnostic(
        "tasks-refused",
        f"the service refused {tasks} of {stage}",
        detail="\n".join(detail),
        fix=first.fix,
        request_id=first.request_id,
        property=first.property,
    )
    return ServiceError(problem, code=first.code)
