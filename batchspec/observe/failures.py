"""The failed tasks of a run, grouped by cause, each cause with one sample of what was said.

Counted as they come: of a group no more is held than its first tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from batchspec.observe.output import TaskOf, output_of_start_task, output_of_task
from batchspec.observe.ports import NodeSeen, Outputs
from batchspec.plan.causes import START_TASK, cause_of
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.spec.model import Spec

_TAIL = 2048
"""Bytes of a sample."""
_NAMED = 10
_UNWELL = frozenset({"starttaskfailed", "unusable"})


@dataclass(frozen=True, slots=True)
class Failure:
    """A cause: how many tasks (or nodes) failed by it, the first of them, and what one said.

    ``code`` and ``message`` are the service's words about the sample, ``text`` the last lines of
    ``file`` of it (empty where there are none any more). ``earlier`` is how many are in jobs before
    the newest: the spec may have changed since, so that it asks for them no longer.
    """

    cause: str
    count: int
    named: tuple[str, ...]
    message: str = ""
    file: str = ""
    text: str = ""
    earlier: int = 0

    @property
    def sample(self) -> str:
        """The task (or node) whose words these are."""
        return self.named[0]

    @property
    def of_nodes(self) -> bool:
        """Whether nodes failed, and not tasks."""
        return self.cause == START_TASK


@dataclass(slots=True)
class _Group:
    job: JobFacts
    first: TaskFacts
    count: int = 0
    earlier: int = 0
    named: list[str] = field(default_factory=list)


async def failures_of(
    spec: Spec, jobs: Sequence[JobFacts], pool: str | None, outputs: Outputs
) -> tuple[Failure, ...]:
    """The failures of a run, the most frequent first; ``jobs`` are those that count, oldest first.

    ``pool`` is whose nodes are looked at; ``None`` is none.
    """
    groups: dict[str, _Group] = {}
    later: set[str] = set()
    for number, job in enumerate(reversed(jobs), start=1):
        async for task in outputs.failed_tasks(job.id):
            # What a later job holds was tried again there.
            if task.id.lower() in later:
                continue
            group = groups.setdefault(cause_of(task, job), _Group(job, task))
            group.count += 1
            group.earlier += number > 1
            group.named += [task.id] if len(group.named) < _NAMED else []
        if number < len(jobs):
            later |= {task.id.lower() async for task in outputs.tasks(job.id)}
    found = await asyncio.gather(
        *(_told(spec, cause, group, outputs) for cause, group in groups.items())
    )
    nodes = await _nodes(pool, outputs) if pool is not None else None
    ordered = sorted(found, key=lambda failure: (-failure.count, failure.cause))
    return (*([nodes] if nodes else []), *ordered)


async def _told(spec: Spec, cause: str, group: _Group, outputs: Outputs) -> Failure:
    task = group.first
    # What an upload said is beside what the task said.
    files = ["fileuploaderr.txt", "stderr.txt"] if cause == "upload" else ["stderr.txt"]
    seen = await outputs.task(group.job.id, task.id)
    file = text = ""
    for name in files:
        if seen is None or text:
            break
        file = name
        text = await output_of_task(outputs, spec, TaskOf(group.job.id, seen), name).tail(_TAIL)
    named, message = tuple(group.named), task.message or ""
    return Failure(cause, group.count, named, message, file, text, group.earlier)


async def _nodes(pool: str, outputs: Outputs) -> Failure | None:
    """The nodes that take no tasks, as a group; ``None`` if all are well."""
    unwell: list[NodeSeen] = [
        node async for node in outputs.nodes(pool) if node.state.lower() in _UNWELL
    ]
    if not unwell:
        return None
    first, file = unwell[0], "stderr.txt"
    text = await output_of_start_task(outputs, pool, first.id, file).tail(_TAIL)
    return Failure(
        START_TASK,
        len(unwell),
        tuple(node.id for node in unwell[:_NAMED]),
        first.message,
        f"startup/{file}",
        text,
    )
