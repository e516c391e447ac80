"""Counts that lag behind, as those of the service may: no decision depends on counts alone.

The descriptions of ``Job_GetTaskCounts`` and ``Account_ListPoolNodeCounts`` state that counts may
not be up to date, and that a list query is exact.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from batchspec.account import NodeFacts, TaskCounts
from batchspec.apply.events import Event, Noticed, Outcome
from batchspec.apply.monitor import Monitor, Watched
from batchspec.apply.wait import wait_for_pool, wait_for_tasks
from batchspec.diagnostics import ServiceError
from batchspec.plan.actions import WaitForTasks
from batchspec.plan.observed import PoolFacts
from batchspec.spec import Record
from tests.apply.fake import FakeAccount

WAIT = WaitForTasks("j", "", 2, timedelta(hours=1))
POOL = Record(id="p", targetDedicatedNodes=2)


def monitor(account: FakeAccount, events: list[Event] | None = None) -> Monitor:
    """A monitor of the job or the pool of the account."""
    watched = Watched("p" if account.pool_bodies else "", "j" if account.job_bodies else "")
    return Monitor(account.runtime(), (events if events is not None else []).append, watched)


@dataclass
class Lagging(FakeAccount):
    """The first ``late`` counts are ``before``; meanwhile a retried task runs."""

    before: TaskCounts = field(default_factory=lambda: TaskCounts(0, 0, 0, 0))
    late: int = 3

    class Jobs(FakeAccount.Jobs):
        async def get_task_counts(self, job_id: str) -> TaskCounts:
            if self.account.late > 0:
                self.account.late -= 1
                return self.account.before
            return await super().get_task_counts(job_id)

    class Tasks(FakeAccount.Tasks):
        async def any_running(self, job_id: str) -> bool:
            return self.account.late > 0


def lagging(before: TaskCounts, *failing: str, ended: str = "", late: int = 3) -> Lagging:
    account = Lagging(before=before, failing=set(failing), late=late)
    account.job_bodies["j"], account.task_ids["j"] = Record(id="j"), ["a", "b"]
    if ended:
        account.terminated["j"] = ended
    return account


async def test_a_retried_task_is_waited_for_although_counts_report_a_failure() -> None:
    account = lagging(TaskCounts(0, 0, 1, 1))
    done = await wait_for_tasks(WAIT, monitor(account))
    assert (done.items, done.outcome) == (2, None)
    assert account.polls == {}, "its counts never were up to date"
    account = lagging(TaskCounts(0, 0, 1, 1), "b")
    done = await wait_for_tasks(WAIT, monitor(account))
    assert (done.items, done.note, done.outcome) == (2, "1 failed", Outcome.TASKS_FAILED)


async def test_all_tasks_are_complete_in_a_job_that_ended_automatically() -> None:
    account = lagging(TaskCounts(0, 1, 1, 0), ended="AllTasksComplete", late=100)
    events: list[Event] = []
    done = await wait_for_tasks(WAIT, monitor(account, events))
    assert (done.items, done.outcome) == (2, None)
    assert not [event for event in events if isinstance(event, Noticed)]


@pytest.mark.parametrize("before", [TaskCounts(0, 1, 1, 0), TaskCounts(0, 0, 1, 1)])
async def test_failures_are_confirmed_by_a_list(before: TaskCounts) -> None:
    account = lagging(before, "b", ended="AllTasksComplete", late=100)
    done = await wait_for_tasks(WAIT, monitor(account))
    assert (done.items, done.note, done.outcome) == (2, "1 failed", Outcome.TASKS_FAILED)


async def test_a_failure_before_a_retry_does_not_count() -> None:
    account = lagging(TaskCounts(0, 0, 1, 1), ended="AllTasksComplete", late=100)
    done = await wait_for_tasks(WAIT, monitor(account))
    assert (done.items, done.outcome) == (2, None)


async def test_a_deleted_task_is_not_complete() -> None:
    account = lagging(TaskCounts(0, 0, 1, 0), ended="AllTasksComplete", late=100)
    del account.task_ids["j"][1]
    done = await wait_for_tasks(WAIT, monitor(account))
    assert (done.items, done.outcome) == (1, Outcome.TASKS_FAILED)


@dataclass
class Restarting(FakeAccount):
    """A pool whose nodes were restarted; the counts do not show it yet."""

    wrong: Mapping[str, int] | None = None
    late: int = 3
    facts: PoolFacts | None = None

    class Pools(FakeAccount.Pools):
        async def get(self, pool_id: str) -> PoolFacts | None:
            return self.account.facts or await super().get(pool_id)

        async def get_node_counts(self, pool_id: str) -> Mapping[str, int]:
            if self.account.late > 0:
                self.account.late -= 1
                return self.account.wrong or {}
            return await super().get_node_counts(pool_id)

    class Nodes(FakeAccount.Nodes):
        async def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
            if self.account.node_state != "idle":
                async for node in super().list_unhealthy(pool_id):
                    yield node


async def test_restarted_nodes_are_waited_for() -> None:
    account = Restarting(wrong={"starttaskfailed": 2})
    account.pool_bodies["p"] = POOL
    done = await wait_for_pool(monitor(account))
    assert done.items == 2


async def test_a_pool_with_some_of_its_nodes_is_usable() -> None:
    """A quota allowed two of three nodes; the counts do not contain them yet."""
    errors = (("AccountCoreQuotaReached", "no cores left"),)
    facts = PoolFacts("p", "active", "steady", POOL, {}, 2, 0, 3, 0, errors)
    account = Restarting(facts=facts)
    account.pool_bodies["p"] = POOL
    done = await wait_for_pool(monitor(account))
    assert done.items == 2
    account = replace(account, facts=replace(facts, dedicated=0), late=3)
    with pytest.raises(ServiceError) as caught:
        await wait_for_pool(monitor(account))
    assert caught.value.code == "AccountCoreQuotaReached"
