"""`logs -f` ends if its task cannot start: the job has ended, or a dependency has failed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from batchspec.account import Account, TaskCounts, TaskDetails, TaskWaiting
from batchspec.observe import (
    TaskInJob,
    Unstartable,
    find_unstartable,
    output_of_task,
    wait_for_start,
)
from batchspec.plan.observed import JobFacts, TaskFacts
from batchspec.render.logs import never_starts
from batchspec.spec import Record
from tests.plan.test_by_item import spec

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@dataclass
class Run:
    """A job with tasks that wait, and the ids of those that failed."""

    waiting: Mapping[str, TaskWaiting]
    failed: set[str] = field(default_factory=set)
    job_state: str = "active"
    state: str = "active"
    lists: int = 0

    @property
    def account(self) -> Account:
        jobs = SimpleNamespace(get=self.get_job, get_task_counts=self.get_task_counts)
        return cast(Account, SimpleNamespace(jobs=jobs, tasks=self))

    async def get_job(self, job: str) -> JobFacts:
        return JobFacts(job, self.job_state, CREATED, Record(), {})

    async def get_task_counts(self, job: str) -> TaskCounts:
        return TaskCounts(len(self.waiting), 0, 0, len(self.failed))

    async def get(self, job: str, task: str) -> TaskDetails:
        return TaskDetails(TaskFacts(task, self.state))

    async def list_blocking(self, job: str) -> AsyncIterator[str]:
        self.lists += 1
        for name in self.failed:
            yield name

    async def list_waiting(self, job: str) -> AsyncIterator[TaskWaiting]:
        for task in self.waiting.values():
            yield task


def run(*tasks: TaskWaiting, failed: str = "") -> Run:
    return Run({task.id: task for task in tasks}, set(failed.split()))


def where(task: str) -> TaskInJob:
    return TaskInJob("j", TaskDetails(TaskFacts(task, "active")))


@pytest.mark.parametrize(
    ("found", "failed"),
    [
        (run(TaskWaiting("last")), ""),
        (run(TaskWaiting("last"), failed="other"), ""),
        (run(TaskWaiting("last", ("First",)), failed="first"), "first"),
        (
            run(TaskWaiting("last", ("mid",)), TaskWaiting("MID", ("first",)), failed="first"),
            "first",
        ),
        (run(TaskWaiting("last", (), ((2, 4),)), failed="3"), "3"),
        (run(TaskWaiting("last", (), ((2, 4),)), failed="5"), ""),
        (run(TaskWaiting("last", ("last",)), failed="other"), ""),
    ],
    ids=["free", "other", "direct", "indirect", "in-range", "out-of-range", "circle"],
)
async def test_a_task_cannot_start_if_its_dependency_failed(found: Run, failed: str) -> None:
    expected = Unstartable("j", failed) if failed else None
    assert await find_unstartable(found.account, where("last")) == expected


@pytest.mark.parametrize("state", ["completed", "terminating", "deleting"])
async def test_a_task_cannot_start_if_its_job_has_ended(state: str) -> None:
    ended = run(TaskWaiting("last"))
    ended.job_state = state
    assert await find_unstartable(ended.account, where("last")) == Unstartable("j")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"state": "running"}, None),
        ({"job_state": "completed"}, Unstartable("j")),
        ({"failed": {"first"}}, Unstartable("j", "first")),
    ],
)
async def test_the_wait_ends_when_the_task_starts_or_cannot_start(
    change: dict[str, object], expected: Unstartable | None
) -> None:
    found = run(TaskWaiting("last", ("first",)))
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1
        if pauses == 3:
            for name, value in change.items():
                setattr(found, name, value)

    assert await wait_for_start(found.account, where("last"), pause) == expected
    assert pauses == 3
    assert found.lists == ("failed" in change), "lists are read only when a task has failed"


async def test_the_output_of_a_requeued_task_ends_with_its_job(tmp_path: Path) -> None:
    found = run(TaskWaiting("last"))
    output = output_of_task(found.account, spec(tmp_path, {"command": "true"}), where("last"), "x")
    assert not await output.ended()
    found.job_state = "completed"
    assert await output.ended()


def test_the_message_names_the_reason_and_the_next_command() -> None:
    ended = never_starts("last", Unstartable("j"))
    assert "its job 'j' has ended" in ended.summary
    assert "`batchspec apply`" in ended.fix
    failed = never_starts("last", Unstartable("j", "first"))
    assert "the task 'first', which it depends on, failed" in failed.summary
    assert "`batchspec logs SPEC first`" in failed.fix
    assert "-f" not in ended.fix + failed.fix
