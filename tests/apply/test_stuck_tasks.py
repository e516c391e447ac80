"""Tasks that can never start: the service does not report them, and the run ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.account import TaskWaiting
from batchspec.apply.events import Noticed, Waiting
from batchspec.apply.monitor.health import StuckTasks, find_stuck_tasks
from batchspec.exit_codes import Exit
from batchspec.plan.failures import BLOCKED
from tests.apply.fake import FakeAccount
from tests.apply.test_executor import events_of, tutorial

MERGE = TaskWaiting("merge", ("count-1", "count-2"))


def account(*waiting: TaskWaiting, failing: tuple[str, ...] = ("count-2",)) -> FakeAccount:
    ids = [f"count-{number}" for number in range(250)] + ["7", "08"]
    return FakeAccount(task_ids={"j": ids}, failing=set(failing), waiting=waiting)


async def test_the_run_ends_and_so_does_the_job(tmp_path: Path) -> None:
    runtime = account(MERGE)
    runtime.task_ids = {}
    events, code = await events_of(tutorial(tmp_path), runtime, tmp_path)
    assert code is Exit.TASKS_FAILED
    assert runtime.terminated == {"j": BLOCKED}
    assert runtime.clock.elapsed < timedelta(minutes=1) / timedelta(seconds=1)
    (reported,) = [e.problem for e in events if isinstance(e, Noticed)]
    assert reported.code == "dependency-failed"
    assert reported.summary == "the task 'merge' waits for task 'count-2', which has failed"
    (wait,) = [e for e in events if isinstance(e, Waiting)]
    assert (wait.code, wait.summary, wait.ends) == (reported.code, reported.summary, True)


async def test_a_task_that_can_start_does_not_end_the_run(tmp_path: Path) -> None:
    runtime = account(MERGE, TaskWaiting("other"))
    runtime.task_ids = {}
    _, code = await events_of(tutorial(tmp_path), runtime, tmp_path)
    assert code is Exit.TIME_LIMIT
    assert runtime.terminated == {"j": "TimeLimit"}
    assert runtime.calls.count("tasks.any_running j") == 0


BLOCKED_ONES = {
    "by one of several": (MERGE,),
    "by a blocked one, listed later": (TaskWaiting("report", ("merge",)), MERGE),
    "ids are the same in either case": (TaskWaiting("merge", ("COUNT-2",)),),
    "by one in a range": (TaskWaiting("merge", (), ((5, 8),)),),
}
FREE_ONES = {
    "nothing waits": (),
    "one waits for nothing": (MERGE, TaskWaiting("other")),
    "one waits for a task that is done": (MERGE, TaskWaiting("other", ("count-1",))),
    "a chain that is free": (MERGE, TaskWaiting("a", ("b",)), TaskWaiting("b", ("count-1",))),
    "a range without the failed one": (TaskWaiting("merge", (), ((7, 7),)),),
}


@pytest.mark.parametrize("waiting", BLOCKED_ONES.values(), ids=BLOCKED_ONES)
async def test_blocked(waiting: tuple[TaskWaiting, ...]) -> None:
    stuck = await find_stuck_tasks(account(*waiting, failing=("count-2", "08")), "j", 1)
    assert stuck is not None and stuck.failed is not None
    assert stuck.tasks == len(waiting)


@pytest.mark.parametrize("waiting", FREE_ONES.values(), ids=FREE_ONES)
async def test_free(waiting: tuple[TaskWaiting, ...]) -> None:
    assert await find_stuck_tasks(account(*waiting, failing=("count-2", "08")), "j", 1) is None


async def test_without_a_failure_nothing_is_blocked() -> None:
    assert await find_stuck_tasks(account(MERGE, failing=()), "j", 1) is None


async def test_a_task_that_has_started_since_the_lists_were_read() -> None:
    assert await find_stuck_tasks(replace(account(MERGE), started_late=True), "j", 1) is None


OTHERS = {
    "an id that does not exist": (
        (TaskWaiting("merge", ("nothing",)),),
        StuckTasks(1, missing=("merge", "nothing"), slots=4),
    ),
    "a range of which nothing exists": (
        (TaskWaiting("merge", (), ((9, 12),)),),
        StuckTasks(1, missing=("merge", "9"), slots=4),
    ),
    "one of a range": (
        (TaskWaiting("merge", (), ((7, 8), (7, 9))),),
        StuckTasks(1, missing=("merge", "9"), slots=4),
    ),
    "more slots than a node has": (
        (TaskWaiting("wide", slots=5), TaskWaiting("after", ("wide",))),
        StuckTasks(2, too_large=("wide", 5), slots=4),
    ),
    "each other": (
        (TaskWaiting("a", ("b",)), TaskWaiting("b", ("a",))),
        StuckTasks(2, slots=4, circle="a"),
    ),
    "several at once": (
        (TaskWaiting("x", ("nothing",)), MERGE, TaskWaiting("wide", slots=9)),
        StuckTasks(3, ("merge", "count-2"), ("x", "nothing"), ("wide", 9), 4),
    ),
}


@pytest.mark.parametrize(("waiting", "stuck"), OTHERS.values(), ids=OTHERS)
async def test_other_reasons(waiting: tuple[TaskWaiting, ...], stuck: StuckTasks) -> None:
    assert await find_stuck_tasks(account(*waiting), "j", 4) == stuck


async def test_ranges_of_any_size_need_one_list_of_ids() -> None:
    waiting = tuple(TaskWaiting(f"m{n}", (), ((n, 10**9),)) for n in range(50))
    runtime = account(*waiting)
    stuck = await find_stuck_tasks(runtime, "j", 4)
    assert stuck is not None and stuck.missing == ("m0", "0")
    assert runtime.calls.count("tasks.list_ids j") == 1
