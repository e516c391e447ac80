"""Plan → events: a graph, not a list. What is not blocked runs.

A failed step is an event; what comes after it is skipped, what does not goes on. Nothing is decided
here that is not in the plan, nothing is printed, and the world is handed in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

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
from batchspec.apply.halt import Halted
from batchspec.apply.leftovers import Leftovers
from batchspec.apply.monitor import Monitor, watched_of
from batchspec.apply.perform import perform
from batchspec.apply.ports import Deletion, World
from batchspec.apply.work import Performed, Tools
from batchspec.diagnostics import BatchspecError, ConflictError, Exit, ServiceError
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
from batchspec.plan.plan import Gate, Plan, Step

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
    """Carry out a plan; every thing that happens is emitted, the last is ``RunEnded``.

    ``receipt`` is the file that says which results are on this disk. Asked to halt, the run ends
    when what is in flight is done; cancelled, where it is. Either is an interruption: nothing is
    deleted after it, and every step can be done again.
    """
    later = frozenset(
        step.action.job for step in plan.steps if isinstance(step.action, CloseJob | WaitForTasks)
    )
    monitor = Monitor(world, emit, watched_of(plan))
    tools = Tools(world, emit, receipt, monitor, proved_later=later)
    return await _Run(plan, tools, Leftovers(world)).run()


@dataclass(slots=True)
class _Run:
    plan: Plan
    tools: Tools
    leftovers: Leftovers
    ended: dict[str, asyncio.Event] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    conflict: str = ""
    trouble: Outcome | None = None
    exit: Exit = Exit.SERVICE
    asked: asyncio.Task[frozenset[str]] | None = None
    halted: bool = False

    async def run(self) -> Exit:
        began = self.tools.world.clock.monotonic()
        account = self.plan.account
        self.tools.emit(
            RunStarted(
                self.plan.name, account.target, account.batch, account.storage, len(self.plan.steps)
            )
        )
        self.ended = {step.id: asyncio.Event() for step in self.plan.steps}
        try:
            async with asyncio.TaskGroup() as group:
                for step in self.plan.steps:
                    group.create_task(self._step(step), name=step.id)
            outcome = self._outcome()
        except asyncio.CancelledError:
            self._skip_rest()
            self._end(Outcome.INTERRUPTED, began)
            raise
        return self._end(outcome, began)

    def _outcome(self) -> Outcome:
        if not self.plan.steps:
            return Outcome.NOTHING_TO_DO
        if self.halted:
            return Outcome.INTERRUPTED
        if self.trouble is not None:
            return self.trouble
        if self.plan.scheduled:
            return Outcome.SCHEDULED
        return Outcome.DETACHED if self.plan.detached else Outcome.DONE

    def _end(self, outcome: Outcome, began: float) -> Exit:
        code = self.exit if outcome is Outcome.FAILED else _EXITS[outcome]
        seconds = self.tools.world.clock.monotonic() - began
        self.tools.emit(RunEnded(outcome, seconds, code, self._left()))
        return code

    def _left(self) -> tuple[str, ...]:
        undone = (step for step in self.plan.steps if step.id not in self.done)
        return tuple(self.leftovers.left(undone, conflict=bool(self.conflict)))

    def _skip_rest(self) -> None:
        for step in self.plan.steps:
            if not self.ended[step.id].is_set():
                self.tools.emit(StepSkipped(step.id, step.verb, step.subject, _INTERRUPTED))

    async def _step(self, step: Step) -> None:
        """Wait until the step may run, run it, and say how it ended."""
        for name in step.after:
            await self.ended[name].wait()
        if step.gate is not Gate.FLOW:
            await self._others(step)
        because = await self._blocked(step)
        if because:
            self.leftovers.skipped(step.action)
            self.tools.emit(StepSkipped(step.id, step.verb, step.subject, because))
        else:
            await self._perform(step)
        self.ended[step.id].set()

    async def _others(self, step: Step) -> None:
        """Wait for every step that flows: clean-up starts when all else has ended."""
        for other in self.plan.steps:
            if other.gate is Gate.FLOW and other.id != step.id:
                await self.ended[other.id].wait()

    async def _blocked(self, step: Step) -> str:
        """Why a step may not run; empty if it may."""
        try:
            self.tools.world.halt.check()
            return await self._unmet(step)
        except Halted:
            self.halted = True
            return _INTERRUPTED

    async def _unmet(self, step: Step) -> str:
        if step.gate is Gate.FLOW:
            return next((name for name in step.after if name not in self.done), "")
        if self.conflict:
            # What the plan would delete may be in use by the other run.
            return self.conflict
        if step.gate is Gate.SUCCESS:
            return str(self.trouble or "")
        because = self._missing_results(step.action)
        if not because and step.gate is Gate.ASK and not await self._agreed(step):
            return "declined"
        return because

    def _missing_results(self, action: Action | None) -> str:
        """The step whose results are missing and would be lost by a deletion; empty if none is.

        A job that has ended says which tasks are done, and costs nothing. One that has not may keep
        nodes, and so does a pool: neither is a place of results.
        """
        left = [step for step in self.plan.steps if step.id not in self.done]
        over = not any(isinstance(step.action, WaitForTasks) for step in left)
        if isinstance(action, DeleteContainers) or (isinstance(action, DeleteJob) and over):
            return next((step.id for step in left if isinstance(step.action, DownloadResults)), "")
        return ""

    async def _agreed(self, step: Step) -> bool:
        """Whether the user agrees to a deletion. All questions are asked before the first one."""
        if self.asked is None:
            self.asked = asyncio.ensure_future(self._ask_all())
        return step.id in await self.asked

    async def _ask_all(self) -> frozenset[str]:
        """Ask about each deletion on its own: first jobs, then the pool; those agreed to."""
        asking = [step for step in self.plan.steps if step.gate is Gate.ASK]
        asking.sort(key=lambda step: not isinstance(step.action, DeleteJob))
        asking = [step for step in asking if not self._missing_results(step.action)]
        return frozenset([step.id for step in asking if await self._ask(step)])

    async def _ask(self, step: Step) -> bool:
        """Ask about one deletion; what does not exist is not asked about."""
        if not await self.leftovers.exists(step.action):
            return True
        nodes = None
        if isinstance(step.action, DeletePool):
            try:
                pool = await self.tools.world.batch.pool(step.action.pool)
            except ServiceError:
                return False  # What it costs cannot be read, so it is kept.
            nodes = _nodes(pool) if pool is not None else 0
        failed = self.trouble is not None
        return await self.tools.world.questions.agree(Deletion(step.subject, nodes, failed))

    async def _perform(self, step: Step) -> None:
        began = self.tools.world.clock.monotonic()
        size = step.action.size if isinstance(step.action, UploadFiles) else None
        self.tools.emit(StepStarted(step.id, step.verb, step.subject, step.items, size))
        try:
            performed = await perform(step, self.tools)
        except Halted:
            self.halted = True
            self.tools.emit(StepSkipped(step.id, step.verb, step.subject, _INTERRUPTED))
            return
        except BatchspecError as error:
            await self.leftovers.failed(step.action, error)
            self._failed(step, error, self.tools.world.clock.monotonic() - began)
            return
        self._done(step, performed, self.tools.world.clock.monotonic() - began)

    def _failed(self, step: Step, error: BatchspecError, seconds: float) -> None:
        if self.trouble is not Outcome.FAILED:
            self.exit = error.exit
        self.trouble = Outcome.FAILED
        if isinstance(error, ConflictError):
            self.conflict = step.id
        for problem in error.problems:
            self.tools.emit(StepFailed(step.id, step.verb, step.subject, seconds, problem))

    def _done(self, step: Step, performed: Performed, seconds: float) -> None:
        self.done.add(step.id)
        if performed.created:
            self.leftovers.done(step.action)
        if performed.trouble is not None and self.trouble is not Outcome.FAILED:
            self.trouble = performed.trouble
        self.tools.emit(
            StepDone(
                step.id,
                step.verb,
                step.subject,
                performed.items,
                seconds,
                performed.size,
                performed.note,
            )
        )


def _nodes(pool: PoolFacts) -> int:
    """How many nodes a pool has or will have."""
    now, wanted = pool.dedicated + pool.spot, pool.target_dedicated + pool.target_spot
    return max(now, wanted)
