"""The output of a node is shown if it can be read; otherwise, the run continues."""

from __future__ import annotations

from datetime import timedelta

import pytest

from batchspec.apply.events import Event, NodeFailed, Noticed, Outcome, TaskFailed
from batchspec.apply.monitor import Monitor, Watched
from batchspec.apply.wait import wait_for_pool, wait_for_tasks
from batchspec.diagnostics import ServiceError, Severity
from batchspec.plan.actions import WaitForTasks
from batchspec.spec import Record
from tests.apply.fake import FakeAccount, refused


class Mute(FakeAccount):
    """An account whose nodes return no files."""

    class Nodes(FakeAccount.Nodes):
        async def get_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
            raise refused("OperationTimedOut")

    class Tasks(FakeAccount.Tasks):
        async def get_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
            raise refused("OperationTimedOut")


SIGNED = "https://acc.blob.core.windows.net/c?sv=1&sig=c2VjcmV0LXNpZ25hdHVyZQ%3D%3D"


class Leaking(FakeAccount):
    """An account whose tasks and nodes write a signed URL to stderr."""

    class Nodes(FakeAccount.Nodes):
        async def get_file_tail(self, pool_id: str, node: str, path: str, size: int) -> str:
            return f"cannot read {SIGNED}"

    class Tasks(FakeAccount.Tasks):
        async def get_file_tail(self, job_id: str, task: str, path: str, size: int) -> str:
            return f"cannot read {SIGNED}"


def warnings(events: list[Event]) -> list[str]:
    """The codes of the noticed problems, none of which is an error."""
    problems = [event.problem for event in events if isinstance(event, Noticed)]
    assert all(problem.severity is Severity.WARNING for problem in problems)
    return [problem.code for problem in problems]


async def test_a_task_whose_output_cannot_be_read() -> None:
    account, events = Mute(failing={"a"}), list[Event]()
    account.job_bodies["j"], account.task_ids["j"] = Record(id="j"), ["a", "b"]
    wait = WaitForTasks("j", "", 2, timedelta(hours=1))
    done = await wait_for_tasks(wait, Monitor(account.runtime(), events.append, Watched(job="j")))
    assert (done.items, done.outcome) == (2, Outcome.TASKS_FAILED)
    (failed,) = (event for event in events if isinstance(event, TaskFailed))
    assert (failed.task, failed.stderr) == ("a", "")
    assert warnings(events) == ["refused"]


async def test_a_node_whose_output_cannot_be_read() -> None:
    account, events = Mute(node_state="unusable"), list[Event]()
    account.pool_bodies["p"] = Record(id="p", targetDedicatedNodes=1)
    with pytest.raises(ServiceError) as caught:
        await wait_for_pool(Monitor(account.runtime(), events.append, Watched("p")))
    assert caught.value.problems[0].code == "nodes-unusable"
    assert [event.stderr for event in events if isinstance(event, NodeFailed)] == [""]
    assert warnings(events) == ["refused"]


async def test_events_contain_no_signature() -> None:
    account, events = Leaking(failing={"a"}, node_state="unusable"), list[Event]()
    account.job_bodies["j"], account.task_ids["j"] = Record(id="j"), ["a", "b"]
    account.pool_bodies["p"] = Record(id="p", targetDedicatedNodes=1)
    wait = WaitForTasks("j", "", 2, timedelta(hours=1))
    await wait_for_tasks(wait, Monitor(account.runtime(), events.append, Watched(job="j")))
    with pytest.raises(ServiceError):
        await wait_for_pool(Monitor(account.runtime(), events.append, Watched("p")))
    failed = [event.stderr for event in events if isinstance(event, TaskFailed | NodeFailed)]
    assert len(failed) == 2
    assert all("cannot read" in text and "c2Vj" not in text for text in failed)
