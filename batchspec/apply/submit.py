"""Tasks to a job: a hundred a request, several requests at a time, in the order of the inputs."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from batchspec.apply.crowd import each
from batchspec.apply.events import Emit
from batchspec.apply.ports import World
from batchspec.apply.work import Performed, progress
from batchspec.plan.actions import RetryTasks, SubmitTasks
from batchspec.plan.observed import Stream
from batchspec.plan.plan import Step
from batchspec.plan.tasks import Task
from batchspec.problems import Problem, ServiceError

_A_REQUEST = 100
"""What Add Task Collection takes."""
_REQUESTS = 4
_SHOWN = 5


async def submit(action: SubmitTasks, step: Step, world: World, emit: Emit) -> Performed:
    """Add every task of the step; one that is there already counts as added.

    Raises:
        ServiceError: a task was refused. The others have been added nevertheless, so that the same
            command has the less to do.
    """
    so_far = progress(step, world, emit, items=len(action.tasks))
    refused: list[tuple[str, Problem]] = []
    there = 0

    async def one(chunk: tuple[Task, ...]) -> None:
        nonlocal there
        answers = await world.batch.add_tasks(action.job, [task.body for task in chunk], action.sas)
        for answer in answers:
            there += answer.existed
            if answer.problem is not None:
                refused.append((answer.id, answer.problem))
        so_far.finish(len(chunk))

    await each(_chunks(action.tasks), one, workers=_REQUESTS)
    if refused:
        raise _refused(action.stage, refused)
    return Performed(so_far.done, note=f"{there} were there already" if there else "")


async def retry(action: RetryTasks, step: Step, world: World, emit: Emit) -> Performed:
    """Let every failed task of the step run again."""
    so_far = progress(step, world, emit, items=len(action.tasks))

    async def one(task: Task) -> None:
        await world.batch.reactivate_task(action.job, task.id)
        so_far.finish()

    await each(action.tasks, one, workers=_REQUESTS)
    return Performed(so_far.done)


def _chunks(tasks: Stream[Task]) -> Iterator[tuple[Task, ...]]:
    source = iter(tasks)
    while chunk := tuple(islice(source, _A_REQUEST)):
        yield chunk


def _refused(stage: str, refused: list[tuple[str, Problem]]) -> ServiceError:
    shown = [f"{name}: {problem.summary}" for name, problem in refused[:_SHOWN]]
    more = len(refused) - len(shown)
    first = refused[0][1]
    problem = Problem(
        "tasks-refused",
        f"the service refused {len(refused)} tasks of {stage}",
        detail="\n".join([*shown, *([f"... and {more} more"] if more else [])]),
        hint=first.hint,
        request_id=first.request_id,
    )
    return ServiceError(problem, code=first.code)
