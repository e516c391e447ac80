"""Terminates the tasks of an earlier version of the spec, and jobs that are replaced."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from batchspec.apply.concurrency import for_each
from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.polling import TERMINATION_LIMIT, PollInterval, wait_until_ended
from batchspec.apply.ports import World
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.actions import TerminateTasks
from batchspec.plan.observed import TaskFacts

REPLACED = "Replaced"
"""The terminate reason of a job that another job replaces."""

_REQUESTS = 4


async def terminate_tasks(action: TerminateTasks, context: StepContext) -> StepResult:
    """Terminate the tasks of the step and wait until none of them runs.

    Tasks that are submitted afterwards are created in a later second than the last of these ended
    in, so that the results of the two can be distinguished: Last-Modified of a blob has whole
    seconds.

    Raises:
        ServiceError: the account refused a request, or tasks still run after
            :data:`~batchspec.apply.polling.TERMINATION_LIMIT`.
    """
    world = context.world
    if action.whole:
        await end_job(action.job, world)
        done = context.step.items
    else:
        done = await _Termination(action, context).run()
    await world.clock.sleep(1.0)
    return StepResult(done)


async def end_job(job_id: str, world: World) -> None:
    """Terminate a job and wait until none of its tasks runs.

    Raises:
        ServiceError: it does not end, see :func:`~batchspec.apply.polling.wait_until_ended`.
    """
    await world.account.jobs.terminate(job_id, REPLACED)
    await wait_until_ended(job_id, world)


@dataclass(slots=True)
class _Termination:
    """Terminates and deletes tasks one by one.

    A list that is read while tasks are deleted may be incomplete, so the job is listed again until
    no such task is found.
    """

    action: TerminateTasks
    context: StepContext
    keep: set[bytes] = field(default_factory=set)
    replaced: set[bytes] = field(default_factory=set)
    ended: set[bytes] = field(default_factory=set)
    deleted: int = 0

    async def run(self) -> int:
        """The number of tasks that were deleted."""
        world = self.context.world
        self.keep, self.replaced = _digests(self.action.keep), _digests(self.action.replaced)
        progress = self.context.progress(items=self.context.step.items)
        interval, deadline = PollInterval(world.pace), self._deadline()

        async def end(task: TaskFacts) -> None:
            if task.succeeded is None and task.state != "active":
                self.ended.add(_digest(task.id))
                await world.account.tasks.terminate(self.action.job, task.id)
                return
            await world.account.tasks.delete(self.action.job, task.id)
            self.deleted += 1
            progress.finish()

        while True:
            deleted_before, found = self.deleted, 0

            async def superseded() -> AsyncIterator[TaskFacts]:
                nonlocal found
                async for task in world.account.tasks.list(self.action.job):
                    if self._is_superseded(task):
                        found += 1
                        yield task

            await for_each(superseded(), end, workers=_REQUESTS, cancellation=world.cancellation)
            if not found:
                return self.deleted
            if self.deleted > deleted_before:
                deadline = self._deadline()
            elif world.clock.monotonic() > deadline:
                raise _not_ended(found, self.action.job)
            await world.clock.sleep(interval.next((found, self.deleted)))

    def _deadline(self) -> float:
        return self.context.world.clock.monotonic() + TERMINATION_LIMIT.total_seconds()

    def _is_superseded(self, task: TaskFacts) -> bool:
        key = _digest(task.id)
        if key in self.replaced:
            return True
        if key in self.keep or not task.marks.item:
            return False
        return not task.succeeded or key in self.ended


def _digests(ids: Iterable[str]) -> set[bytes]:
    return {_digest(name) for name in ids}


def _digest(name: str) -> bytes:
    # For a million ids this takes 60 MB less than the ids themselves.
    return blake2b(name.lower().encode(), digest_size=8).digest()


def _not_ended(tasks: int, job: str) -> ServiceError:
    number = "1 task" if tasks == 1 else f"{tasks:,} tasks"
    problem = Diagnostic(
        "tasks-not-ended",
        f"{number} of the job {job!r} had not ended half an hour after the request",
        fix="They are uploading outputs, or do not stop. Check with `batchspec status`.",
    )
    return ServiceError(problem, code="tasks-not-ended")
