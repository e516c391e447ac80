"""Reads facts and output of tasks and nodes before they are deleted.

:class:`Recorder` reads the facts about all tasks and nodes for the record of the run, which
``batchspec report`` shows, before they are deleted and at the end of the run. It sends few
requests: lists with selected fields, and a thousand tasks or nodes in each response.

:func:`keep_node_output` stores the output of failed start and preparation tasks in the container
for logs, because the service stores only the output of tasks.

An error becomes a warning, because the result of a run depends on neither.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from batchspec.apply.events import Emit, Noticed
from batchspec.diagnostics import BatchspecError, Diagnostic, ServiceError, Severity, redact
from batchspec.frozen import frozen
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
from batchspec.plan.failures import (
    FAILURE_RECORD,
    NAMED_NODES,
    OUTPUT_FILES,
    PREPARATION_FOLDER,
    STARTUP_FOLDER,
    NodeFailure,
    node_failure_text,
    pool_folder,
    signature,
)

if TYPE_CHECKING:
    from batchspec.account import NodeFacts, PreparationFacts
    from batchspec.apply.ports import RunRecord, Runtime

TAIL = 2048
"""How many bytes from the end of stderr are read for an event."""
_TAIL = 64 * 1024
"""How many bytes from the end of a file are stored."""
_READ = 50
"""How many nodes are read; the others are ignored."""
_AT_ONCE = 8
"""How many nodes are read at the same time."""
_STORED = 10
"""How many different failures are stored; the others are ignored."""


@frozen
class FailedOnNode:
    """A start or preparation task that failed; ``directory`` contains its files on the node."""

    pool: str
    node: str
    folder: str
    directory: str
    state: str
    exit_code: int | None
    message: str


def failed_start_task(pool: str, node: NodeFacts) -> FailedOnNode:
    """The start task of a node."""
    return FailedOnNode(
        pool,
        node.id,
        STARTUP_FOLDER,
        STARTUP_FOLDER,
        node.state.lower(),
        node.exit_code,
        node.message,
    )


def failed_preparation(pool: str, node: PreparationFacts) -> FailedOnNode:
    """The preparation task of a job on a node."""
    return FailedOnNode(
        pool,
        node.node,
        PREPARATION_FOLDER,
        node.directory,
        "preparationfailed",
        node.exit_code,
        node.message,
    )


@dataclass(slots=True)
class NodeLogs:
    """The failures that this run has stored, by their common properties.

    ``container`` is the container for logs; ``None`` if the spec has none. ``seen`` are the pools,
    nodes and folders that were read. After a refusal, nothing more is stored.
    """

    container: str | None = None
    stored: dict[tuple[str, ...], NodeFailure] = field(default_factory=dict)
    seen: set[tuple[str, str, str]] = field(default_factory=set)
    refused: bool = False


async def keep_node_output(failed: Iterable[FailedOnNode], runtime: Runtime, emit: Emit) -> None:
    """Store the output of failed start or preparation tasks, once for nodes with the same failure.

    No node is read twice. A failure to store is reported once in a run, as a warning.
    """
    logs = runtime.node_logs
    if logs.container is None or logs.refused:
        return
    new = [one for one in failed if (one.pool, one.node, one.folder) not in logs.seen]
    new = new[: max(0, _READ - len(logs.seen))]
    logs.seen.update((one.pool, one.node, one.folder) for one in new)
    limit = asyncio.Semaphore(_AT_ONCE)
    texts = await asyncio.gather(*(_texts(one, runtime, limit) for one in new))
    for one, files in zip(new, texts, strict=True):
        try:
            await _keep(one, files, logs.container, runtime)
        except ServiceError as error:
            # 404: clean-up has deleted the container, and the logs with it.
            logs.refused = True
            if error.status != 404:
                emit(Noticed(_not_stored(one.pool, error)))
            return


async def keep_pool_output(pool: str, runtime: Runtime, emit: Emit) -> None:
    """Store the output of failed start tasks of a pool, before the pool is deleted."""
    if runtime.node_logs.container is None:
        return
    try:
        nodes = [node async for node in runtime.account.nodes.list_unhealthy(pool)]
    except ServiceError as error:
        if error.status != 404:
            emit(Noticed(_not_stored(pool, error)))
        return
    await keep_node_output((failed_start_task(pool, node) for node in nodes), runtime, emit)


async def forget_pool_output(pool: str, runtime: Runtime, emit: Emit) -> None:
    """Delete the stored output of a pool, before it is created again or its nodes restart."""
    logs = runtime.node_logs
    if logs.container is None:
        return
    logs.seen = {key for key in logs.seen if key[0] != pool}
    logs.stored = {key: failure for key, failure in logs.stored.items() if failure.pool != pool}
    try:
        async for blob in runtime.account.blobs.list(logs.container, pool_folder(pool)):
            await runtime.account.blobs.delete(logs.container, blob.name)
    except ServiceError as error:
        emit(Noticed(_not_deleted(logs.container, pool, error)))


async def _texts(
    one: FailedOnNode, runtime: Runtime, limit: asyncio.Semaphore
) -> Mapping[str, str]:
    """The ends of the files of a task; empty if a file cannot be read from the failed node."""
    found = {}
    async with limit:
        for name in OUTPUT_FILES:
            try:
                found[name] = await runtime.account.nodes.get_file_tail(
                    one.pool, one.node, f"{one.directory}/{name}", _TAIL
                )
            except ServiceError:
                found[name] = ""
    return found


async def _keep(
    one: FailedOnNode, files: Mapping[str, str], container: str, runtime: Runtime
) -> None:
    logs = runtime.node_logs
    text = files[OUTPUT_FILES[0]] or one.message
    line = signature(text, one.pool, one.node)
    key = (one.pool, one.folder, one.state, str(one.exit_code), line)
    known = logs.stored.get(key)
    if known is not None:
        names = (*known.nodes, one.node)[:NAMED_NODES]
        failure = replace(known, nodes=names, count=known.count + 1)
    elif len(logs.stored) < _STORED:
        message = redact(one.message)
        failure = NodeFailure(
            one.pool, one.node, one.folder, one.state, one.exit_code, message, (one.node,)
        )
        for name, content in files.items():
            await runtime.account.blobs.put(
                container, f"{failure.path}{name}", redact(content).encode()
            )
    else:
        return
    logs.stored[key] = failure
    # The record is written last, so that the files it names exist.
    await runtime.account.blobs.put(
        container, f"{failure.path}{FAILURE_RECORD}", node_failure_text(failure).encode()
    )


def _not_stored(pool: str, error: ServiceError) -> Diagnostic:
    return Diagnostic(
        "node-output-not-stored",
        f"the output of failed start tasks of the pool {pool!r} was not stored",
        detail=error.problems[0].summary,
        fix="Read it before the pool is deleted: `batchspec logs --start-task NODE`.",
        severity=Severity.WARNING,
    )


def _not_deleted(container: str, pool: str, error: ServiceError) -> Diagnostic:
    return Diagnostic(
        "node-output-not-deleted",
        f"the output of earlier start tasks of the pool {pool!r} was not deleted",
        detail=error.problems[0].summary,
        fix=f"Until it is deleted, `batchspec failures` shows it: container {container}, "
        f"folder {pool_folder(pool)}",
        severity=Severity.WARNING,
    )


async def read_tail(tail: Awaitable[str], emit: Emit) -> str:
    """The text without secrets; empty, with a warning, if it cannot be read."""
    try:
        return redact(await tail)
    except ServiceError as error:
        for problem in error.problems:
            emit(Noticed(replace(problem, severity=Severity.WARNING)))
        return ""


_NO_ANSWER = frozenset({"bad-answer", "local-stopped", "no-credential", "unreachable"})
"""The codes of errors without a response of the service."""
_REFUSED = frozenset({401, 403, 408, 429})
"""The statuses after which the service probably refuses other requests, too."""


@dataclass(slots=True)
class Recorder:
    """Reads the tasks of the jobs and the nodes of the pools of a plan, each once.

    Without a record (``Runtime.record``), nothing is read.
    """

    plan: Plan
    runtime: Runtime
    emit: Emit
    _read: set[str] = field(default_factory=set)
    _pools: list[str] = field(default_factory=list)

    async def before(self, action: Action | None) -> None:
        """Read the facts that an action removes: about a job, nodes of a pool, or failed tasks.

        Raises:
            RunCancelled: cancellation was requested.
        """
        record = self.runtime.record
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
        """Read all facts that were not read before.

        Raises:
            RunCancelled: cancellation was requested.
        """
        record = self.runtime.record
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
            await self.runtime.cancellation.race(read())
        except ServiceError as error:
            self.emit(Noticed(_not_read(subject, error.problems[0])))

    async def _tasks(self, job_id: str, record: RunRecord) -> None:
        account = self.runtime.account
        job = await account.jobs.get(job_id)
        if job is None or record.is_complete(job):
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
        account = self.runtime.account
        job = await account.jobs.get(job_id)
        if job is not None:
            failed = account.tasks.list_records(job_id, failed=True)
            await record.save_tasks(job, account.now(), failed)

    async def _nodes(self, pool_id: str, record: RunRecord) -> None:
        account = self.runtime.account
        await record.save_nodes(pool_id, account.now(), account.nodes.list_records(pool_id))


def is_answered(error: BatchspecError) -> bool:
    """Whether the service may answer further requests after an error that ended a step."""
    if not isinstance(error, ServiceError):
        return True
    if error.status is None:
        return error.code not in _NO_ANSWER
    return error.status < 500 and error.status not in _REFUSED


def _jobs(plan: Plan) -> Iterator[str]:
    """The jobs whose tasks a plan submits, reruns or waits for, or whose results are complete.

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
        summary=f"the record of this run has no data about {subject}: {problem.summary}",
        fix="The result of the run is not affected; `batchspec report` shows the other data.",
        severity=Severity.WARNING,
    )
