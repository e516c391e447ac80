"""Reads the output of tasks and start tasks, to its present end or as it grows.

The source is the node while it exists, then the container for logs, which also contains the output
that ``apply.record`` stored before a node was deleted.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from batchspec.account import Account, FilePart, TaskDetails
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.frozen import frozen
from batchspec.plan import OPEN
from batchspec.plan.failures import (
    FAILURE_RECORD,
    NODE_LOGS_FOLDER,
    STARTUP_FOLDER,
    NodeFailure,
    node_logs_container,
    pool_folder,
    read_node_failure,
)
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.spec import LOGS_PATH, PoolKind, Record, Spec

_MOST = 1 << 20
"""Bytes read at once."""

_RECORDS = 50
"""How many records are read; a run stores ten at most."""
_LARGEST = 1 << 16
"""Bytes of a record."""
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN = 10
_UNSTARTED = frozenset({"active", "preparing"})
_STARTING = frozenset({"creating", "starting", "waitingforstarttask", "rebooting", "reimaging"})
"""The states of a node whose start task may still write."""


@frozen
class TaskInJob:
    """A task and its job."""

    job: str
    seen: TaskDetails


@frozen
class Unstartable:
    """Why a waiting task can no longer start.

    Its ``job`` has ended; or ``failed`` is the id of a failed task on which it depends directly or
    indirectly.
    """

    job: str
    failed: str = ""


@dataclass(slots=True)
class OutputFile:
    """A file that may grow, read from its start.

    ``fetch`` reads from the node and ``kept`` from storage, each from an offset; ``ended`` returns
    whether the file is complete. ``found`` is true when a part of the file has been read.
    """

    fetch: Callable[[int, int], Awaitable[FilePart | None]]
    kept: Callable[[int, int], Awaitable[FilePart | None]]
    ended: Callable[[], Awaitable[bool]]
    found: bool = False
    offset: int = 0

    async def read(self) -> AsyncIterator[bytes]:
        """The file to its present end."""
        over = await self.ended()
        while data := await self._next(over=over):
            yield data

    async def follow(self, pause: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
        """The file as it grows, until it is complete."""
        while True:
            # Checked before reading, so that the last read is after the end.
            over = await self.ended()
            while data := await self._next(over=over):
                yield data
            if over:
                return
            await pause()

    async def tail(self, size: int) -> str:
        """The last ``size`` bytes, as text; empty if there is no file."""
        for read in (self.fetch, self.kept):
            part = await read(0, size)
            if part is not None and part.length > size:
                part = await read(part.length - size, size)
            if part is not None:
                return part.data.decode("utf-8", "replace").lstrip("\ufffd")
        return ""

    async def _next(self, *, over: bool) -> bytes:
        part = await self.fetch(self.offset, _MOST)
        if part is None and over:
            # While the task runs, a stored file is from an earlier attempt.
            part = await self.kept(self.offset, _MOST)
        if part is None:
            return b""
        self.found = True
        if part.length < self.offset:
            # The file is shorter: the task runs again.
            self.offset = 0
            return await self._next(over=over)
        self.offset += len(part.data)
        return part.data


def output_of_task(account: Account, spec: Spec, where: TaskInJob, name: str) -> OutputFile:
    """``name`` (``stdout.txt``, ``stderr.txt`` ...) of a task."""
    job, task = where.job, where.seen.facts.id
    folders = [where.seen.kept] if where.seen.kept else kept_folders(spec, task)

    async def ended() -> bool:
        seen = await account.tasks.get(job, task)
        if seen is None or seen.facts.state == "completed":
            return True
        # A requeued task waits forever if its job ends.
        return seen.facts.state in _UNSTARTED and not await _is_open(account, job)

    return OutputFile(
        lambda start, most: account.tasks.get_file(job, task, name, start, most),
        lambda start, most: _kept(account, folders, name, start, most),
        ended,
    )


def stored_output(account: Account, spec: Spec, task: str, name: str) -> OutputFile:
    """``name`` of a task whose job was deleted, from the container for logs."""
    folders = kept_folders(spec, task)
    return OutputFile(
        _nothing, lambda start, most: _kept(account, folders, name, start, most), _true
    )


def output_of_start_task(account: Account, pool: str, node: str, name: str) -> OutputFile:
    """``name`` of the start task of a node that exists."""

    async def ended() -> bool:
        async for seen in account.nodes.list(pool, missing_ok=True):
            if seen.id == node:
                return seen.state not in _STARTING
        return True

    return OutputFile(
        lambda start, most: account.nodes.get_file(
            pool, node, f"{STARTUP_FOLDER}/{name}", start, most
        ),
        _nothing,
        ended,
    )


def output_of_node(account: Account, container: str, stored: NodeFailure, name: str) -> OutputFile:
    """``name`` of a task of a deleted node, as it was stored."""
    blob = f"{stored.path}{name}"
    return OutputFile(
        _nothing, lambda start, most: account.blobs.get_part(container, blob, start, most), _true
    )


async def _nothing(_start: int, _most: int) -> FilePart | None:
    return None


async def _true() -> bool:
    return True


def kept_folders(spec: Spec, task: str) -> Sequence[tuple[str, str]]:
    """The containers and folders to which the spec may upload the logs of a task."""
    folder = LOGS_PATH.replace("{{ task.id }}", task).rstrip("/")
    containers = [spec.container_id(stage.logs) for stage in spec.stages if stage.logs]
    return [(container, folder) for container in dict.fromkeys(containers)]


async def _kept(
    account: Account, folders: Sequence[tuple[str, str]], name: str, start: int, most: int
) -> FilePart | None:
    for container, folder in folders:
        part = await account.blobs.get_part(container, f"{folder}/{name}".lstrip("/"), start, most)
        if part is not None:
            return part
    return None


async def get_task(jobs: Sequence[JobFacts], account: Account, task_id: str) -> TaskInJob | None:
    """The task with this id in the newest job that contains it; ``None`` if there is none."""
    if _ID.fullmatch(task_id):
        for job in reversed(jobs):
            if (seen := await account.tasks.get(job.id, task_id)) is not None:
                return TaskInJob(job.id, seen)
    return None


async def find_task(jobs: Sequence[JobFacts], account: Account, wanted: str) -> TaskInJob | None:
    """The task with this id, or the only task whose id contains ``wanted``, newest job first.

    ``None`` if there is no job.

    Raises:
        UsageError: there is none, or there are several.
    """
    if not jobs:
        return None
    if (exact := await get_task(jobs, account, wanted)) is not None:
        return exact
    hits: dict[str, str] = {}
    near: list[str] = []
    async for job_id, task in _newest(jobs, account):
        if wanted.lower() in task.id.lower():
            hits[task.id] = job_id
        elif len(near) < 10 * _SHOWN:
            near.append(task.id)
    if len(hits) == 1:
        ((name, job_id),) = hits.items()
        if (seen := await account.tasks.get(job_id, name)) is not None:
            return TaskInJob(job_id, seen)
    raise UsageError(_several(wanted, list(hits)) if hits else _none(wanted, near))


async def wait_for_start(
    account: Account, where: TaskInJob, pause: Callable[[], Awaitable[None]]
) -> Unstartable | None:
    """Wait until a task starts, ends or is deleted; the reason if it can no longer start.

    Each poll makes three requests. Lists are read only if the number of failed tasks has changed.
    """
    job, task = where.job, where.seen.facts.id
    failed = 0
    while True:
        seen = await account.tasks.get(job, task)
        if seen is None or seen.facts.state not in _UNSTARTED:
            return None
        if not await _is_open(account, job):
            return Unstartable(job)
        counts = await account.jobs.get_task_counts(job)
        if counts is not None and counts.failed != failed:
            failed = counts.failed
            if blocking := await _failed_dependency(account, job, task):
                return Unstartable(job, blocking)
        await pause()


async def find_unstartable(account: Account, where: TaskInJob) -> Unstartable | None:
    """Why a task that has not started can no longer start; ``None`` if it can."""
    job = where.job
    if not await _is_open(account, job):
        return Unstartable(job)
    failed = await _failed_dependency(account, job, where.seen.facts.id)
    return Unstartable(job, failed) if failed else None


async def _is_open(account: Account, job: str) -> bool:
    """Whether the tasks of a job can start, now or when it is enabled again."""
    found = await account.jobs.get(job)
    return found is not None and found.state in OPEN


async def _failed_dependency(account: Account, job: str, task: str) -> str:
    """A failed task on which a waiting task depends, directly or indirectly; empty if none."""
    failed = {name.lower(): name async for name in account.tasks.list_blocking(job)}
    if not failed:
        return ""
    waiting = {each.id.lower(): each async for each in account.tasks.list_waiting(job)}
    seen, left = set[str](), [task.lower()]
    while left:
        name = left.pop()
        if name in failed:
            return failed[name]
        if name in seen or name not in waiting:
            continue
        seen.add(name)
        needs = waiting[name]
        left += [need.lower() for need in needs.needs]
        for first, last in needs.ranges:
            numbers = (each for each in (*waiting, *failed) if each.isdecimal())
            left += [each for each in numbers if first <= int(each) <= last]
    return ""


async def started_tasks(
    jobs: Sequence[JobFacts], account: Account
) -> AsyncIterator[tuple[str, TaskFacts]]:
    """The tasks that have started, each with its job; the newest of tasks with equal ids."""
    async for job_id, task in _newest(jobs, account):
        if task.state not in _UNSTARTED:
            yield job_id, task


async def _newest(
    jobs: Sequence[JobFacts], account: Account
) -> AsyncIterator[tuple[str, TaskFacts]]:
    """Every task of the jobs, newest job first; the newest of tasks with equal ids.

    The ids of the oldest job, which is the largest, are not kept in memory.
    """
    seen_ids: set[str] = set()
    for number, job in enumerate(reversed(jobs), start=1):
        async for task in account.tasks.list(job.id, missing_ok=True):
            if task.id.lower() not in seen_ids:
                if number < len(jobs):
                    seen_ids.add(task.id.lower())
                yield job.id, task


def pool_of(spec: Spec, jobs: Sequence[JobFacts]) -> str | None:
    """The pool of a run: the pool of the spec, or the auto pool of a job."""
    if spec.pool.kind is not PoolKind.JOB:
        return spec.pool.id
    for job in reversed(jobs):
        execution = job.properties.get("executionInfo")
        pool = execution.get("poolId") if isinstance(execution, Record) else None
        if isinstance(pool, str):
            return pool
    return None


@frozen
class NodeOutput:
    """A file of the start task of ``node``.

    ``written_by`` is the node that wrote it, if the output of several nodes was stored once.
    """

    node: str
    output: OutputFile
    written_by: str = ""


async def find_node_output(
    spec: Spec, jobs: Sequence[JobFacts], account: Account, wanted: str, name: str
) -> NodeOutput:
    """The file ``name`` of the start task of the only node whose id is or contains ``wanted``.

    For a deleted node, it is the stored output.

    Raises:
        UsageError: there is no such node, or there are several.
    """
    pool = pool_of(spec, jobs)
    alive = (
        [node async for node in account.nodes.list(pool, missing_ok=True)]
        if pool is not None
        else []
    )
    since = jobs[-1].created if jobs else None
    stored = {
        node: failure
        for failure in await stored_failures(spec, pool, account, since)
        if failure.folder == STARTUP_FOLDER
        for node in failure.nodes
    }
    states = {
        **{node: f"deleted; {failure.state}" for node, failure in stored.items()},
        **{node.id: node.state for node in alive},
    }
    node = _one_node(states, pool, wanted)
    if pool is not None and any(seen.id == node for seen in alive):
        return NodeOutput(node, output_of_start_task(account, pool, node, name))
    failure = stored[node]
    container = node_logs_container(spec) or ""
    output = output_of_node(account, container, failure, name)
    return NodeOutput(node, output, "" if failure.node == node else failure.node)


def _one_node(states: Mapping[str, str], pool: str | None, wanted: str) -> str:
    """The node that ``wanted`` identifies.

    Raises:
        UsageError: there is none, or there are several.
    """
    hits = [node for node in states if wanted.lower() in node.lower()]
    exact = [node for node in hits if node.lower() == wanted.lower()]
    if len(exact or hits) == 1:
        return (exact or hits)[0]
    listed = _listed([f"{node} ({states[node]})" for node in hits or states])
    of = f"of the pool {pool!r} " if pool is not None else ""
    if hits:
        summary = f"{len(hits)} nodes {of}contain {wanted!r} in their ids"
    else:
        summary = f"no node {of}has {wanted!r} in its id"
    raise UsageError(
        Diagnostic(
            "no-such-node",
            summary,
            detail=listed
            or "The pool has no nodes, and no output of failed start tasks is stored.",
            fix="Name one of these." if states else "`batchspec failures` shows the failures.",
        )
    )


def _several(wanted: str, names: list[str]) -> Diagnostic:
    return Diagnostic(
        "several-tasks",
        f"{len(names)} tasks contain {wanted!r} in their ids",
        detail=_listed(names),
        fix="Name one of them.",
    )


def _none(wanted: str, names: list[str]) -> Diagnostic:
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    return Diagnostic(
        "no-such-task",
        f"no task of the run has {wanted!r} in its id",
        fix=f"Did you mean {close[0]!r}?" if close else "`batchspec logs` lists them.",
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return "\n".join([*names[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])])


async def stored_failures(
    spec: Spec, pool: str | None, account: Account, since: datetime | None
) -> tuple[NodeFailure, ...]:
    """The stored failures of the nodes of ``pool`` (``None``: of any pool), by node id.

    Failures older than ``since`` are from an earlier run and are left out.
    """
    container = node_logs_container(spec)
    if container is None:
        return ()
    # Last-Modified has whole seconds, the creation time of a job has fractions.
    oldest = since.replace(microsecond=0) if since is not None else None
    found: list[NodeFailure] = []
    async for blob in account.blobs.list(
        container, pool_folder(pool) if pool else f"{NODE_LOGS_FOLDER}/"
    ):
        if not blob.name.endswith(f"/{FAILURE_RECORD}"):
            continue
        if oldest is not None and blob.modified is not None and blob.modified < oldest:
            continue
        part = await account.blobs.get_part(container, blob.name, 0, _LARGEST)
        failure = (
            read_node_failure(part.data.decode("utf-8", "replace")) if part is not None else None
        )
        if failure is not None:
            found.append(failure)
        if len(found) >= _RECORDS:
            break
    return tuple(found)
