"""Runs the steps of a plan as a graph: a step starts when the steps before it are done.

A failed step is an event; the steps after it are skipped and the others continue. The executor
makes no decision that is not in the plan, and prints nothing. :data:`HANDLERS` is the table from
the action of a step to the function that carries it out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from batchspec.apply import resources
from batchspec.apply.concurrency import RunCancelled
from batchspec.apply.context import (
    RemainingResources,
    StepContext,
    StepResult,
    StoredOutputs,
    SubmittedIds,
    UploadProgress,
)
from batchspec.apply.download import CONTAINER_MISSING, download_results
from batchspec.apply.events import (
    Emit,
    Noticed,
    Outcome,
    RunEnded,
    RunStarted,
    StepDone,
    StepFailed,
    StepSkipped,
    StepStarted,
)
from batchspec.apply.monitor import Monitor, watched_of
from batchspec.apply.ports import Deletion, Runtime
from batchspec.apply.record import Recorder, is_answered
from batchspec.apply.tasks import close_job, retry_tasks, submit_tasks, terminate_tasks
from batchspec.apply.upload import upload_files, upload_package
from batchspec.apply.wait import check_outputs, wait_for_pool, wait_for_tasks
from batchspec.diagnostics import (
    BatchspecError,
    ConflictError,
    Diagnostic,
    ServiceError,
    Severity,
    counted,
)
from batchspec.exit_codes import Exit
from batchspec.plan import Gate, Plan, Step, actions
from batchspec.plan.actions import (
    Action,
    CloseJob,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DownloadResults,
    UploadFiles,
    UploadPackage,
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
_IN_USE = "in_use"


async def run(plan: Plan, runtime: Runtime, emit: Emit, receipt: Path) -> Exit:
    """Carry out a plan and emit everything that happens, ``RunEnded`` last.

    ``receipt`` is the file that lists the results on this disk. After a request to cancel, the run
    ends when the requests in progress are completed. If its asyncio task is cancelled, it ends
    immediately. An interrupted run deletes nothing, and every step can be repeated.
    """
    verified_later = frozenset(
        step.action.job for step in plan.steps if isinstance(step.action, CloseJob | WaitForTasks)
    )
    monitor = Monitor(runtime, emit, watched_of(plan))
    uploads, submitted, incomplete = UploadProgress(), SubmittedIds(), set[str]()
    stored: dict[str, StoredOutputs] = {}

    def make_context(step: Step) -> StepContext:
        return StepContext(
            step,
            runtime,
            emit,
            receipt,
            monitor,
            uploads,
            submitted,
            verified_later,
            incomplete,
            stored,
        )

    remaining, recorder = RemainingResources(runtime), Recorder(plan, runtime, emit)
    return await _Run(plan, runtime, emit, make_context, monitor, remaining, recorder).run()


@dataclass(slots=True)
class _Run:
    plan: Plan
    runtime: Runtime
    emit: Emit
    make_context: Callable[[Step], StepContext]
    monitor: Monitor
    remaining: RemainingResources
    recorder: Recorder
    step_ended: dict[str, asyncio.Event] = field(default_factory=dict)
    started_ids: set[str] = field(default_factory=set)
    done_ids: set[str] = field(default_factory=set)
    kept_ids: set[str] = field(default_factory=set)
    conflict: str = ""
    outcome: Outcome | None = None
    exit_code: Exit = Exit.SERVICE
    confirmed_deletions: asyncio.Task[frozenset[str]] | None = None
    cancelled: bool = False
    answered: bool = True

    async def run(self) -> Exit:
        began = self.runtime.clock.monotonic()
        account = self.plan.account
        self.emit(
            RunStarted(
                self.plan.name, account.target, account.batch, account.storage, len(self.plan.steps)
            )
        )
        self.step_ended = {step.id: asyncio.Event() for step in self.plan.steps}
        try:
            async with asyncio.TaskGroup() as group:
                for step in self.plan.steps:
                    group.create_task(self._step(step), name=step.id)
            await self._record()
            if self.outcome is Outcome.FAILED and self.answered and not self.cancelled:
                undone = (step for step in self.plan.steps if step.id not in self.done_ids)
                with suppress(RunCancelled):
                    await self.remaining.check((*undone, *self.plan.stays))
            outcome = self._final_outcome()
        except asyncio.CancelledError:
            self._skip_rest()
            self._end(Outcome.INTERRUPTED, began)
            raise
        return self._end(outcome, began)

    async def _record(self) -> None:
        """Complete the record, unless the run was interrupted or the service does not answer."""
        if self.cancelled or self.plan.detached or not self.answered:
            return
        # All steps are done: cancellation ends only the record.
        with suppress(RunCancelled):
            await self.recorder.at_end()

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
        code = self.exit_code if outcome is Outcome.FAILED else _EXITS[outcome]
        seconds = self.runtime.clock.monotonic() - began
        self.emit(RunEnded(outcome, seconds, code, self._left(), released=self._released(outcome)))
        return code

    def _released(self, outcome: Outcome) -> datetime | None:
        """When the service is expected to have released the nodes, unless clean-up deleted them."""
        deleted = any(
            isinstance(step.action, DeletePool) and step.id in self.done_ids
            for step in self.plan.steps
        )
        # Other outcomes leave the job, which continues to use the nodes.
        over = outcome in {Outcome.DONE, Outcome.TASKS_FAILED, Outcome.TIME_LIMIT}
        if self.plan.release is None or deleted or not over:
            return None
        return self.monitor.expect_release(self.plan.release)

    def _left(self) -> tuple[str, ...]:
        """The resources that clean-up has left in the account, then those that the plan keeps.

        If clean-up has left none, only a pool whose nodes are billed until a client deletes it.
        """
        undone = (step for step in self.plan.steps if step.id not in self.done_ids)
        left = tuple(self.remaining.subjects(undone, conflict=bool(self.conflict)))
        if not left:
            pools = (step for step in self.plan.stays if isinstance(step.action, DeletePool))
            billed = pools if self.plan.nodes_stay else ()
            return tuple(self.remaining.subjects(billed, conflict=bool(self.conflict)))
        stays = self.remaining.subjects(self.plan.stays, conflict=bool(self.conflict))
        return (*left, *(subject for subject in stays if subject not in left))

    def _skip_rest(self) -> None:
        for step in self.plan.steps:
            if not self.step_ended[step.id].is_set():
                if step.id not in self.started_ids:
                    self.remaining.skipped(step.action)
                self.emit(StepSkipped(step.id, step.verb, step.subject, _INTERRUPTED))

    async def _step(self, step: Step) -> None:
        """Wait until the step may run, run it, and emit how it ended."""
        for name in step.after:
            await self.step_ended[name].wait()
        if step.gate is not Gate.FLOW:
            await self._wait_for_work(step)
        reason = await self._skip_reason(step)
        if reason:
            if reason == _IN_USE:
                self.kept_ids.add(step.id)
            self.remaining.skipped(step.action)
            self.emit(StepSkipped(step.id, step.verb, step.subject, reason))
        else:
            await self._perform(step)
        self.step_ended[step.id].set()

    async def _wait_for_work(self, step: Step) -> None:
        """Wait for all steps that are not clean-up."""
        for other in self.plan.steps:
            if other.gate is Gate.FLOW and other.id != step.id:
                await self.step_ended[other.id].wait()

    async def _skip_reason(self, step: Step) -> str:
        """Why a step may not run; empty if it may."""
        try:
            self.runtime.cancellation.check()
            return await self._blocked_by(step)
        except RunCancelled:
            self.cancelled = True
            return _INTERRUPTED

    async def _blocked_by(self, step: Step) -> str:
        """The step, outcome or answer that prevents a step; empty if there is none."""
        if step.gate is Gate.FLOW:
            undone = (name for name in step.after if name not in self.done_ids)
            return next(undone, "") or await self._in_use(step.action)
        if self.conflict:
            # The other run may use what the plan would delete.
            return self.conflict
        success = step.gate is Gate.SUCCESS
        reason = str(self.outcome or "") if success else self._missing_results(step.action)
        reason = reason or self._read_by_kept_pool(step) or await self._in_use(step.action)
        if not reason and step.gate is Gate.ASK and not await self._agreed(step):
            return "declined"
        return reason

    def _read_by_kept_pool(self, step: Step) -> str:
        """The deletion of a pool that is kept and whose nodes read containers; empty if none."""
        if not isinstance(step.action, DeleteContainers) or not step.action.read_by_nodes:
            return ""
        return next((name for name in step.after if name in self.kept_ids), "")

    async def _in_use(self, action: Action | None) -> str:
        """Whether an action would delete a pool that another job uses; empty if not."""
        if not isinstance(action, DeletePool) or action.forced:
            return ""
        problem = await resources.in_use(action.pool, self.plan.name, self.runtime)
        if problem is None:
            return ""
        self.emit(Noticed(problem))
        return _IN_USE

    def _missing_results(self, action: Action | None) -> str:
        """The step that must download results before a deletion; empty if there is none.

        A job that has ended costs nothing and records which tasks are done, so it is kept. A pool,
        or a job that has not ended, is deleted, because it may have nodes, which cost money.
        """
        left = [step for step in self.plan.steps if step.id not in self.done_ids]
        ended = not any(isinstance(step.action, WaitForTasks) for step in left)
        if isinstance(action, DeleteContainers) or (isinstance(action, DeleteJob) and ended):
            return next((step.id for step in left if isinstance(step.action, DownloadResults)), "")
        return ""

    async def _agreed(self, step: Step) -> bool:
        """Whether the user agrees to a deletion. The first call asks about all deletions."""
        if self.confirmed_deletions is None:
            self.confirmed_deletions = asyncio.ensure_future(self._ask_all())
        return step.id in await self.confirmed_deletions

    async def _ask_all(self) -> frozenset[str]:
        """Ask about each deletion separately, jobs before the pool; the ids of the agreed steps."""
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
                pool = await self.runtime.account.pools.get(step.action.pool)
            except ServiceError:
                return False  # Its cost is not known, so the pool is kept.
            nodes = _nodes(pool) if pool is not None else 0
        failed = self.outcome is not None
        return await self.runtime.questions.agree(Deletion(step.subject, nodes, failed))

    async def _perform(self, step: Step) -> None:
        began = self.runtime.clock.monotonic()
        size = step.action.size if isinstance(step.action, UploadFiles | UploadPackage) else None
        self.started_ids.add(step.id)
        self.emit(StepStarted(step.id, step.verb, step.subject, step.items, size))
        try:
            if self.answered:
                await self.recorder.before(step.action)
            result = await perform(self.make_context(step))
        except RunCancelled:
            self.cancelled = True
            self.emit(StepSkipped(step.id, step.verb, step.subject, _INTERRUPTED))
            return
        except BatchspecError as error:
            await self.remaining.failed(step.action, error)
            self._failed(step, error, self.runtime.clock.monotonic() - began)
            return
        self._done(step, result, self.runtime.clock.monotonic() - began)

    def _failed(self, step: Step, error: BatchspecError, seconds: float) -> None:
        self.answered = self.answered and is_answered(error)
        if self.outcome is not Outcome.FAILED:
            self.exit_code = error.exit
        self.outcome = Outcome.FAILED
        if isinstance(error, ConflictError):
            self.conflict = step.id
        for problem in error.problems:
            located = self.plan.located(step.action, problem)
            self.emit(StepFailed(step.id, step.verb, step.subject, seconds, located))

    def _done(self, step: Step, result: StepResult, seconds: float) -> None:
        self.done_ids.add(step.id)
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


Handler: TypeAlias = Callable[[Any, StepContext], Awaitable[StepResult]]


async def _download(action: actions.DownloadResults, context: StepContext) -> StepResult:
    checked = await check_outputs(action, StepResult(), context)
    return replace(await download_results(action, context), outcome=checked.outcome)


async def _wait_for_pool(_action: actions.WaitForPool, context: StepContext) -> StepResult:
    return await wait_for_pool(context.monitor)


async def _wait_for_tasks(action: actions.WaitForTasks, context: StepContext) -> StepResult:
    # A plan for a job that was closed earlier has no step that verifies the submitted tasks.
    await context.submitted.verify(action.job, context.runtime)
    result = await wait_for_tasks(action, context.monitor)
    if action.left and result.outcome is None:
        left = counted(action.left, "task")
        verb = "is" if action.left == 1 else "are"
        context.emit(
            Noticed(
                Diagnostic(
                    "tasks-left",
                    f"{left} of this run {verb} not done and {verb} not part of this command",
                    fix="`batchspec apply` runs everything that is left.",
                    severity=Severity.WARNING,
                )
            )
        )
        result = replace(result, note=f"{left} {verb} left", outcome=Outcome.TASKS_FAILED)
    return await check_outputs(action, result, context)


HANDLERS: Mapping[type[actions.Action], Handler] = {
    actions.CreateContainer: resources.create_container,
    actions.UseContainer: resources.use_container,
    actions.ReleaseContainer: resources.release_container,
    actions.DeleteContainers: resources.delete_containers,
    actions.DeleteOutputs: resources.delete_outputs,
    actions.UploadFiles: upload_files,
    actions.UploadPackage: upload_package,
    actions.DownloadResults: _download,
    actions.CreatePool: resources.create_pool,
    actions.UpdatePool: resources.update_pool,
    actions.ResizePool: resources.resize_pool,
    actions.ScalePool: resources.scale_pool,
    actions.RestartNodes: resources.restart_nodes,
    actions.ReplacePool: resources.replace_pool,
    actions.DeletePool: resources.delete_pool,
    actions.CreateJob: resources.create_job,
    actions.UpdateJob: resources.update_job,
    actions.ReplaceJob: resources.replace_job,
    actions.CloseJob: close_job,
    actions.DeleteJob: resources.delete_job,
    actions.CreateSchedule: resources.create_schedule,
    actions.UpdateSchedule: resources.update_schedule,
    actions.ReplaceSchedule: resources.replace_schedule,
    actions.DeleteSchedule: resources.delete_schedule,
    actions.SubmitTasks: submit_tasks,
    actions.RetryTasks: retry_tasks,
    actions.TerminateTasks: terminate_tasks,
    actions.WaitForPool: _wait_for_pool,
    actions.WaitForTasks: _wait_for_tasks,
}
"""One entry for each member of :data:`batchspec.plan.actions.Action`."""


async def perform(context: StepContext) -> StepResult:
    """Carry out the action of a step.

    Raises:
        ServiceError: the account refused a request, or could not be reached.
        SpecError: a file has changed since the plan was made.
    """
    action = context.step.action
    assert action is not None
    try:
        return await HANDLERS[type(action)](action, context)
    except ServiceError as error:
        raise _explained(error) from None


_MISSING = CONTAINER_MISSING | {
    *("PoolNotFound", "PoolBeingDeleted"),
    *("JobNotFound", "JobBeingDeleted"),
    *("JobScheduleNotFound", "JobScheduleBeingDeleted"),
}
_FIX = (
    "If another apply of this spec ran at the same time, it may have ended first and cleaned up."
    " `batchspec plan` shows what is left to do."
)


def _explained(error: ServiceError) -> ServiceError:
    """The error, with the likely cause if it says that a resource does not exist."""
    if error.code not in _MISSING:
        return error
    first, *rest = error.problems
    explained_error = ServiceError(replace(first, fix=_FIX), code=error.code, status=error.status)
    explained_error.problems = (*explained_error.problems, *rest)
    return explained_error
