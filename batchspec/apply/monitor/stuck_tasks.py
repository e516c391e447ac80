"""Finds out whether no waiting task of a job can ever start, and why.

The service starts a task when everything that it depends on has succeeded, or failed in a way that
satisfies the dependency. It does not report a task that cannot start any more: the task stays
``active`` until the job's limit, and its nodes are idle and billed until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from batchspec.apply.monitor.health import StuckTasks
from batchspec.apply.ports import Batch, TaskWaiting


async def find_stuck_tasks(batch: Batch, job: str, slots: int | None) -> StuckTasks | None:
    """Why no waiting task of the job can ever start; ``None`` if one can, or if a task runs.

    ``slots`` is how many a node has, if that is known. Only ids are kept in memory. Running tasks
    are listed last, because a task may have started since the other lists were read.
    """
    waiting: set[str] = set()
    needed: set[str] = set()
    async for task in batch.waiting_tasks(job):
        if not (task.needs or task.ranges or _too_large(task, slots)):
            return None
        waiting.add(task.id.lower())
        needed.update(name.lower() for name in task.needs)
    if not waiting:
        return None
    failed = {task.lower() async for task in batch.blocking_tasks(job)}
    missing = await _without(needed - waiting - failed, batch, job)
    found = _Search(slots, waiting, failed, missing)
    while True:
        before = len(found.blocked)
        found.free = ""
        async for task in batch.waiting_tasks(job):
            found.add(task)
            if found.ready:
                return None
        if len(found.blocked) == before:
            break
    if await batch.runs_any(job):
        return None
    return found.stuck()


async def _without(names: set[str], batch: Batch, job: str) -> set[str]:
    """Those of the names that no task of the job has."""
    if not names:
        return names
    left = set(names)
    async for name in batch.task_ids(job):
        left.discard(name.lower())
        if not left:
            break
    return left


def _too_large(task: TaskWaiting, slots: int | None) -> bool:
    return slots is not None and task.slots > slots


@dataclass(slots=True)
class _Search:
    """The result of passes over the waiting tasks, repeated until one finds nothing new.

    ``free`` is a task that waits for others which wait themselves; ``ready``: one waits for nothing
    that has not ended.
    """

    slots: int | None
    waiting: set[str]
    failed: set[str]
    missing: set[str]
    blocked: set[str] = field(default_factory=set)
    by_failed: tuple[str, str] | None = None
    by_missing: tuple[str, str] | None = None
    too_large: tuple[str, int] | None = None
    free: str = ""
    ready: bool = False

    def add(self, task: TaskWaiting) -> None:
        """Add a waiting task."""
        name = task.id.lower()
        if name in self.blocked:
            return
        if _too_large(task, self.slots):
            self.too_large = self.too_large or (task.id, task.slots)
        elif by := _first_of(task, self.failed):
            self.by_failed = self.by_failed or (task.id, by)
        elif by := _first_of(task, self.missing):
            self.by_missing = self.by_missing or (task.id, by)
        elif not _first_of(task, self.blocked):
            self.free = self.free or task.id
            self.ready = self.ready or not _first_of(task, self.waiting)
            return
        self.blocked.add(name)

    def stuck(self) -> StuckTasks:
        """The result after the last pass."""
        return StuckTasks(
            len(self.waiting),
            self.by_failed,
            self.by_missing,
            self.too_large,
            self.slots or 1,
            self.free,
        )


def _first_of(task: TaskWaiting, ids: set[str]) -> str:
    """The first of the ids that the task waits for; empty if there is none."""
    named = next((name for name in task.needs if name.lower() in ids), "")
    return named or _first_in(task.ranges, ids)


def _first_in(ranges: Iterable[tuple[int, int]], ids: set[str]) -> str:
    # A range applies to ids that are numbers, with or without leading zeros.
    inside: Callable[[int], bool] = lambda number: any(a <= number <= b for a, b in ranges)  # noqa: E731
    if not ranges:
        return ""
    return next((name for name in ids if name.isdecimal() and inside(int(name))), "")
