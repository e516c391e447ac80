"""The output of many tasks at once: all of it, once, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

from batchspec.account import Account, FilePart, TaskDetails, TaskSince
from batchspec.observe import StartedTasks, TaskOutput, TaskStreams, patterns_with_tasks
from batchspec.plan.observed import TaskFacts
from batchspec.render.logs import PrefixedOutput

NOW = datetime(2026, 1, 2, tzinfo=UTC)


class Tasks:
    """Tasks of a job; each poll starts one more, which writes a line and ends at the next poll."""

    def __init__(self, account: RunningAccount) -> None:
        self.account = account

    def _at(self, number: int) -> datetime:
        return NOW + timedelta(seconds=10 * number)

    async def list_running(self, job: str) -> AsyncIterator[TaskSince]:
        for number in range(self.account.ended, self.account.started):
            yield TaskSince(TaskFacts(f"t{number}", "running"), self._at(number))

    async def list_ended(
        self, job: str, *, since: datetime | None, failed: bool
    ) -> AsyncIterator[TaskSince]:
        for number in range(self.account.ended):
            if since is None or self._at(number) >= since:
                self.account.listed += 1
                yield TaskSince(TaskFacts(f"t{number}", "completed", True), self._at(number))

    async def get(self, job: str, task: str) -> TaskDetails:
        state = "completed" if int(task[1:]) < self.account.ended else "running"
        return TaskDetails(TaskFacts(task, state))

    async def get_file(self, job: str, task: str, path: str, start: int, size: int) -> FilePart:
        self.account.reading += 1
        self.account.most = max(self.account.most, self.account.reading)
        await asyncio.sleep(0)
        self.account.reading -= 1
        data = f"{path} of {task}\n".encode()
        return FilePart(data[start : start + size], len(data))


class RunningAccount:
    def __init__(self, tasks: int) -> None:
        self.total, self.started, self.ended = tasks, 0, 0
        self.listed = self.reading = self.most = 0
        self.tasks = Tasks(self)
        self.jobs = SimpleNamespace(get=self._job)

    async def _job(self, job: str) -> Any:
        return SimpleNamespace(state="completed" if self.ended == self.total else "active")

    def now(self) -> datetime:
        return NOW

    async def pause(self) -> None:
        self.ended = min(self.started, self.total)
        self.started = min(self.started + 5, self.total)
        await asyncio.sleep(0)


SPEC: Any = SimpleNamespace(stages=())


async def outputs(account: RunningAccount, *patterns: str) -> list[TaskOutput]:
    client = cast(Account, account)
    started = StartedTasks(client, "j", account.pause, patterns or ("*",), earlier=True)
    streams = TaskStreams(client, SPEC, ("stdout.txt", "stderr.txt"), account.pause)
    return [output async for output in streams.read(started())]


async def test_every_task_is_read_once() -> None:
    account = RunningAccount(200)
    found = await outputs(account)
    data = sorted((each.task, each.name, each.data.decode()) for each in found if each.data)
    files = ("stderr.txt", "stdout.txt")
    assert data == sorted((f"t{n}", f, f"{f} of t{n}\n") for n in range(200) for f in files)
    assert sum(not each.data for each in found) == 400, "each file ends"
    assert account.most <= 32
    assert account.listed < 4 * 200, "lists do not start at the beginning"


async def test_only_tasks_that_match_are_read() -> None:
    found = await outputs(RunningAccount(30), "T2*", "t?")
    assert {each.task for each in found} == {f"t{n}" for n in (*range(10), *range(20, 30))}


async def test_patterns_of_tasks_that_wait() -> None:
    listed = []

    class Listed:
        async def list(self, job: str, *, missing_ok: bool) -> AsyncIterator[TaskFacts]:
            assert missing_ok
            for task in ("Map-1", "map-2"):
                listed.append(f"{job} {task}")
                yield TaskFacts(task, "active")

    account = cast(Account, SimpleNamespace(tasks=Listed()))
    patterns = ("map-*", "*-2", "zzz-*")
    assert await patterns_with_tasks(account, ("a", "b"), patterns) == ["map-*", "*-2"]
    listed.clear()
    assert await patterns_with_tasks(account, ("a", "b"), ("map-?",)) == ["map-?"]
    assert listed == ["a Map-1"], "nothing is read after the last pattern is found"


async def test_a_reader_that_stops_leaves_no_task_behind() -> None:
    account = RunningAccount(200)
    client = cast(Account, account)
    streams = TaskStreams(client, SPEC, ("stdout.txt",), account.pause)
    started = StartedTasks(client, "j", account.pause, earlier=True)
    reading = streams.read(started())
    await anext(reading)
    before = len(asyncio.all_tasks())
    await asyncio.wait_for(reading.aclose(), timeout=10)
    assert len(asyncio.all_tasks()) < before


def test_lines_of_tasks_never_mix() -> None:
    lines = PrefixedOutput(shown=False, color=False)
    text = b"".join(
        lines(TaskOutput(task, "stdout.txt", data))
        for task, data in [
            ("a", b"one\ntw"),
            ("bcd", b"other\n\nlast"),
            ("a", b"o\n"),
            ("a", b""),
            ("bcd", b""),
        ]
    )
    assert text.decode().splitlines() == [
        "a | one",
        "bcd | other",
        "bcd | ",
        "a   | two",
        "bcd | last",
    ]


def test_each_task_has_a_colour() -> None:
    lines = PrefixedOutput(shown=True, color=True)
    one = lines(TaskOutput("a", "stdout.txt", b"\x1b[2Jone\n"))
    other = lines(TaskOutput("b", "stdout.txt", b"one\n"))
    assert one == b"\x1b[36ma | \x1b[0mone\n"
    assert other == b"\x1b[33mb | \x1b[0mone\n"
