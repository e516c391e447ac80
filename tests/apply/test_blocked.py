"""Tasks that wait for failed ones never start, and the service does not say so: the run ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.apply.blocked import all_blocked
from batchspec.apply.events import Noticed
from batchspec.apply.ports import TaskWaiting
from batchspec.apply.watch import BLOCKED
from batchspec.problems import Exit
from tests.apply.fake import FakeAccount
from tests.apply.test_run import events_of, tutorial

MERGE = TaskWaiting("merge", ("count-1", "count-2"))


def account(*waiting: TaskWaiting, failing: tuple[str, ...] = ("count-2",)) -> FakeAccount:
    ids = [f"count-{number}" for number in range(250)] + ["7", "08"]
    return FakeAccount(tasks={"j": ids}, failing=set(failing), waiting=waiting)


async def test_the_run_ends_and_so_does_the_job(tmp_path: Path) -> None:
    world = account(MERGE)
    world.tasks = {}
    events, code = await events_of(tutorial(tmp_path), world, tmp_path)
    assert code is Exit.TASKS_FAILED
    assert world.terminated == {"j": BLOCKED}
    assert world.clock.elapsed < timedelta(minutes=1) / timedelta(seconds=1)
    (told,) = [e.problem for e in events if isinstance(e, Noticed)]
    assert told.code == "tasks-blocked"
    assert "the task that is left waits for tasks that failed" in told.summary


async def test_a_task_that_can_start_keeps_the_run_going(tmp_path: Path) -> None:
    world = account(MERGE, TaskWaiting("other"))
    world.tasks = {}
    _, code = await events_of(tutorial(tmp_path), world, tmp_path)
    assert code is Exit.TIME_LIMIT
    assert world.terminated == {"j": "TimeLimit"}
    assert world.calls.count("runs_any j") == 0


BLOCKED_ONES = {
    "by one of several": (MERGE,),
    "by a blocked one, told of later": (TaskWaiting("report", ("merge",)), MERGE),
    "ids are the same in either case": (TaskWaiting("merge", ("COUNT-2",)),),
    "by one in a range": (TaskWaiting("merge", (), ((5, 8),)),),
}
FREE_ONES = {
    "nothing waits": (),
    "one waits for nothing": (MERGE, TaskWaiting("other")),
    "one waits for a task that is done": (MERGE, TaskWaiting("other", ("count-1",))),
    "one waits for a task that is to come": (MERGE, TaskWaiting("other", ("later",))),
    "a chain that is free": (MERGE, TaskWaiting("a", ("b",)), TaskWaiting("b", ("count-1",))),
    "a range without the failed one": (TaskWaiting("merge", (), ((9, 12),)),),
}


@pytest.mark.parametrize("waiting", BLOCKED_ONES.values(), ids=BLOCKED_ONES)
async def test_blocked(waiting: tuple[TaskWaiting, ...]) -> None:
    assert await all_blocked(account(*waiting, failing=("count-2", "08")), "j")


@pytest.mark.parametrize("waiting", FREE_ONES.values(), ids=FREE_ONES)
async def test_free(waiting: tuple[TaskWaiting, ...]) -> None:
    assert not await all_blocked(account(*waiting, failing=("count-2", "08")), "j")


async def test_without_a_failure_nothing_is_blocked() -> None:
    assert not await all_blocked(account(MERGE, failing=()), "j")


async def test_what_has_started_since_the_lists_were_read_is_not_ended() -> None:
    assert not await all_blocked(replace(account(MERGE), started_late=True), "j")
