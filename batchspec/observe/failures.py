"""Groups the failed tasks of a run by cause and last line of output, each with one sample.

Tasks are counted while they are listed. For each cause, only the first tasks are kept, and the ends
of their stderr are read with bounded concurrency. The others count for their cause only.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field, replace

from batchspec.account import Account, NodeFacts, TaskDetails
from batchspec.diagnostics import ServiceError
from batchspec.frozen import frozen
from batchspec.observe.task_output import (
    OutputFile,
    TaskInJob,
    output_of_node,
    output_of_start_task,
    output_of_task,
    stored_failures,
)
from batchspec.plan.failures import (
    AT_LIMIT,
    NODE_CAUSES,
    OUTPUT_FILES,
    PREPARATION_FOLDER,
    PREPARATION_TASK,
    START_TASK,
    START_TASK_UNFINISHED,
    UNUSABLE,
    NodeFailure,
    cause_of,
    distinctive_parts,
    node_logs_container,
    signature,
)
from batchspec.plan.metadata import why_stopped
from batchspec.plan.observed import (
    NODE_UNUSABLE,
    START_TASK_FAILED,
    START_TASK_RUNNING,
    JobFacts,
    TaskFacts,
)
from batchspec.spec import Spec

_TAIL = 2048
"""How many bytes from the end of a file are read and shown."""
_READ = 500
"""For how many failed tasks, of all causes together, stderr is read."""
_NODES_READ = 20
"""For how many nodes the stderr of the start task is read."""
_AT_ONCE = 16
"""How many files are read at the same time."""
_GROUPS = 10
"""How many groups a cause has at most; the other tasks are one more group."""
_NAMED = 10
_CAUSE_OF_STATE = {
    START_TASK_FAILED: START_TASK,
    START_TASK_RUNNING: START_TASK_UNFINISHED,
    NODE_UNUSABLE: UNUSABLE,
}
_USABLE = frozenset({"idle", "running"})
_SAME = frozenset({"timeout", "preempted"})
"""Causes that are complete: the output of such tasks does not explain the failure."""
_OTHER = "other"


@frozen
class Failure:
    """A group of failed tasks (or nodes): their cause, how many, the first of them, a sample.

    ``line`` is the last line that all of them wrote, without the parts that vary; empty if it is
    not known. ``group`` identifies a group of a cause; empty if there is only one. ``message`` is
    the service's message about the sample, ``text`` the last lines of its ``file`` (empty if it
    cannot be read). ``earlier`` is how many are in jobs before the newest: the spec may no longer
    contain them.
    """

    cause: str
    count: int
    named: tuple[str, ...]
    message: str = ""
    file: str = ""
    text: str = ""
    earlier: int = 0
    line: str = ""
    group: str = ""

    @property
    def key(self) -> str:
        """The value for ``retry --cause``: ``exit-1``, or ``exit-1:3f2a9c`` for a group of it."""
        return f"{self.cause}:{self.group}" if self.group else self.cause

    @property
    def sample(self) -> str:
        """The task (or node) of ``message`` and ``text``; empty if none was read."""
        return self.named[0] if self.named else ""

    @property
    def of_nodes(self) -> bool:
        """Whether nodes failed, and not tasks."""
        return self.cause in NODE_CAUSES


@frozen
class _Failed:
    """A failed task: its job, and whether a newer job of the run exists."""

    job: JobFacts
    task: TaskFacts
    earlier: bool
    text: str = ""
    line: str = ""


@dataclass(slots=True)
class _Cause:
    """The failed tasks of a cause: their number, and the first of them."""

    count: int = 0
    earlier: int = 0
    first: list[_Failed] = field(default_factory=list)


async def failures_of(
    spec: Spec, jobs: Sequence[JobFacts], pool: str | None, account: Account
) -> tuple[Failure, ...]:
    """The failures of a run, those of nodes first, then the most frequent; ``jobs`` oldest first.

    ``pool`` is the pool whose nodes are read, or ``None``. For deleted nodes, stored failures are
    read.
    """
    nodes = await _nodes(spec, jobs, pool, account)
    found = [
        failure
        for cause, group in (await _causes(spec, jobs, account)).items()
        for failure in await _failures(spec, cause, group, account)
    ]
    ordered = sorted(found, key=lambda failure: (-failure.count, failure.key))
    return (*nodes, *ordered)


async def tasks_alike(
    spec: Spec, jobs: Sequence[JobFacts], account: Account, keys: Iterable[str]
) -> frozenset[str]:
    """The ids (lower case) of the failed tasks of these groups, given by :attr:`Failure.key`.

    Causes without a group are ignored.
    """
    wanted = {key.lower() for key in keys if ":" in key}
    if not wanted:
        return frozenset()
    ids: set[str] = set()
    others: dict[str, frozenset[str]] = {}
    for cause, found in (await _causes(spec, jobs, account)).items():
        named: set[str] = set()
        for line, members in _named_groups(found):
            here = {failed.task.id.lower() for failed in members}
            named |= here
            if f"{cause}:{_digest(line)}" in wanted:
                ids |= here
        if f"{cause}:{_OTHER}" in wanted:
            others[cause] = frozenset(named)
    if others:
        async for failed in _failed(jobs, account):
            name, cause = failed.task.id.lower(), cause_of(failed.task, failed.job)
            if cause in others and name not in others[cause]:
                ids.add(name)
    return frozenset(ids)


async def _failed(jobs: Sequence[JobFacts], account: Account) -> AsyncIterator[_Failed]:
    """The failed tasks of a run, newest job first, without those that a later job runs again.

    A task in a later job is a retry if it has the same id, or was created for the same item:
    generated ids change with the program, and keys of items do not.
    """
    ids, items = set[str](), set[str]()
    for number, job in enumerate(reversed(jobs), start=1):
        async for task in account.tasks.list_failed(job.id):
            if task.id.lower() not in ids and task.marks.item not in items:
                yield _Failed(job, task, number > 1)
        if number < len(jobs):
            async for task in account.tasks.list(job.id, missing_ok=True):
                ids.add(task.id.lower())
                if task.marks.item:
                    items.add(task.marks.item)


async def _causes(spec: Spec, jobs: Sequence[JobFacts], account: Account) -> dict[str, _Cause]:
    """The failed tasks by cause; the first of each cause, with the last line that they wrote."""
    causes: dict[str, _Cause] = {}
    async for failed in _failed(jobs, account):
        found = causes.setdefault(cause_of(failed.task, failed.job), _Cause())
        found.count += 1
        found.earlier += failed.earlier
        if len(found.first) < _READ:
            found.first.append(failed)
    left = _READ
    # Rare causes first, so that each cause gets its share and the most frequent cause gets the
    # rest.
    for number, cause in enumerate(sorted(causes, key=lambda name: causes[name].count)):
        found = causes[cause]
        if _is_read(cause):
            found.first = found.first[: max(1, left // (len(causes) - number))]
            left -= len(found.first)
            found.first = await _read_all(spec, found.first, account)
        if cause not in _SAME:
            found.first = _with_lines(found.first, read=_is_read(cause))
    return causes


def _with_lines(tasks: Sequence[_Failed], *, read: bool) -> list[_Failed]:
    """The tasks with the last line of their output, or of the service's message."""
    parts = distinctive_parts(one.task.id for one in tasks)
    return [
        replace(
            one,
            line=signature(
                one.text if read else _message(one),
                one.task.id,
                one.task.node or "",
                *parts[one.task.id],
            ),
        )
        for one in tasks
    ]


def _is_read(cause: str) -> bool:
    """Whether stderr of the task explains the failure."""
    return cause.startswith("exit-") or cause == "unknown"


async def _read_all(spec: Spec, tasks: Sequence[_Failed], account: Account) -> list[_Failed]:
    limit = asyncio.Semaphore(_AT_ONCE)

    async def read(one: _Failed) -> _Failed:
        where = TaskInJob(one.job.id, TaskDetails(one.task))
        async with limit:
            try:
                text = await output_of_task(account, spec, where, "stderr.txt").tail(_TAIL)
            except ServiceError:
                # A file that cannot be read must not hide the other failures.
                text = ""
        return replace(one, text=text)

    return list(await asyncio.gather(*map(read, tasks)))


def _message(failed: _Failed) -> str:
    """The message of the service, or of the user who terminated the task or its job."""
    message = failed.task.message or ""
    match cause_of(failed.task, failed.job):
        case "ended":
            return why_stopped(failed.job.metadata, failed.task.id) or message
        case "job-ended":
            return failed.job.terminate_reason or message
    return message


def _named_groups(found: _Cause) -> list[tuple[str, list[_Failed]]]:
    """The groups of a cause to show, the largest first: line and tasks."""
    lines: dict[str, list[_Failed]] = {}
    for failed in found.first:
        lines.setdefault(failed.line, []).append(failed)
    ordered = sorted(lines.items(), key=lambda item: (-len(item[1]), item[0]))
    # An eleventh group is shown if it would otherwise be the only one of the other tasks.
    whole = len(found.first) == found.count and len(ordered) == _GROUPS + 1
    return ordered if whole else ordered[:_GROUPS]


async def _failures(spec: Spec, cause: str, found: _Cause, account: Account) -> list[Failure]:
    """The groups of a cause, each with a sample; unread and rare failures are one group."""
    groups = _named_groups(found)
    if cause in _SAME:
        whole = await _failure(spec, cause, found.first, account)
        return [replace(whole, count=found.count, earlier=found.earlier)]
    named = {id(failed) for _, members in groups for failed in members}
    rest = [failed for failed in found.first if id(failed) not in named]
    left = found.count - len(named)
    failures = [
        replace(
            await _failure(spec, cause, members, account),
            line=line,
            group=_digest(line) if len(groups) > 1 or left else "",
        )
        for line, members in groups
    ]
    if left:
        earlier = found.earlier - sum(failure.earlier for failure in failures)
        other = await _failure(spec, cause, rest, account) if rest else Failure(cause, 0, ())
        failures.append(replace(other, count=left, earlier=earlier, group=_OTHER))
    return failures


def _digest(line: str) -> str:
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()[:6]


async def _failure(spec: Spec, cause: str, members: Sequence[_Failed], account: Account) -> Failure:
    """A group with a sample: its first task and the output of this task."""
    first = members[0]
    file, text = "stderr.txt", first.text
    seen = await account.tasks.get(first.job.id, first.task.id) if not text.strip() else None
    if seen is not None:
        # Uploads have their own file, and some programs report errors on stdout.
        files = ["fileuploaderr.txt"] if cause == "upload" else []
        where = TaskInJob(first.job.id, seen)
        for name in (*files, "stderr.txt", "stdout.txt"):
            found = await output_of_task(account, spec, where, name).tail(_TAIL)
            if found.strip():
                file, text = name, found
                break
    return Failure(
        cause,
        len(members),
        tuple(failed.task.id for failed in members[:_NAMED]),
        _message(first),
        file,
        text if text.strip() else "",
        sum(failed.earlier for failed in members),
    )


async def _nodes(
    spec: Spec, jobs: Sequence[JobFacts], pool: str | None, account: Account
) -> list[Failure]:
    """The groups of nodes that accept no tasks, including deleted ones."""
    seen = (
        [node async for node in account.nodes.list(pool, missing_ok=True)]
        if pool is not None
        else []
    )
    unhealthy = _unhealthy(seen, jobs[-1] if jobs else None)
    alive = {node.id for node in seen}
    groups: dict[tuple[str, str], Failure] = {}
    for number, node in enumerate(unhealthy):
        text = ""
        if pool is not None and number < _NODES_READ:
            name, text = await _first_output(
                output_of_start_task(account, pool, node.id, name) for name in OUTPUT_FILES
            )
            found = _node_failure(node, name, text, pool)
        else:
            found = Failure(_CAUSE_OF_STATE[node.state.lower()], 1, (node.id,), node.message)
        _join(groups, found)
    since = jobs[-1].created if jobs else None
    for stored in await stored_failures(spec, pool, account, since):
        # A node on which a preparation task failed may still exist.
        if stored.node not in alive or stored.folder == PREPARATION_FOLDER:
            _join(groups, await _stored(spec, stored, account))
    found_groups = list(groups.values())
    several = {failure.cause for failure in found_groups if _count(found_groups, failure) > 1}
    return [
        replace(failure, group=_digest(failure.line)) if failure.cause in several else failure
        for failure in sorted(found_groups, key=lambda failure: (-failure.count, failure.line))
    ]


def _unhealthy(nodes: Sequence[NodeFacts], job: JobFacts | None) -> list[NodeFacts]:
    """The nodes that accept no tasks.

    A running start task counts only if the job has reached its limit and no node is usable.
    """
    states = {START_TASK_FAILED, NODE_UNUSABLE}
    usable = any(node.state.lower() in _USABLE for node in nodes)
    if job is not None and job.terminate_reason in AT_LIMIT and not usable:
        states.add(START_TASK_RUNNING)
    found = [node for node in nodes if node.state.lower() in states]
    return [
        replace(node, message="the start task still runs")
        if node.state.lower() == START_TASK_RUNNING
        else node
        for node in found
    ]


def _count(found: Sequence[Failure], like: Failure) -> int:
    return sum(failure.cause == like.cause for failure in found)


def _join(groups: dict[tuple[str, str], Failure], found: Failure) -> None:
    """Add nodes to the group with the same failure."""
    known = groups.get((found.cause, found.line))
    if known is not None:
        named = (*known.named, *found.named)[:_NAMED]
        found = replace(known, count=known.count + found.count, named=named)
    groups[found.cause, found.line] = found


async def _first_output(files: Iterable[OutputFile]) -> tuple[str, str]:
    """The name and the end of the first file that is not empty; if all are empty, of stderr.

    A start task that does not end has often written only to standard output.
    """
    for name, file in zip(OUTPUT_FILES, files, strict=True):
        text = await file.tail(_TAIL)
        if text.strip():
            return name, text
    return OUTPUT_FILES[0], ""


def _node_failure(node: NodeFacts, name: str, text: str, pool: str) -> Failure:
    line = signature((text if name == OUTPUT_FILES[0] else "") or node.message, pool, node.id)
    cause = _CAUSE_OF_STATE[node.state.lower()]
    return Failure(cause, 1, (node.id,), node.message, f"startup/{name}", text, line=line)


async def _stored(spec: Spec, stored: NodeFailure, account: Account) -> Failure:
    container = node_logs_container(spec) or ""
    name, text = await _first_output(
        output_of_node(account, container, stored, name) for name in OUTPUT_FILES
    )
    return Failure(
        PREPARATION_TASK
        if stored.folder == PREPARATION_FOLDER
        else _CAUSE_OF_STATE.get(stored.state.lower(), START_TASK),
        stored.count,
        stored.nodes[:_NAMED],
        stored.message,
        f"{stored.folder}/{name}",
        text,
        line=signature(
            (text if name == OUTPUT_FILES[0] else "") or stored.message, stored.pool, stored.node
        ),
    )
