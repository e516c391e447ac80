"""The facts about tasks and nodes are read before they are deleted, once, and by few requests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

import pytest

from batchspec.account import NodeRecord, TaskRecord
from batchspec.apply import run
from batchspec.apply.events import Event, Noticed, Outcome, RunEnded
from batchspec.apply.record import is_answered
from batchspec.diagnostics import Diagnostic, DiskError, ServiceError, Severity
from batchspec.exit_codes import Exit
from batchspec.plan import Plan, Task
from batchspec.plan.actions import (
    CloseJob,
    CreateJob,
    DeleteJob,
    DownloadResults,
    RetryTasks,
    WaitForTasks,
)
from batchspec.plan.observed import JobFacts
from batchspec.spec import Record
from tests.apply.fake import FakeAccount
from tests.apply.test_executor import HOUR, plan_of, step, tutorial


@dataclass
class Kept:
    """A record in memory."""

    earlier_jobs: Sequence[str] = ()
    complete: frozenset[str] = frozenset()
    tasks: dict[str, list[str]] = field(default_factory=dict)
    nodes: dict[str, list[str]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    def is_complete(self, job: JobFacts) -> bool:
        return job.id in self.complete

    async def save_tasks(
        self, job: JobFacts, at: datetime, tasks: AsyncIterator[TaskRecord]
    ) -> Sequence[str]:
        found = [task.facts async for task in tasks]
        self.tasks[job.id] = [task.id for task in found]
        return [task.id for task in found if task.succeeded is False][:1]

    def save_output(self, task_id: str, stderr: str) -> None:
        self.outputs[task_id] = stderr

    async def save_nodes(
        self, pool_id: str, at: datetime, nodes: AsyncIterator[NodeRecord]
    ) -> None:
        self.nodes[pool_id] = [node.id async for node in nodes]


async def recorded(
    plan: Plan, account: FakeAccount, folder: Path, kept: Kept
) -> tuple[list[Event], Exit]:
    events: list[Event] = []
    runtime = replace(account.runtime(), record=kept)
    code = await run(plan, runtime, events.append, folder / "receipt.jsonl")
    return events, code


def lists(account: FakeAccount) -> list[str]:
    """The requests for facts, and the deletions."""
    wanted = ("tasks.list_records", "nodes.list_records", "jobs.delete", "pools.delete")
    return [call for call in account.calls if call.startswith(wanted)]


async def test_facts_are_read_before_they_are_deleted(tmp_path: Path) -> None:
    account, kept = FakeAccount(answers=[True, True]), Kept()
    _, code = await recorded(tutorial(tmp_path), account, tmp_path, kept)
    assert code == Exit.DONE
    assert len(kept.tasks["j"]) == 250
    assert kept.nodes == {"p": ["node-1"]}
    calls = lists(account)
    assert calls.index("tasks.list_records j") < calls.index("jobs.delete j")
    assert calls.index("nodes.list_records p") < calls.index("pools.delete p")
    assert len(calls) == 4, "one list of tasks, one of nodes"


async def test_kept_objects_are_read_at_the_end_with_the_output_of_a_failed_task(
    tmp_path: Path,
) -> None:
    plan = tutorial(tmp_path)
    plan = replace(plan, steps=plan.steps[:8])
    account, kept = FakeAccount(failing={"count-7", "count-9"}), Kept()
    events, code = await recorded(plan, account, tmp_path, kept)
    assert code == Exit.TASKS_FAILED
    assert len(kept.tasks["j"]) == 250
    assert kept.nodes == {"p": ["node-1"]}
    assert kept.outputs == {"count-7": "count-7: no\n"}
    assert isinstance(events[-1], RunEnded)


async def test_an_unreadable_job_is_a_warning_and_its_deletion_continues(tmp_path: Path) -> None:
    account, kept = FakeAccount(answers=[True, True], fail={"tasks.list_records"}), Kept()
    events, code = await recorded(tutorial(tmp_path), account, tmp_path, kept)
    assert code == Exit.DONE
    noticed = [event.problem for event in events if isinstance(event, Noticed)]
    assert [(problem.code, problem.severity) for problem in noticed] == [
        ("facts-unread", Severity.WARNING)
    ]
    assert "job j" in noticed[0].summary
    assert "jobs.delete j" in account.calls


async def test_a_complete_job_is_not_read_again(tmp_path: Path) -> None:
    account = FakeAccount(job_bodies={"j": Record(id="j")}, task_ids={"j": ["a"]})
    kept = Kept(complete=frozenset({"j"}))
    await recorded(plan_of([step("delete", DeleteJob("j"))]), account, tmp_path, kept)
    assert lists(account) == ["jobs.delete j"]


async def test_the_results_of_failed_tasks_are_kept_before_a_retry(tmp_path: Path) -> None:
    account = FakeAccount(
        job_bodies={"j": Record(id="j")}, task_ids={"j": ["a", "b"]}, failing={"b"}
    )
    kept = Kept()
    task = Task("b", "count", 0, Record(id="b", commandLine="true"), ())
    await recorded(plan_of([step("retry", RetryTasks("j", "s", (task,)))]), account, tmp_path, kept)
    calls = account.calls
    assert calls.index("tasks.list_records j") < calls.index("tasks.reactivate j b")
    assert calls.count("tasks.list_records j") == 2, "the failed tasks before, all tasks after"


@pytest.mark.parametrize(("earlier", "read"), [(3, True), (0, False)])
async def test_earlier_jobs_count_if_tasks_of_them_are_kept(
    tmp_path: Path, earlier: int, read: Literal[True, False]
) -> None:
    account = FakeAccount(
        job_bodies={"old": Record(id="old")}, task_ids={"old": ["a", "b", "c"], "j": ["d"]}
    )
    kept = Kept(earlier_jobs=("old",))
    plan = plan_of(
        [
            step("job", CreateJob("j", Record(id="j"), HOUR)),
            step("close", CloseJob("j"), "job"),
            step("done", WaitForTasks("j", "p", 1, HOUR, kept=earlier), "close"),
        ]
    )
    account.pool_bodies["p"] = Record(id="p", targetDedicatedNodes=1)
    await recorded(plan, account, tmp_path, kept)
    assert ("old" in kept.tasks) is read


async def test_a_run_that_only_downloads_reads_the_facts_that_a_killed_client_did_not(
    tmp_path: Path,
) -> None:
    account = FakeAccount(
        job_bodies={"j": Record(id="j"), "old": Record(id="old")},
        job_pools={"j": "p"},
        task_ids={"j": ["a", "b"], "old": ["c"]},
    )
    download = DownloadResults("out", tmp_path / "results", "j")
    plan = plan_of([step("results", download)])
    kept = Kept(earlier_jobs=("old",))
    await recorded(plan, account, tmp_path, kept)
    assert kept.tasks == {"j": ["a", "b"], "old": ["c"]}
    assert kept.nodes == {"p": ["node-1"]}
    kept = Kept(complete=frozenset({"j"}))
    await recorded(plan, account, tmp_path, kept)
    assert (kept.tasks, kept.nodes) == ({}, {}), "they were recorded"
    kept = Kept(earlier_jobs=("old",))
    plan = plan_of([step("results", replace(download, complete=False))])
    await recorded(plan, account, tmp_path, kept)
    assert (kept.tasks, kept.nodes) == ({}, {}), "more results may come"


async def test_an_interrupted_run_reads_nothing_more(tmp_path: Path) -> None:
    account, kept = FakeAccount(), Kept()
    runtime = replace(account.runtime(), record=kept)
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        runtime.cancellation.request()

    await run(tutorial(tmp_path), runtime, emit, tmp_path / "receipt.jsonl")
    assert isinstance(events[-1], RunEnded)
    assert events[-1].outcome is Outcome.INTERRUPTED
    assert lists(account) == []


@pytest.mark.parametrize(
    ("code", "status", "answered"),
    [
        ("unreachable", None, False),
        ("local-stopped", None, False),
        ("tasks-missing", None, True),
        ("ServerBusy", 503, False),
        ("AuthenticationFailed", 401, False),
        ("TooManyRequests", 429, False),
        ("PoolNotFound", 404, True),
        ("InvalidPropertyValue", 400, True),
    ],
)
def test_errors_after_which_nothing_is_read(
    code: str, status: int | None, *, answered: bool
) -> None:
    error = ServiceError(Diagnostic("x", "y"), code=code, status=status)
    assert is_answered(error) is answered
    assert is_answered(DiskError(Diagnostic("x", "y")))
