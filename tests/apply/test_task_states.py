"""Stages, running times and causes of failures during the wait for a job."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from batchspec.account import TaskCounts, TaskSince
from batchspec.apply.events import (
    Event,
    FailedTasks,
    FailuresSeen,
    LongestSeen,
    Noticed,
    RunningTask,
    StagesSeen,
)
from batchspec.apply.monitor import Health, TaskStates, Watched
from batchspec.plan.actions import WaitForTasks
from batchspec.plan.observed import JobFacts, Marks, TaskFacts
from batchspec.plan.stage_tasks import StageTotals
from batchspec.spec import Record
from tests.apply.fake import START, FakeAccount, refused

JOB = JobFacts("j", "active", START, Record(id="j"), {})
ONE = WaitForTasks("j", "p", 9, timedelta(hours=1))
TWO = WaitForTasks(
    "j", "p", 9, timedelta(hours=1), stages=(StageTotals("map", 8, kept=1), StageTotals("merge", 1))
)


def at(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def ran(name: str, seconds: float, *, code: int = 0, stage: str = "map") -> TaskSince:
    """A task that was completed ``seconds`` after the start."""
    facts = TaskFacts(
        name,
        "completed",
        code == 0,
        code,
        "FailureExitCode" if code else None,
        marks=Marks("i", "", "w", stage),
    )
    return TaskSince(facts, START + at(seconds))


def runs(name: str, seconds: float, stage: str = "map") -> TaskSince:
    """A task that started ``seconds`` after the start of the run and still runs."""
    facts = TaskFacts(name, "running", node=f"node-{name}", marks=Marks("i", "", "w", stage))
    return TaskSince(facts, START + at(seconds))


class Reader:
    """Reads states from an account in memory; each read is after a minute."""

    def __init__(self, action: WaitForTasks, account: FakeAccount | None = None) -> None:
        self.account = account or FakeAccount()
        self.clock = self.account.clock
        self.events: list[Event] = []
        self.states = TaskStates(action, self.account.runtime(), self.events.append)

    async def read(self, counts: TaskCounts, *, after: float = 60) -> list[Event]:
        self.clock.elapsed += after
        now = self.clock.now()
        health = Health(now, now, Watched("p", "j"), JOB, counts=counts)
        before = len(self.events)
        await self.states.read(health)
        return self.events[before:]


async def test_stages_are_counted_from_the_tasks_that_ended_since_the_last_list() -> None:
    reader = Reader(TWO)
    reader.account.ended_tasks = (ran("a", 1), ran("b", 2, code=1))
    reader.account.running_tasks = (runs("c", 3),)
    (first, *_) = await reader.read(TaskCounts(5, 1, 1, 1))
    assert first == StagesSeen(
        "j",
        {
            "map": {"total": 8, "active": 4, "running": 1, "succeeded": 2, "failed": 1},
            "merge": {"total": 1, "active": 1, "running": 0, "succeeded": 0, "failed": 0},
        },
        final=False,
    )
    # `b` is listed again, because lists overlap.
    reader.account.ended_tasks = (ran("a", 1), ran("b", 2, code=1), ran("c", 100))
    (second, *_) = await reader.read(TaskCounts(5, 0, 2, 1))
    assert isinstance(second, StagesSeen)
    assert second.stages["map"]["succeeded"] == 3
    assert second.stages["map"]["failed"] == 1


async def test_no_task_is_counted_twice_at_any_times_of_lists() -> None:
    reader = Reader(TWO)
    for number in range(1, 400):
        reader.account.ended_tasks = tuple(ran(f"t{n}", n * 0.37) for n in range(number))
        if number % 7 == 0:
            await reader.read(TaskCounts(0, 1, number, 0))
            seen = [event for event in reader.events if isinstance(event, StagesSeen)][-1]
            assert seen.stages["map"]["succeeded"] == number + 1, "one is of an earlier job"


async def test_each_task_is_listed_about_once() -> None:
    listed: list[int] = []

    class Account(FakeAccount):
        class Tasks(FakeAccount.Tasks):
            async def list_ended(self, job_id: str, **given: object) -> AsyncIterator[TaskSince]:
                found = [task async for task in super().list_ended(job_id, **given)]  # type: ignore[arg-type]
                listed.append(len(found))
                for task in found:
                    yield task

    reader = Reader(TWO, Account())
    for batch in range(1, 101):
        reader.account.ended_tasks = tuple(ran(f"t{n}", n) for n in range(batch * 100))
        await reader.read(TaskCounts(0, 1, batch * 100, 0))
    assert sum(listed) < 1.1 * 10_000


async def test_failures_are_counted_by_cause() -> None:
    reader = Reader(ONE)
    reader.account.ended_tasks = tuple(
        ran(f"t{n}", n, code=7 if n % 3 else 0 if n % 2 else 9) for n in range(12)
    )
    *_, seen = await reader.read(TaskCounts(0, 0, 2, 10))
    assert seen == FailuresSeen(
        "j", (FailedTasks("exit-7", 8, "t1"), FailedTasks("exit-9", 2, "t0"))
    )


async def test_the_longest_running_tasks() -> None:
    reader = Reader(ONE)
    reader.account.running_tasks = tuple(runs(name, n) for n, name in enumerate("dcba"))
    assert await reader.read(TaskCounts(0, 4, 0, 0)) == [
        LongestSeen(
            "j",
            tuple(RunningTask(name, f"node-{name}", 60 - n) for n, name in enumerate("dcb")),
        )
    ]
    # Other tasks have ended: the same three have run longest.
    reader.account.running_tasks = reader.account.running_tasks[:3]
    assert await reader.read(TaskCounts(0, 3, 1, 0)) == []


async def test_lists_are_read_only_when_counts_change_and_not_at_every_poll() -> None:
    reader = Reader(ONE)
    for number in range(10):
        await reader.read(TaskCounts(0, 9 - number, number, 0), after=2)
    assert reader.account.calls.count("tasks.list_running j") == 4, "every five polls"
    before = len(reader.account.calls)
    for _ in range(10):
        await reader.read(TaskCounts(1, 0, 8, 0))
    assert len(reader.account.calls) == before + 1


async def test_a_reactivated_task_is_not_counted_twice() -> None:
    reader = Reader(ONE)
    reader.account.ended_tasks = (ran("a", 1, code=1), ran("b", 1, code=1))
    await reader.read(TaskCounts(9, 0, 0, 2))
    reader.account.ended_tasks = (ran("b", 1, code=1),)
    for waiting in range(8, 4, -1):
        await reader.read(TaskCounts(waiting, 1, 0, 1))
    reader.account.ended_tasks = (ran("a", 900, code=2), ran("b", 1, code=1))
    await reader.read(TaskCounts(0, 0, 0, 2))
    seen = [event for event in reader.events if isinstance(event, FailuresSeen)][-1]
    assert {each.cause: each.count for each in seen.causes} == {"exit-1": 1, "exit-2": 1}


async def test_lagging_counts_remove_no_listed_task() -> None:
    reader = Reader(TWO)
    done = 0
    for number in range(1, 9):
        reader.account.ended_tasks = tuple(ran(f"t{n}", n) for n in range(number))
        await reader.read(TaskCounts(8 - number, 1, number - number % 2, 0))
        seen = [event for event in reader.events if isinstance(event, StagesSeen)][-1]
        assert seen.stages["map"]["succeeded"] > done
        done = seen.stages["map"]["succeeded"]


async def test_a_refused_list_is_reported_once() -> None:
    class Account(FakeAccount):
        class Tasks(FakeAccount.Tasks):
            async def list_running(self, job_id: str) -> AsyncIterator[TaskSince]:
                raise refused()
                yield

    reader = Reader(ONE, Account())
    (noticed,) = await reader.read(TaskCounts(0, 1, 0, 0))
    assert isinstance(noticed, Noticed)
    assert await reader.read(TaskCounts(0, 0, 1, 0)) == []


@pytest.mark.parametrize("causes", [19, 40])
async def test_many_causes_are_counted_together(causes: int) -> None:
    reader = Reader(ONE)
    reader.account.ended_tasks = tuple(ran(f"t{n}", n, code=n + 1) for n in range(causes))
    *_, seen = await reader.read(TaskCounts(0, 0, 0, causes))
    assert isinstance(seen, FailuresSeen)
    assert sum(each.count for each in seen.causes) == causes
    assert len(seen.causes) == min(causes, 21)
