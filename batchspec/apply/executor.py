"""Runs the steps of a plan as a graph: a step starts when the steps before it are done.

A failed step is an event; the steps after it are skipped and the others continue. Nothing is
decided here that is not in the plan, and nothing is printed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from batchspec.apply.cancellation import RunCancelled
from batchspec.apply.context import StepContext, StepResult
from batchspec.apply.dispatch import perform
from batchspec.apply.events import (
    Emit,
    Outcome,
    RunEnded,
    RunStarted,
    StepDone,
    StepFailed,
    StepSkipped,
    StepStarted,
)
from batchspec.apply.monitor import Monitor, watched_of
from batchspec.apply.ports import Deletion, World
from batchspec.apply.remaining_resources import RemainingResources
from batchspec.apply.submitted_ids import SubmittedIds
from batchspec.apply.upload_progress import UploadProgress
from batchspec.diagnostics import BatchspecError, ConflictError, ServiceError
from batchspec.exit_codes import Exit
from batchspec.plan import Gate, Plan, Step
from batchspec.plan.actions import (
    Action,
    CloseJob,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DownloadResults,
    UploadFiles,
    WaitForTasks,
)
from batchspec.plan.observed import PoolFacts

_EXITS = {
    Outcome.DONE: Exit.DONE,
    Outcome.NOTHING_TO_DO: Exit.DONE,
    Outcome.TASKS_FAILED: Exit.TASKS_FAILED,
    Outcome.TIME_LIMIT: Exit.TIME_LIMIT,
    Outcome.FAILED: Exit.SERVICE,
    Outcome.INTERRUPTED: Exit.INTERRUPTED,
    Outcome.DETACHED: Exit.DONE,
    Outcome.SCHEDULED: Exit.DONE,
}
_INTERRUPTED = "interrupted"


async def run(plan: Plan, world: World, emit: Emit, receipt: Path) -> Exit:
    """Carry out a plan; everything that happens is emitted, ``RunEnded`` last.

    ``receipt`` is the file that lists the results on this disk. After a request to cancel, the run
    ends when the requests in progress are completed; if its asyncio task is cancelled, at once.
    Both are interruptions: nothing is deleted, and every step can be repeated.
    """
    verified_later = frozenset(
        step.action.job for step in plan.steps if isinstance(step.action, CloseJob | WaitForTasks)
    )
    monitor = Monitor(world, emit, watched_of(plan))
    uploads, submitted, incomplete = UploadProgress(), SubmittedIds(), set[str]()

    def context_of(step: Step) -> StepContext:
        return StepContext(
            step,
            world,
            emit,
            receipt,
            monitor,
            uploads,
            submitted,
            verified_later,
            incomplete,
        )

    return await _Run(plan, world, emit, context_of, RemainingResources(world)).run()


@dataclass(slots=True)
class _Run:
    plan: Plan
    world: World
    emit: Emit
    context_of: Callable[[Step], StepContext]
    remaining: RemainingResources
    ended: dict[str, asyncio.Event] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    conflict: str = ""
    outcome: Outcome | None = None
    exit: Exit = Exit.SERVICE
    agreed: asyncio.Task[frozenset[str]] | None = None
    cancelled: bool = False

    async def run(self) -> Exit:
        began = self.world.clock.monotonic()
        account = self.plan.account
        self.emit(
            RunStarted(
                self.plan.name, account.target, account.batch, account.storage, len(self.plan.steps)
            )
        )
        self.ended = {step.id: asyncio.Event() for step in self.plan.steps}
        try:
            async with asyncio.TaskGroup() as group:
                for step in self.plan.steps:
                    group.create_task(self._step(step), name=step.id)
            outcome = self._final_outcome()
        except asyncio.CancelledError:
            self._skip_rest()
            self._end(Outcome.INTERRUPTED, began)
            raise
        return self._end(outcome, began)

    def _final_outcome(self) -> Outcome:
        if not self.plan.steps:
            return Outcome.NOTHING_TO_DO
        if self.cancelled:
            return Outcome.INTERRUPTED
        if self.outcome is not None:
            return self.outcome
        if self.plan.scheduled:
            return Outcome.SCHEDULED
        return Outcome.DETACHED if self.plan.detached else Outcome.DONE

    def _end(self, outcome: Outcome, began: float) -> Exit:
        code = self.exit if outcome is Outcome.FAILED else _EXITS[outcome]
        seconds = self.world.clock.monotonic() - began
        self.emit(RunEnded(outcome, seconds, code, self._left()))
        return code

    def _left(self) -> tuple[str, ...]:
        """What clean-up has left in the account, and then what it does not delete at all."""
        undone = (step for step in self.plan.steps if step.id not in self.done)
        left = tuple(self.remaining.subjects(undone, conflict=bool(self.conflict)))
        if not left:
            return ()
        stays = self.remaining.subjects(self.plan.stays, conflict=bool(self.conflict))
        return (*left, *(subject for subject in stays if subject not in left))

    def _skip_rest(self) -> None:
        for step in self.plan.steps:
            if not self.ended[step.id].is_set():
                self.emit(StepSkipped(step.id, step.verb, step.subject, _INTERRUPTED))

    async def _step(self, step: Step) -> None:
        """Wait until the step may run, run it, and emit how it ended."""
        for name in step.after:
            await self.ended[name].wait()
        if step.gate is not Gate.FLOW:
            await self._wait_for_work(step)
        reason = await self._skip_reason(step)
        if reason:
            self.remaining.skipped(step.action)
            self.emit(StepSkipped(step.id, step.verb, step.subject, reason))
        else:
            await self._perform(step)
        self.ended[step.id].set()

    async def _wait_for_work(self, step: Step) -> None:
        """Wait for all steps that are not clean-up."""
        for other in self.plan.steps:
            if other.gate is Gate.FLOW and other.id != step.id:
                await self.ended[other.id].wait()

    async def _skip_reason(self, step: Step) -> str:
        """Why a step may not run; empty if it may."""
        try:
            self.world.cancellation.check()
            return await self._unmet(step)
        except RunCancelled:
            self.cancelled = True
            return _INTERRUPTED

    async def _unmet(self, step: Step) -> str:
        if step.gate is Gate.FLOW:
            return next((name for name in step.after if name not in self.done), "")
        if self.conflict:
            # The other run may use what the plan would delete.
            return self.conflict
        if step.gate is Gate.SUCCESS:
            return str(self.outcome or "")
        reason = self._missing_results(step.action)
        if not reason and step.gate is Gate.ASK and not await self._agreed(step):
            return "declined"
        return reason

    def _missing_results(self, action: Action | None) -> str:
        """The step whose results a deletion would lose; empty if none.

        A job that has ended costs nothing and records which tasks are done, so it is kept. A job
        that has not ended and a pool may keep nodes, which cost money.
        """
        left = [step for step in self.plan.steps if step.id not in self.done]
        ended = not any(isinstance(step.action, WaitForTasks) for step in left)
        if isinstance(action, DeleteContainers) or (isinstance(action, DeleteJob) and ended):
            return next((step.id for step in left if isinstance(step.action, DownloadResults)), "")
        return ""

    async def _agreed(self, step: Step) -> bool:
        """Whether the user agrees to a deletion. All are asked before the first."""
        if self.agreed is None:
            self.agreed = asyncio.ensure_future(self._ask_all())
        return step.id in await self.agreed

    async def _ask_all(self) -> frozenset[str]:
        """Ask about each deletion separately, jobs before the pool; the ids of those agreed to."""
        steps = [step for step in self.plan.steps if step.gate is Gate.ASK]
        steps.sort(key=lambda step: not isinstance(step.action, DeleteJob))
        steps = [step for step in steps if not self._missing_results(step.action)]
        return frozenset([step.id for step in steps if await self._ask(step)])

    async def _ask(self, step: Step) -> bool:
        """Ask about one deletion; do not ask if the object does not exist."""
        if not await self.remaining.exists(step.action):
            return True
        nodes = None
        if isinstance(step.action, DeletePool):
            try:
                pool = await self.world.account.pools.get(step.action.pool)
            except ServiceError:
                return False  # Its cost is not known, so the pool is kept.
            nodes = _nodes(pool) if pool is not None else 0
        failed = self.outcome is not None
        return await self.world.questions.agree(Deletion(step.subject, nodes, failed))

    async def _perform(self, step: Step) -> None:
        began = self.world.clock.monotonic()
        size = step.action.size if isinstance(step.action, UploadFiles) else None
        self.emit(StepStarted(step.id, step.verb, step.subject, step.items, size))
        try:
            result = await perform(self.context_of(step))
        except RunCancelled:
            self.cancelled = True
            self.emit(StepSkipped(step.id, step.verb, step.subject, _INTERRUPTED))
            return
        except BatchspecError as error:
            await self.remaining.failed(step.action, error)
            self._failed(step, error, self.world.clock.monotonic() - began)
            return
        self._done(step, result, self.world.clock.monotonic() - began)

    def _failed(self, step: Step, error: BatchspecError, seconds: float) -> None:
        if self.outcome is not Outcome.FAILED:
            self.exit = error.exit
        self.outcome = Outcome.FAILED
        if isinstance(error, ConflictError):
            self.conflict = step.id
        for problem in error.problems:
            located = self.plan.located(step.action, problem)
            self.emit(StepFailed(step.id, step.verb, step.subject, seconds, located))

    def _done(self, step: Step, result: StepResult, seconds: float) -> None:
        self.done.add(step.id)
        if result.created:
            self.remaining.done(step.action)
        if result.outcome is not None and self.outcome is not Outcome.FAILED:
            self.outcome = result.outcome
        self.emit(
            StepDone(
                step.id,
                step.verb,
                step.subject,
                result.items,
                seconds,
                result.size,
                result.note,
            )
        )


def _nodes(pool: PoolFacts) -> int:
    """How many nodes a pool has or will have."""
    current, target = pool.dedicated + pool.spot, pool.target_dedicated + pool.target_spot
    return max(current, target)
