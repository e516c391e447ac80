"""Reads the output of many tasks at the same time, as it grows.

A bounded number of tasks is read at the same time; the others follow in the order in which they
started. A file is read to its end even if its task has ended before its turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from batchspec.account import Account, TaskDetails
from batchspec.frozen import frozen
from batchspec.observe.task_output import TaskInJob, output_of_task
from batchspec.spec import Spec

_READERS = 32
"""How many files are read at the same time."""
_OVERLAP = timedelta(seconds=5)
"""How far a list of ended tasks overlaps the last one."""

Pause = Callable[[], Awaitable[None]]
"""Waits until the next poll."""


def matches(task: str, pattern: str) -> bool:
    """Whether a pattern with ``*`` and ``?`` matches the id of a task; case does not count."""
    return fnmatchcase(task.lower(), pattern.lower())


async def patterns_with_tasks(
    account: Account, jobs: Iterable[str], patterns: Iterable[str]
) -> Sequence[str]:
    """The patterns that match a task of the jobs, whether it has started or not."""
    found: list[str] = []
    rest = list(patterns)
    for job in jobs:
        async for task in account.tasks.list(job, missing_ok=True):
            found += [pattern for pattern in rest if matches(task.id, pattern)]
            rest = [pattern for pattern in rest if pattern not in found]
            if not rest:
                return found
    return found


@frozen
class TaskOutput:
    """Bytes that a task has written to one of its files; empty when the file is complete."""

    task: str
    name: str
    data: bytes


@frozen
class StartedTasks:
    """The tasks of a job whose ids match one of ``patterns`` (``map-*``), as they start.

    Tasks that had ended before are included only with ``earlier``. With ``follow``, tasks that
    start later are included until the job has ended.
    """

    account: Account
    job: str
    pause: Pause
    patterns: Sequence[str] = ("*",)
    earlier: bool = False
    follow: bool = True

    async def __call__(self) -> AsyncIterator[TaskInJob]:
        """Yield each task once."""
        seen: set[str] = set()
        since = None if self.earlier else self.account.now()
        while True:
            job = await self.account.jobs.get(self.job)
            if job is None:
                return
            newest: datetime | None = None
            for tasks in (
                self.account.tasks.list_running(self.job),
                self.account.tasks.list_ended(self.job, since=since, failed=False),
            ):
                async for task in tasks:
                    if task.facts.state == "completed":
                        newest = max(newest or task.since, task.since)
                    elif task.facts.state != "running":
                        continue
                    name = task.facts.id
                    if name not in seen and any(matches(name, each) for each in self.patterns):
                        seen.add(name)
                        yield TaskInJob(self.job, TaskDetails(task.facts))
            if job.state == "completed" or not self.follow:
                return
            if newest is not None:
                since = newest - _OVERLAP
            await self.pause()


@dataclass(slots=True)
class TaskStreams:
    """Reads files of tasks (``names``) as they grow; with ``follow``, until they are complete."""

    account: Account
    spec: Spec
    names: tuple[str, ...]
    pause: Pause
    follow: bool = True
    _queue: asyncio.Queue[TaskOutput | None] = field(default_factory=lambda: asyncio.Queue(64))
    _readers: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_READERS))

    async def read(self, tasks: AsyncIterator[TaskInJob]) -> AsyncIterator[TaskOutput]:
        """The output of the tasks, until all of them have ended.

        Raises:
            ExceptionGroup: with the ``ServiceError`` of a request that was refused.
        """
        reading = asyncio.create_task(self._read_all(tasks))
        try:
            while (output := await self._queue.get()) is not None:
                yield output
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read_all(self, tasks: AsyncIterator[TaskInJob]) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                async for task in tasks:
                    for name in self.names:
                        await self._readers.acquire()
                        group.create_task(self._read(task, name))
        except Exception:
            await self._queue.put(None)
            raise
        await self._queue.put(None)

    async def _read(self, where: TaskInJob, name: str) -> None:
        task = where.seen.facts.id
        output = output_of_task(self.account, self.spec, where, name)
        try:
            chunks = output.follow(self.pause) if self.follow else output.read()
            async for data in chunks:
                await self._queue.put(TaskOutput(task, name, data))
            await self._queue.put(TaskOutput(task, name, b""))
        finally:
            self._readers.release()
