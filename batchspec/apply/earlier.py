"""The end of tasks of an earlier version: none of them runs when the step is done."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b

from batchspec.apply.crowd import each
from batchspec.apply.pace import Pace
from batchspec.apply.ports import World
from batchspec.apply.settle import ENDING, until_over
from batchspec.apply.work import Performed, Tools, progress
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.plan.actions import TerminateTasks
from batchspec.plan.observed import TaskFacts
from batchspec.plan.plan import Step

REPLACED = "Replaced"
"""Why a job ended that made way for another."""

_REQUESTS = 4


async def terminate_tasks(action: TerminateTasks, step: Step, tools: Tools) -> Performed:
    """End the tasks of the step and wait until none of them runs.

    What is submitted afterwards is created in a later second than the last of them ended in, so
    that results of the two can be told apart: Last-Modified of a blob has whole seconds.

    Raises:
        ServiceError: the account refused, or some still run after
            :data:`~batchspec.apply.settle.ENDING`.
    """
    world = tools.world
    if action.whole:
        await end_job(action.job, world)
        done = step.items
    else:
        done = await _Ending(action, step, tools).run()
    await world.clock.sleep(1.0)
    return Performed(done)


async def end_job(job_id: str, world: World) -> None:
    """End a job and wait until none of its tasks runs any more.

    Raises:
        ServiceError: it does not end, see :func:`~batchspec.apply.settle.until_over`.
    """
    await world.batch.terminate_job(job_id, REPLACED)
    await until_over(job_id, world)


@dataclass(slots=True)
class _Ending:
    """Terminates and deletes tasks one by one; what is listed while others are deleted may lack
    some, so the job is listed until nothing is left to do."""

    action: TerminateTasks
    step: Step
    tools: Tools
    keep: set[bytes] = field(default_factory=set)
    replaced: set[bytes] = field(default_factory=set)
    ended: set[bytes] = field(default_factory=set)
    deleted: int = 0

    async def run(self) -> int:
        world = self.tools.world
        self.keep, self.replaced = _digests(self.action.keep), _digests(self.action.replaced)
        so_far = progress(self.step, self.tools, items=self.step.items)
        pace, until = Pace(world.pace), world.clock.monotonic() + ENDING.total_seconds()

        async def one(task: TaskFacts) -> None:
            if task.succeeded is None and task.state != "active":
                self.ended.add(_digest(task.id))
                await world.batch.terminate_task(self.action.job, task.id)
                return
            await world.batch.delete_task(self.action.job, task.id)
            self.deleted += 1
            so_far.finish()

        while True:
            before, found = self.deleted, 0

            async def listed() -> AsyncIterator[TaskFacts]:
                nonlocal found
                async for task in world.batch.all_tasks(self.action.job):
                    if self._ends(task):
                        found += 1
                        yield task

            await each(listed(), one, workers=_REQUESTS, halt=world.halt)
            if not found:
                return self.deleted
            if self.deleted > before:
                until = world.clock.monotonic() + ENDING.total_seconds()
            elif world.clock.monotonic() > until:
                raise _still_ending(found, self.action.job)
            await world.clock.sleep(pace.next((found, self.deleted)))

    def _ends(self, task: TaskFacts) -> bool:
        key = _digest(task.id)
        if key in self.replaced:
            return True
        if key in self.keep or not task.marks.item:
            return False
        return not task.succeeded or key in self.ended


def _digests(ids: Iterable[str]) -> set[bytes]:
    return {_digest(name) for name in ids}


def _digest(name: str) -> bytes:
    # Of a million ids that is 60 MB less than the ids themselves.
    return blake2b(name.lower().encode(), digest_size=8).digest()


def _still_ending(tasks: int, job: str) -> ServiceError:
    number = "1 task" if tasks == 1 else f"{tasks:,} tasks"
    problem = Diagnostic(
        "tasks-not-ended",
        f"{number} of the job {job!r} had not ended half an hour after the request",
        fix="They are uploading outputs, or do not stop. Look again: `batchspec status`.",
    )
    return ServiceError(problem, code="tasks-not-ended")
