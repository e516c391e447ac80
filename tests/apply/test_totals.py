"""The totals of a run: over all its jobs, and as they are when it ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from batchspec.account import TaskCounts
from batchspec.apply.events import Event, Stamped, TaskFailed, TasksSeen
from batchspec.apply.wait import wait_for_tasks
from batchspec.plan.actions import WaitForTasks
from batchspec.render import Tally
from batchspec.render.report import TaskTally
from batchspec.spec import Record
from tests.apply.fake import START
from tests.apply.test_lagging_counts import Lagging, lagging, monitor

WAIT = WaitForTasks("j", "", 2, timedelta(hours=1))


def last_total(events: list[Event]) -> TasksSeen:
    return [event for event in events if isinstance(event, TasksSeen)][-1]


async def test_tasks_of_earlier_jobs_are_part_of_the_totals() -> None:
    """Of ten tasks five succeeded before, two failed and are left out, one never ran."""
    events: list[Event] = []
    account = lagging(TaskCounts(0, 2, 0, 0))
    action = replace(WAIT, kept=5, left=3, absent=3, failed_before=2)
    await wait_for_tasks(action, monitor(account, events))
    seen = last_total(events)
    assert (seen.total, seen.succeeded, seen.failed) == (10, 7, 2)


async def test_the_last_totals_are_those_that_lists_confirm() -> None:
    class Idle(Lagging):
        class Tasks(Lagging.Tasks):
            async def any_running(self, job_id: str) -> bool:
                return False

    account = Idle(before=TaskCounts(0, 0, 1, 1), late=9)
    account.job_bodies["j"], account.task_ids["j"] = Record(id="j"), ["a", "b"]
    events: list[Event] = []
    await wait_for_tasks(WAIT, monitor(account, events))
    seen = last_total(events)
    assert (seen.total, seen.succeeded, seen.failed) == (2, 2, 0)


def test_a_task_that_another_client_retries_with_success_is_no_failure_of_the_run() -> None:
    tally = Tally()
    for seq, event in enumerate(
        (
            TasksSeen("j", 6, 0, 0, 5, 1, None),
            TaskFailed("j", "a", 1, "FailureExitCode", "", "", None),
            TasksSeen("j", 6, 0, 0, 6, 0, None),
        )
    ):
        tally(Stamped(seq, START, event))
    assert tally.report().tasks == TaskTally(6, 0, 0, 6, 0)
