"""Verification that every accepted task is in the job before it is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from batchspec.account import TaskAdded
from batchspec.apply.context import SubmittedIds
from batchspec.apply.events import StepDone
from batchspec.diagnostics import Diagnostic, ServiceError
from batchspec.exit_codes import Exit
from batchspec.plan import Task
from batchspec.plan.actions import CloseJob, SubmitTasks, WaitForTasks
from batchspec.spec import Record
from tests.apply.fake import FakeAccount
from tests.apply.test_concurrent_runs import carried_out, problems

HOUR = timedelta(hours=1)


class Forgetful(FakeAccount):
    """Accepts every task, but lists ``Task-7`` only from the list number ``remembers``."""

    remembers: int | None = None

    class Tasks(FakeAccount.Tasks):
        async def create_collection(
            self, job_id: str, tasks: Sequence[Record], sas: timedelta
        ) -> Sequence[TaskAdded]:
            answers = await super().create_collection(job_id, tasks, sas)
            if "Task-7" in self.account.task_ids[job_id]:
                self.account.task_ids[job_id].remove("Task-7")
            return answers

    async def call(self, name: str, what: str = "") -> None:
        await super().call(name, what)
        polls = sum(call.startswith("tasks.list_ids") for call in self.calls)
        if name == "tasks.list_ids" and polls == self.remembers:
            self.task_ids["j"].append("task-7")


def submit(count: int = 250) -> SubmitTasks:
    tasks = tuple(
        Task(f"Task-{n}", "s", n, Record(id=f"Task-{n}", commandLine="true"), ())
        for n in range(count)
    )
    return SubmitTasks("j", "s", tasks, HOUR)


async def test_a_missing_task_keeps_the_job_open(tmp_path: Path) -> None:
    account = Forgetful(job_bodies={"j": Record(id="j")})
    code, events = await carried_out(account, tmp_path / "r", submit(), CloseJob("j"))
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.code == "tasks-missing"
    assert problem.summary.startswith("1 of 250 tasks")
    assert not any(call.startswith("jobs.update") for call in account.calls)


async def test_a_list_may_lag_behind(tmp_path: Path) -> None:
    account = Forgetful(job_bodies={"j": Record(id="j")})
    account.remembers = 2
    code, events = await carried_out(account, tmp_path / "r", submit(), CloseJob("j"))
    assert code == Exit.DONE
    notes = {event.step: event.note for event in events if isinstance(event, StepDone)}
    assert notes["step-1"] == "all 250 tasks are in the job"


async def test_a_closed_job_is_verified_before_the_wait(
    tmp_path: Path,
) -> None:
    account = Forgetful(job_bodies={"j": Record(id="j")})
    wait = WaitForTasks("j", "", 250, HOUR)
    code, events = await carried_out(account, tmp_path / "r", submit(), wait)
    assert code == Exit.SERVICE
    assert problems(events)[0].code == "tasks-missing"


async def test_a_run_without_a_wait_is_verified_after_the_submission(tmp_path: Path) -> None:
    account = Forgetful(job_bodies={"j": Record(id="j")})
    code, events = await carried_out(account, tmp_path / "r", submit())
    assert code == Exit.SERVICE
    assert problems(events)[0].code == "tasks-missing"


async def test_tasks_of_earlier_runs_are_not_verified(tmp_path: Path) -> None:
    account = FakeAccount(job_bodies={"j": Record(id="j")}, task_ids={"j": ["a", "b"]})
    code, _ = await carried_out(account, tmp_path / "r", CloseJob("j"))
    assert code == Exit.DONE
    assert "tasks.list_ids j" not in account.calls


async def test_tasks_of_other_runs_are_ignored(
    tmp_path: Path,
) -> None:
    account = FakeAccount(job_bodies={"j": Record(id="j")}, task_ids={"j": ["of another run"]})
    code, _ = await carried_out(account, tmp_path / "r", submit(3), submit(3), CloseJob("j"))
    assert code == Exit.DONE


def ranges(account: FakeAccount) -> list[list[str]]:
    """The limits of each list of ids that was read."""
    calls = (call.split()[2:] for call in account.calls if call.startswith("tasks.list_ids"))
    return list(calls)


async def test_the_ids_of_a_large_job_are_read_in_ranges(tmp_path: Path) -> None:
    account = FakeAccount(job_bodies={"j": Record(id="j")})
    code, events = await carried_out(account, tmp_path / "r", submit(4_000), CloseJob("j"))
    assert code == Exit.DONE
    notes = {event.step: event.note for event in events if isinstance(event, StepDone)}
    assert notes["step-1"] == "all 4,000 tasks are in the job"
    first, *between, last = ranges(account)
    assert len(between) == 3
    limits = [*first, *(limit for each in between for limit in each), *last]
    assert limits[::2] == limits[1::2], "a range begins where the last one ends"
    assert sorted(limits) == limits
    sizes = [
        sum(low <= name.lower() < high for name in account.task_ids["j"]) for low, high in between
    ]
    assert min(sizes) > 500
    assert max(sizes) <= 1000, "a range is one page"


@pytest.mark.parametrize("forgotten", ["Task-0", "Task-2000", "Task-3999"])
async def test_a_missing_task_of_a_large_job_is_found(tmp_path: Path, forgotten: str) -> None:
    class OneForgotten(FakeAccount):
        class Tasks(FakeAccount.Tasks):
            async def list_ids(
                self, job_id: str, first: str = "", before: str = ""
            ) -> AsyncIterator[str]:
                async for name in super().list_ids(job_id, first, before):
                    if name != forgotten:
                        yield name

    account = OneForgotten(job_bodies={"j": Record(id="j")})
    code, events = await carried_out(account, tmp_path / "r", submit(4_000), CloseJob("j"))
    assert code == Exit.SERVICE
    (problem,) = problems(events)
    assert problem.summary.startswith("1 of 4,000 tasks")
    assert ranges(account)[-3:] == [[], [], []], "the whole list is read as well"


async def test_ranges_contain_all_ids_in_any_sort_order(
    tmp_path: Path,
) -> None:
    class SortedBackwards(FakeAccount):
        class Tasks(FakeAccount.Tasks):
            async def list_ids(
                self, job_id: str, first: str = "", before: str = ""
            ) -> AsyncIterator[str]:
                await self.account.call("tasks.list_ids", f"{job_id} {first} {before}".rstrip())
                for name in self.account.task_ids[job_id]:
                    backwards = name.lower()[::-1]
                    if backwards >= first[::-1] and not (before and backwards >= before[::-1]):
                        yield name

    account = SortedBackwards(job_bodies={"j": Record(id="j")})
    code, _ = await carried_out(account, tmp_path / "r", submit(4_000), CloseJob("j"))
    assert code == Exit.DONE
    assert len(ranges(account)) == 5
    assert [] not in ranges(account)


async def test_a_service_that_refuses_ranges_is_asked_for_the_whole_list(tmp_path: Path) -> None:
    class WithoutRanges(FakeAccount):
        async def call(self, name: str, what: str = "") -> None:
            await super().call(name, what)
            if name == "tasks.list_ids" and " " in what:
                raise ServiceError(Diagnostic("query", "no such filter"), code="Query", status=400)

    account = WithoutRanges(job_bodies={"j": Record(id="j")})
    code, _ = await carried_out(account, tmp_path / "r", submit(4_000), CloseJob("j"))
    assert code == Exit.DONE
    assert ranges(account)[-1] == []


def test_few_ids_of_a_million_are_kept() -> None:
    submitted = SubmittedIds()
    for start in range(0, 1_000_000, 100):
        submitted.add("j", (f"task-{number}" for number in range(start, start + 100)))
    (ids,) = submitted._ids.values()
    assert 1000 <= len(ids.sample) <= 2000
    assert len(ids.ranges()) == 64


def test_digests_are_sorted_and_each_occurs_once() -> None:
    submitted = SubmittedIds()
    names = [f"task-{number}" for number in range(5000)]
    submitted.add("j", names)
    submitted.add("j", map(str.upper, names))
    (ids,) = submitted._ids.values()
    assert list(ids.ordered()) == sorted(set(ids.digests))
    assert len(ids.ordered()) == 5000
