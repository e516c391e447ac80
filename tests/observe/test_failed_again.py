"""A failed task no longer counts when a later job runs its item again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from batchspec.account import Account
from batchspec.observe import failures_of, tasks_alike
from batchspec.plan.observed import UNMARKED, JobFacts, Marks, TaskFacts
from batchspec.spec import Record
from tests.plan.test_by_item import spec

CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FIRST = Marks("item1", "content", "work1", "count")
FIXED = Marks("item1", "content", "work2", "count")
OTHER = Marks("item2", "content", "work2", "count")


class Tasks:
    """The tasks of jobs, whose output was deleted."""

    def __init__(self, jobs: Mapping[str, Sequence[TaskFacts]]) -> None:
        self.jobs = jobs

    async def list(self, job: str, *, missing_ok: bool = False) -> AsyncIterator[TaskFacts]:
        for task in self.jobs[job]:
            yield task

    async def list_failed(self, job: str) -> AsyncIterator[TaskFacts]:
        for task in self.jobs[job]:
            if task.succeeded is False:
                yield task

    async def get(self, job: str, task: str) -> None:
        return None

    async def get_file(self, job: str, task: str, name: str, start: int, most: int) -> None:
        return None


def task(name: str, *, succeeded: bool | None, marks: Marks = UNMARKED) -> TaskFacts:
    state = "running" if succeeded is None else "completed"
    return TaskFacts(name, state, succeeded, 4 if succeeded is False else 0, marks=marks)


def job(name: str) -> JobFacts:
    return JobFacts(name, "completed", CREATED, Record(), {})


FAILED = task("count-a-work1", succeeded=False, marks=FIRST)


@pytest.mark.parametrize(
    ("later", "found"),
    [
        (task("count-a-work2", succeeded=True, marks=FIXED), []),
        (task("count-a-work2", succeeded=None, marks=FIXED), []),
        (task("count-a-work2", succeeded=False, marks=FIXED), ["count-a-work2"]),
        (task("COUNT-a-work1", succeeded=True), []),
        (task("count-b-work2", succeeded=True, marks=OTHER), ["count-a-work1"]),
        (task("count-b", succeeded=True), ["count-a-work1"]),
    ],
    ids=["fixed", "running", "failed-again", "same-id", "other-item", "unmarked"],
)
async def test_a_later_task_of_the_item_replaces_a_failure(
    tmp_path: Path, later: TaskFacts, found: list[str]
) -> None:
    account = cast(Account, SimpleNamespace(tasks=Tasks({"j": [FAILED], "j-r2": [later]})))
    jobs, one = (job("j"), job("j-r2")), spec(tmp_path, {"command": "true"})
    failures = await failures_of(one, jobs, None, account)
    assert [name for failure in failures for name in failure.named] == found
    alike = await tasks_alike(one, jobs, account, ["exit-4:other", *(f.key for f in failures)])
    assert alike <= {name.lower() for name in found}


async def test_failures_without_marks_are_distinct(tmp_path: Path) -> None:
    """Tasks of other clients have no item; an empty key matches no task."""
    earlier = [task("a", succeeded=False), task("b", succeeded=False)]
    tasks = Tasks({"j": earlier, "j-r2": [task("a", succeeded=True)]})
    account = cast(Account, SimpleNamespace(tasks=tasks))
    one = spec(tmp_path, {"command": "true"})
    (failure,) = await failures_of(one, (job("j"), job("j-r2")), None, account)
    assert (failure.named, failure.earlier) == (("b",), 1)
