"""Reads the facts about all tasks and nodes of a run, before they are deleted and at its end.

Few requests: lists with selected fields, a thousand tasks or nodes in each answer. An error is a
warning: the result of a run does not depend on its record.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial

from batchspec.apply.events import Emit, Noticed
from batchspec.apply.node_logs import TAIL
from batchspec.apply.ports import RunRecord, World
from batchspec.diagnostics import BatchspecError, Diagnostic, ServiceError, Severity
from batchspec.plan import Plan
from batchspec.plan.actions import (
    Action,
    DeleteJob,
    DeletePool,
    DownloadResults,
    ReplacePool,
    RetryTasks,
    SubmitTasks,
    WaitForTasks,
)

_NO_ANSWER = frozenset({"bad-answer", "local-stopped", "no-credential", "unreachable"})
"""The codes of errors without an answer of the service."""
_REFUSED = frozenset({401, 403, 408, 429})
"""The statuses of a service that refuses other requests, too."""


@dataclass(slots=True)
class Recorder:
    """Reads the tasks of the jobs and the nodes of the pools of a plan, each once.

    Without a record (``World.record``), nothing is read.
    """

    plan: Plan
    world: World
    emit: Emit
    _read: set[str] = field(default_factory=set)
    _pools: list[str] = field(default_factory=list)

    async def before(self, action: Action | None) -> None:
        """Read what an action deletes: a job, the nodes of a pool, the results of failed tasks.

        Raises:
            RunCancelled: the run is to stop.
        """
        record = self.world.record
        if record is None:
            return
        match action:
            case DeleteJob(job):
                await self._once(f"job {job}", partial(self._tasks, job, record))
            case RetryTasks(job):
                await self._once(f"failed {job}", partial(self._failed_tasks, job, record))
            case DeletePool(pool) | ReplacePool(pool):
                await self._once(f"pool {pool}", partial(self._nodes, pool, record))

    async def at_end(self) -> None:
        """Read everything that was not read yet.

        Raises:
            RunCancelled: the run is to stop.
        """
        record = self.world.record
        if record is None:
            return
        earlier = record.earlier_jobs if _has_earlier_tasks(self.plan) else ()
        for job in dict.fromkeys((*_jobs(self.plan), *earlier)):
            await self._once(f"job {job}", partial(self._tasks, job, record))
        for pool in dict.fromkeys((*_pools(self.plan), *self._pools)):
            await self._once(f"pool {pool}", partial(self._nodes, pool, record))

    async def _once(self, subject: str, read: Callable[[], Awaitable[None]]) -> None:
        if subject in self._read:
            return
        self._read.add(subject)
        try:
            await self.world.cancellation.race(read())
        except ServiceError as error:
            self.emit(Noticed(_not_read(subject, error.problems[0])))

    async def _tasks(self, job_id: str, record: RunRecord) -> None:
        if record.is_complete(job_id):
            return
        account = self.world.account
        job = await account.jobs.get(job_id)
        if job is None:
            return
        if job.pool:
            self._pools.append(job.pool)
        without_output = await record.save_tasks(
            job, account.now(), account.tasks.list_records(job_id)
        )
        for task in without_output:
            tail = await account.tasks.get_file_tail(job_id, task, "stderr.txt", TAIL)
            record.save_output(task, tail)

    async def _failed_tasks(self, job_id: str, record: RunRecord) -> None:
        account = self.world.account
        job = await account.jobs.get(job_id)
        if job is not None:
            failed = account.tasks.list_records(job_id, failed=True)
            await record.save_tasks(job, account.now(), failed)

    async def _nodes(self, pool_id: str, record: RunRecord) -> None:
        account = self.world.account
        await record.save_nodes(pool_id, account.now(), account.nodes.list_records(pool_id))


def is_answered(error: BatchspecError) -> bool:
    """Whether further requests may be answered after an error that ended a step."""
    if not isinstance(error, ServiceError):
        return True
    if error.status is None:
        return error.code not in _NO_ANSWER
    return error.status < 500 and error.status not in _REFUSED


def _jobs(plan: Plan) -> Iterator[str]:
    """The jobs whose tasks a plan submits, runs again or waits for, or whose results are all there.

    The run that waited for the results may have ended before it read the facts.
    """
    for step in plan.steps:
        match step.action:
            case SubmitTasks(job) | RetryTasks(job) | WaitForTasks(job):
                yield job
            case DownloadResults(job=job, complete=True):
                yield job


def _has_earlier_tasks(plan: Plan) -> bool:
    """Whether tasks in earlier jobs count: a wait adds them, and results may be of all jobs."""
    actions = [step.action for step in plan.steps]
    waits = [action for action in actions if isinstance(action, WaitForTasks)]
    if waits:
        return any(wait.kept or wait.absent for wait in waits)
    return any(isinstance(action, DownloadResults) and action.complete for action in actions)


def _pools(plan: Plan) -> Iterator[str]:
    for step in plan.steps:
        if isinstance(step.action, WaitForTasks) and step.action.pool:
            yield step.action.pool


def _not_read(subject: str, problem: Diagnostic) -> Diagnostic:
    return replace(
        problem,
        code="facts-unread",
        summary=f"the record of this run lacks facts about {subject}: {problem.summary}",
        fix="The result of the run is not affected; `batchspec report` shows the other facts.",
        severity=Severity.WARNING,
    )
