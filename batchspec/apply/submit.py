"""Tasks to a job: a hundred a request, several requests at a time, in the order of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from batchspec.apply.crowd import each
from batchspec.apply.work import Performed, Tools, progress
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.actions import CloseJob, RetryTasks, SubmitTasks
from batchspec.plan.observed import Stream
from batchspec.plan.plan import Step
from batchspec.plan.tasks import Task
from batchspec.spec import Record

_A_REQUEST = 100
"""What Add Task Collection takes."""
_REQUESTS = 4
_SHOWN = 5
_CLOSED = Record(onAllTasksComplete="terminatejob")
_ENDED = frozenset({"JobCompleted", "JobBeingTerminated"})


async def submit(action: SubmitTasks, step: Step, tools: Tools) -> Performed:
    """Add every task of the step, each as soon as its inputs are there.

    A task that is in the job already counts as added.

    Raises:
        ServiceError: a task was refused, its inputs did not arrive, or it is not in the job
            although it was taken. The others have been added nevertheless, so that the same
            command has the less to do.
    """
    so_far = progress(step, tools, items=len(action.tasks))
    refused: list[tuple[str, Diagnostic]] = []
    there = 0

    async def one(chunk: tuple[Task, ...]) -> None:
        nonlocal there
        await _inputs(action, chunk, tools)
        bodies = [task.body for task in chunk]
        answers = await tools.world.batch.add_tasks(action.job, bodies, action.sas)
        for answer in answers:
            there += answer.existed
            if answer.problem is not None:
                refused.append((answer.id, answer.problem))
        tools.ledger.write(action.job, (a.id for a in answers if a.problem is None))
        so_far.finish(len(chunk))

    await each(_chunks(action.tasks), one, workers=_REQUESTS, halt=tools.world.halt)
    if refused:
        raise _refused(action.stage, refused)
    if action.job not in tools.proved_later:
        await tools.ledger.settle(action.job, tools.world)
    return Performed(so_far.done, note=f"{there} were there already" if there else "")


async def _inputs(action: SubmitTasks, chunk: tuple[Task, ...], tools: Tools) -> None:
    """Wait for the files of these tasks that are still being uploaded."""
    for task in chunk:
        for key, blob in task.inputs:
            container = action.arriving.get(key)
            if container is not None and not await tools.arrivals.wait(container, blob):
                tools.world.halt.check()
                raise _missing(action.stage, blob)


async def close(action: CloseJob, tools: Tools) -> Performed:
    """Say that no more tasks come, when all that were submitted have been found in the job.

    Raises:
        ServiceError: some are not in it; it stays open.
    """
    found = await tools.ledger.settle(action.job, tools.world)
    note = f"all {found} tasks are in it" if found > 1 else ""
    try:
        await tools.world.batch.update_job(action.job, _CLOSED)
    except ServiceError as error:
        # Another run of the spec has closed it before, and it has ended by that.
        if error.code not in _ENDED:
            raise
        note = "it has ended already"
    return Performed(note=note)


async def retry(action: RetryTasks, step: Step, tools: Tools) -> Performed:
    """Let every failed task of the step run again."""
    so_far = progress(step, tools, items=len(action.tasks))

    async def one(task: Task) -> None:
        await tools.world.batch.reactivate_task(action.job, task.id)
        so_far.finish()

    await each(action.tasks, one, workers=_REQUESTS, halt=tools.world.halt)
    return Performed(so_far.done)


def _chunks(tasks: Stream[Task]) -> Iterator[tuple[Task, ...]]:
    source = iter(tasks)
    while chunk := tuple(islice(source, _A_REQUEST)):
        yield chunk


def _missing(stage: str, blob: str) -> ServiceError:
    problem = Diagnostic(
        "inputs-missing",
        f"tasks of {stage} were not submitted: their file {blob!r} did not arrive",
        fix="Mend what kept it from being uploaded, and apply again.",
    )
    return ServiceError(problem, code="inputs-missing")


def _refused(stage: str, refused: list[tuple[str, Diagnostic]]) -> ServiceError:
    shown = [f"{name}: {problem.summary}" for name, problem in refused[:_SHOWN]]
    more = len(refused) - len(shown)
    first = refused[0][1]
    problem = Diagnostic(
        "tasks-refused",
        f"the service refused {len(refused)} tasks of {stage}",
        detail="\n".join([*shown, *([f"... and {more} more"] if more else [])]),
        fix=first.fix,
        request_id=first.request_id,
    )
    return ServiceError(problem, code=first.code)
