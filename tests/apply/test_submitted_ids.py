"""Verification that every accepted task is in the job before it is closed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from batchspec.account import TaskAdded
from batchspec.apply.events import StepDone
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
