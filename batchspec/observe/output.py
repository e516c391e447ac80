"""What a task or a start task has written, from wherever it can still be read.

From the node while that lives, else from the container where the service keeps logs. Read from the
beginning to the end there is now, or on as it grows. Nothing is shown here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass

from batchspec.observe.ports import NodeSeen, Outputs, Part, TaskSeen
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.problems import Problem, UsageError
from batchspec.spec.expand_task import LOGS_PATH
from batchspec.spec.model import PoolKind, Spec
from batchspec.spec.values import Record

_MOST = 1 << 20
"""Bytes read at once."""

_BEHIND = 1 << 62
"""An offset behind the end of any file: asked for, it tells the length."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_SHOWN = 10
_UNSTARTED = frozenset({"active", "preparing"})
_COMING = frozenset({"creating", "starting", "waitingforstarttask", "rebooting", "reimaging"})
"""The states of a node whose start task may still write."""


@dataclass(frozen=True, slots=True)
class TaskOf:
    """A task and the job it is in."""

    job: str
    seen: TaskSeen


@dataclass(slots=True)
class Output:
    """A file that may grow, read forward.

    ``fetch`` reads on the node and ``kept`` what outlives it, each from an offset; ``ended`` says
    whether nothing more will be written. ``found`` tells, after reading, whether there was a file.
    """

    fetch: Callable[[int, int], Awaitable[Part | None]]
    kept: Callable[[int, int], Awaitable[Part | None]]
    ended: Callable[[], Awaitable[bool]]
    found: bool = False
    offset: int = 0

    async def read(self) -> AsyncIterator[bytes]:
        """All that there is now."""
        over = await self.ended()
        while data := await self._next(over=over):
            yield data

    async def follow(self, pause: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
        """All that there is, and what comes until nothing more will."""
        while True:
            # Asked first: what is written before the end is then read after it.
            over = await self.ended()
            while data := await self._next(over=over):
                yield data
            if over:
                return
            await pause()

    async def tail(self, size: int) -> str:
        """The last ``size`` bytes of what there is now, as text; empty where there is nothing."""
        whole = await self.fetch(_BEHIND, 0) or await self.kept(_BEHIND, 0)
        if whole is None:
            return ""
        start = max(0, whole.length - size)
        part = await self.fetch(start, size) or await self.kept(start, size)
        return part.data.decode("utf-8", "replace").lstrip("\ufffd") if part is not None else ""

    async def _next(self, *, over: bool) -> bytes:
        part = await self.fetch(self.offset, _MOST)
        if part is None and over:
            # While it runs, what is kept is of an earlier attempt.
            part = await self.kept(self.offset, _MOST)
        if part is None:
            return b""
        self.found = True
        if part.length < self.offset:
            # It was written anew: the task runs again.
            self.offset = 0
            return await self._next(over=over)
        self.offset += len(part.data)
        return part.data


def output_of_task(outputs: Outputs, spec: Spec, where: TaskOf, name: str) -> Output:
    """``name`` (``stdout.txt``, ``stderr.txt`` ...) of a task."""
    job, task = where.job, where.seen.facts.id
    folders = [where.seen.kept] if where.seen.kept else kept_folders(spec, task)

    async def ended() -> bool:
        seen = await outputs.task(job, task)
        return seen is None or seen.facts.state == "completed"

    return Output(
        lambda start, most: outputs.task_file(job, task, name, start, most),
        lambda start, most: _kept(outputs, folders, name, start, most),
        ended,
    )


def output_kept(outputs: Outputs, spec: Spec, task: str, name: str) -> Output:
    """``name`` of a task whose job is not there any more."""

    async def nothing(_start: int, _most: int) -> Part | None:
        return None

    async def ended() -> bool:
        return True

    folders = kept_folders(spec, task)
    return Output(nothing, lambda start, most: _kept(outputs, folders, name, start, most), ended)


def output_of_start_task(outputs: Outputs, pool: str, node: str, name: str) -> Output:
    """``name`` of the start task of a node."""

    async def nothing(_start: int, _most: int) -> Part | None:
        return None

    async def ended() -> bool:
        async for seen in outputs.nodes(pool):
            if seen.id == node:
                return seen.state not in _COMING
        return True

    return Output(
        lambda start, most: outputs.node_file(pool, node, f"startup/{name}", start, most),
        nothing,
        ended,
    )


def kept_folders(spec: Spec, task: str) -> Sequence[tuple[str, str]]:
    """Where the logs of a task may be kept, as the spec says: container and folder."""
    folder = LOGS_PATH.replace("{{ task.id }}", task).rstrip("/")
    containers = [spec.container_id(stage.logs) for stage in spec.stages if stage.logs]
    return [(container, folder) for container in dict.fromkeys(containers)]


async def _kept(
    outputs: Outputs, folders: Sequence[tuple[str, str]], name: str, start: int, most: int
) -> Part | None:
    for container, folder in folders:
        part = await outputs.blob_part(container, f"{folder}/{name}".lstrip("/"), start, most)
        if part is not None:
            return part
    return None


async def find_task(jobs: Sequence[JobFacts], outputs: Outputs, wanted: str) -> TaskOf | None:
    """The task of that id, or the only one whose id has ``wanted`` in it, newest job first.

    ``None`` if there is no job to look in.

    Raises:
        UsageError: there is none, or there are several.
    """
    if not jobs:
        return None
    if _ID.fullmatch(wanted):
        for job in reversed(jobs):
            if (seen := await outputs.task(job.id, wanted)) is not None:
                return TaskOf(job.id, seen)
    hits: dict[str, str] = {}
    near: list[str] = []
    async for job_id, task in _newest(jobs, outputs):
        if wanted.lower() in task.id.lower():
            hits[task.id] = job_id
        elif len(near) < 10 * _SHOWN:
            near.append(task.id)
    if len(hits) == 1:
        ((name, job_id),) = hits.items()
        if (seen := await outputs.task(job_id, name)) is not None:
            return TaskOf(job_id, seen)
    raise UsageError(_several(wanted, list(hits)) if hits else _none(wanted, near))


async def started(
    jobs: Sequence[JobFacts], outputs: Outputs
) -> AsyncIterator[tuple[str, TaskFacts]]:
    """The tasks that have been started, each with its job; of an id in several the newest."""
    async for job_id, task in _newest(jobs, outputs):
        if task.state not in _UNSTARTED:
            yield job_id, task


async def _newest(
    jobs: Sequence[JobFacts], outputs: Outputs
) -> AsyncIterator[tuple[str, TaskFacts]]:
    """Every task of the jobs, newest job first; an id that was there is not told again.

    Of the oldest job, which is the largest, no id is kept.
    """
    told: set[str] = set()
    for number, job in enumerate(reversed(jobs), start=1):
        async for task in outputs.tasks(job.id):
            if task.id.lower() not in told:
                if number < len(jobs):
                    told.add(task.id.lower())
                yield job.id, task


def pool_of(spec: Spec, jobs: Sequence[JobFacts]) -> str | None:
    """The pool of a run: the one the spec names, or the one that the service made for a job."""
    if spec.pool.kind is not PoolKind.JOB:
        return spec.pool.id
    for job in reversed(jobs):
        execution = job.properties.get("executionInfo")
        pool = execution.get("poolId") if isinstance(execution, Record) else None
        if isinstance(pool, str):
            return pool
    return None


async def find_node(outputs: Outputs, pool: str, wanted: str) -> NodeSeen:
    """The node of that id, or the only one whose id has ``wanted`` in it.

    Raises:
        UsageError: there is none, or there are several.
    """
    nodes = [node async for node in outputs.nodes(pool)]
    hits = [node for node in nodes if wanted.lower() in node.id.lower()]
    exact = [node for node in hits if node.id.lower() == wanted.lower()]
    if len(exact or hits) == 1:
        return (exact or hits)[0]
    found = hits or nodes
    listed = _listed([f"{node.id} ({node.state})" for node in found])
    if hits:
        summary = f"{len(hits)} nodes of the pool {pool!r} have {wanted!r} in their ids"
    else:
        summary = f"the pool {pool!r} has no node {wanted!r}"
    raise UsageError(
        Problem(
            "no-such-node",
            summary,
            detail=listed or "It has no nodes now.",
            hint="Name one of these." if found else "Without its node the output is gone.",
        )
    )


def _several(wanted: str, names: list[str]) -> Problem:
    return Problem(
        "several-tasks",
        f"{len(names)} tasks have {wanted!r} in their ids",
        detail=_listed(names),
        hint="Name one of them.",
    )


def _none(wanted: str, names: list[str]) -> Problem:
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    return Problem(
        "no-such-task",
        f"no task of the run has {wanted!r} in its id",
        hint=f"Did you mean {close[0]!r}?" if close else "`batchspec logs` lists them.",
    )


def _listed(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return "\n".join([*names[:_SHOWN], *([f"... and {more} more"] if more > 0 else [])])
