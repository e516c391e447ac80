"""Job schedules: creation, changes and deletion, and the end of a run with a schedule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.apply import run
from batchspec.apply.events import Event, Outcome, RunEnded, ScheduleSeen, StepDone
from batchspec.exit_codes import Exit
from batchspec.plan.actions import (
    Action,
    CreateSchedule,
    DeletePool,
    DeleteSchedule,
    ReplaceSchedule,
    UpdateSchedule,
)
from batchspec.spec import Record
from tests.apply.fake import START, FakeAccount
from tests.apply.test_executor import HOUR, plan_of, step

BODY = Record(id="nightly", schedule=Record(recurrenceInterval="P1D"))


async def events_of(account: FakeAccount, folder: Path, *actions: Action) -> list[Event]:
    steps = [step(f"s{number}", action) for number, action in enumerate(actions)]
    for number in range(1, len(steps)):
        steps[number] = replace(steps[number], after=(steps[number - 1].id,))
    plan = replace(plan_of(steps), scheduled=True)
    events: list[Event] = []
    await run(plan, account.runtime(), events.append, folder / "receipt.jsonl")
    return events


async def test_the_next_run_is_reported(tmp_path: Path) -> None:
    events = await events_of(FakeAccount(), tmp_path, CreateSchedule("nightly", BODY, HOUR))
    (seen,) = [event for event in events if isinstance(event, ScheduleSeen)]
    assert (seen.schedule, seen.state, seen.recent_job) == ("nightly", "active", "nightly:job-1")
    assert seen.next_run is not None and seen.next_run > START
    ended = events[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.exit) == (Outcome.SCHEDULED, Exit.DONE)


async def test_an_existing_schedule_is_reported(tmp_path: Path) -> None:
    account = FakeAccount(schedule_bodies={"nightly": BODY})
    events = await events_of(account, tmp_path, CreateSchedule("nightly", BODY, HOUR))
    assert [e.note for e in events if isinstance(e, StepDone)] == ["already existed"]


async def test_a_schedule_is_changed_in_place(tmp_path: Path) -> None:
    account = FakeAccount(schedule_bodies={"nightly": BODY})
    patch = Record(schedule=Record(recurrenceInterval="PT1H"))
    await events_of(account, tmp_path, UpdateSchedule("nightly", patch, HOUR))
    assert account.calls == ["job_schedules.update nightly"]
    assert account.schedule_bodies["nightly"]["schedule"] == patch["schedule"]


class Slow(FakeAccount):
    """Deletes a schedule at the third read: the service deletes its jobs first."""

    class JobSchedules(FakeAccount.JobSchedules):
        async def get(self, schedule_id: str):  # type: ignore[no-untyped-def]
            self.account.polls["schedule"] = self.account.polls.get("schedule", 0) + 1
            if self.account.polls["schedule"] == 3:
                self.account.schedule_bodies.pop(schedule_id, None)
            self.account.calls.append("schedule")
            return await super().get(schedule_id)

        async def delete(self, schedule_id: str) -> bool:
            self.account.calls.append("job_schedules.delete")
            return schedule_id in self.account.schedule_bodies


async def test_a_schedule_is_replaced_after_the_deletion(tmp_path: Path) -> None:
    account = Slow(schedule_bodies={"nightly": BODY})
    await events_of(account, tmp_path, ReplaceSchedule("nightly", BODY, HOUR))
    polls = ["schedule"] * 3
    assert account.calls == [
        "job_schedules.delete",
        *polls,
        "job_schedules.create nightly",
        "schedule",
    ]


async def test_the_pool_is_deleted_after_the_schedule(tmp_path: Path) -> None:
    account = Slow(schedule_bodies={"nightly": BODY}, pool_bodies={"p": Record(id="p")})
    await events_of(account, tmp_path, DeleteSchedule("nightly"), DeletePool("p"))
    assert account.calls == ["job_schedules.delete", *["schedule"] * 3, "pools.delete p"]


@pytest.mark.parametrize("call", ["job_schedules.create", "job_schedules.update"])
async def test_a_refusal_fails_the_run(tmp_path: Path, call: str) -> None:
    account = FakeAccount(schedule_bodies={"nightly": BODY}, fail={call})
    action: Action = CreateSchedule("nightly", BODY, HOUR)
    if call == "job_schedules.update":
        action = UpdateSchedule("nightly", BODY, HOUR)
    ended = (await events_of(account, tmp_path, action))[-1]
    assert isinstance(ended, RunEnded)
    assert (ended.outcome, ended.exit) == (Outcome.FAILED, Exit.SERVICE)
