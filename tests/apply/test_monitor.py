"""The monitor of a run: its deadline, its reports, and the requests of a poll."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from batchspec.account import NodeFacts, PreparationFacts, TaskCounts, TaskTimes, TaskWaiting
from batchspec.apply.events import (
    Event,
    NodeFailed,
    NodesSeen,
    Noticed,
    Outcome,
    TasksSeen,
    Waiting,
)
from batchspec.apply.monitor import CAUSES, Cause, Monitor, PollInterval, Watched
from batchspec.apply.record import NodeLogs
from batchspec.apply.wait import (
    DELETION_LIMIT,
    TERMINATION_LIMIT,
    TIME_LIMIT,
    wait_for_pool,
    wait_for_tasks,
    wait_until_deleted,
    wait_until_ended,
)
from batchspec.diagnostics import ServiceError
from batchspec.plan import NodeRelease
from batchspec.plan.actions import WaitForTasks
from batchspec.plan.failures import read_node_failure
from batchspec.plan.observed import JobFacts, PoolFacts
from batchspec.spec import Record
from tests.apply.fake import START, FakeAccount

MINUTES = timedelta(minutes=1)
WAIT = WaitForTasks("j", "p", 3, 10 * MINUTES)
WATCHED = Watched("p", "j", 10 * MINUTES)
T = TypeVar("T")
QUOTA = (("AccountCoreQuotaReached", "no cores"),)


def next_of(answers: list[T]) -> T:
    return answers.pop(0) if len(answers) > 1 else answers[0]


@dataclass
class Scripted(FakeAccount):
    """An account with scripted responses; the last response of each list is repeated."""

    seen_pools: list[PoolFacts | None] = field(default_factory=list)
    seen_nodes: list[Mapping[str, int]] = field(default_factory=lambda: [{"idle": 1}])
    seen_counts: list[TaskCounts] = field(default_factory=lambda: [TaskCounts(0, 1, 2, 0)])
    state: str = "active"
    unhealthy: tuple[NodeFacts, ...] = ()
    requests: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.job_bodies["j"], self.task_ids["j"] = Record(id="j"), ["a", "b", "c"]
        self.seen_pools = self.seen_pools or [pool()]

    class Pools(FakeAccount.Pools):
        async def get(self, pool_id: str) -> PoolFacts | None:
            self.account.requests["pool"] += 1
            return next_of(self.account.seen_pools)

        async def get_node_counts(self, pool_id: str) -> Mapping[str, int]:
            self.account.requests["nodes"] += 1
            return next_of(self.account.seen_nodes)

    class Jobs(FakeAccount.Jobs):
        async def get(self, job_id: str) -> JobFacts | None:
            self.account.requests["job"] += 1
            found = await super().get(job_id)
            return found and (
                found if found.state == "completed" else replace(found, state=self.account.state)
            )

        async def get_task_counts(self, job_id: str) -> TaskCounts:
            self.account.requests["counts"] += 1
            return next_of(self.account.seen_counts)

    class Nodes(FakeAccount.Nodes):
        async def list_unhealthy(self, pool_id: str) -> AsyncIterator[NodeFacts]:
            self.account.requests["unhealthy"] += 1
            for node in self.account.unhealthy:
                yield node

    class Tasks(FakeAccount.Tasks):
        async def list_waiting(self, job_id: str) -> AsyncIterator[TaskWaiting]:
            self.account.requests["waiting"] += 1
            for task in self.account.waiting:
                yield task

        async def list_times(self, job_id: str, *, running: bool) -> AsyncIterator[TaskTimes]:
            self.account.requests["times"] += 1
            async for one in super().list_times(job_id, running=running):
                yield one


def pool(now: int = 1, target: int = 1, **fields: Any) -> PoolFacts:
    found = PoolFacts("p", "active", "steady", Record(), {}, now, 0, target, 0)
    return replace(found, **fields)


def watching(account: FakeAccount, watched: Watched = WATCHED) -> tuple[Monitor, list[Event]]:
    events: list[Event] = []
    return Monitor(account.runtime(), events.append, watched), events


def waits(events: Iterable[Event]) -> list[tuple[str, bool]]:
    """The code of each report, and whether it reports the end of the cause."""
    return [(event.code, event.resolved) for event in events if isinstance(event, Waiting)]


# --- the deadline --------------------------------------------------------------------------------


@pytest.mark.parametrize("ahead", [-600, 0, 600], ids=["behind", "the same", "ahead"])
async def test_the_deadline_is_on_the_services_clock(ahead: int) -> None:
    """The job was created at ``START`` of this machine, which is another time at the service."""
    offset = timedelta(seconds=ahead)

    class Off(Scripted):
        class Jobs(Scripted.Jobs):
            async def get(self, job_id: str) -> JobFacts | None:
                found = await super().get(job_id)
                return found and replace(found, created=START + offset)

    account = Off(ahead=offset)
    monitor, events = watching(account)
    done = await wait_for_tasks(WAIT, monitor)
    assert done.outcome is Outcome.TIME_LIMIT
    assert account.terminated == {"j": TIME_LIMIT}
    assert 600 <= account.clock.elapsed < 602
    (problem,) = [event.problem for event in events if isinstance(event, Noticed)]
    assert (problem.code, problem.detail) == ("time-limit", "1 of 3 tasks did not succeed.")


async def test_a_recent_cause_is_reported_at_the_deadline() -> None:
    account = Scripted(
        seen_nodes=[{"waitingforstarttask": 1}], seen_counts=[TaskCounts(3, 0, 0, 0)]
    )
    monitor, events = watching(account, replace(WATCHED, limit=MINUTES))
    await wait_for_tasks(replace(WAIT, limit=MINUTES), monitor)
    assert waits(events) == [("start-task-running", False)]
    (problem,) = [event.problem for event in events if isinstance(event, Noticed)]
    assert "the start task runs on 1 of 1 node of the pool 'p'" in problem.detail
    assert "--start-task n0" in problem.fix


async def test_the_limit_for_nodes_without_a_job() -> None:
    account = Scripted(seen_nodes=[{"starting": 1}])
    del account.job_bodies["j"]
    monitor, events = watching(account)
    done = await wait_for_pool(monitor)
    assert done.outcome is Outcome.TIME_LIMIT
    assert 600 <= account.clock.elapsed < 602
    assert waits(events) == [("nodes-starting", False)]
    assert not account.terminated


async def test_the_wait_for_nodes_ends_the_job_at_its_limit() -> None:
    account = Scripted(seen_nodes=[{"starting": 1}], seen_counts=[TaskCounts(3, 0, 0, 0)])
    monitor, _ = watching(account)
    done = await wait_for_pool(monitor)
    assert (done.outcome, account.terminated) == (Outcome.TIME_LIMIT, {"j": TIME_LIMIT})


async def test_the_wait_for_nodes_ends_with_the_job() -> None:
    account = Scripted(seen_nodes=[{"starting": 1}])
    account.terminated["j"] = "MaxWallClockTimeExpiry"
    monitor, _ = watching(account)
    assert (await wait_for_pool(monitor)).note == "no longer needed: the job has ended"
    done = await wait_for_tasks(WAIT, monitor)
    assert done.outcome is Outcome.TIME_LIMIT


# --- reports -------------------------------------------------------------------------------------


async def test_a_cause_is_reported_at_once_and_again_only_when_it_changes() -> None:
    few = pool(1, 3, resize_errors=QUOTA)
    more = pool(2, 3, resize_errors=QUOTA)
    account = Scripted(
        seen_pools=[few, few, few, more, more, pool(3, 3)],
        seen_counts=[TaskCounts(0, 1, 0, 0)] * 7 + [TaskCounts(0, 0, 3, 0)],
    )
    monitor, events = watching(account)
    await wait_for_tasks(WAIT, monitor)
    reported = [event for event in events if isinstance(event, Waiting)]
    assert [(one.summary, one.resolved) for one in reported] == [
        ("1 of 3 nodes: AccountCoreQuotaReached", False),
        ("2 of 3 nodes: AccountCoreQuotaReached", False),
        ("", True),
    ]
    assert events.index(reported[0]) <= 2, "with the first poll"


async def test_a_cause_of_every_run_is_reported_after_its_delay() -> None:
    account = Scripted(seen_nodes=[{"starting": 1}], seen_counts=[TaskCounts(3, 0, 0, 0)])
    monitor, events = watching(account, replace(WATCHED, limit=60 * MINUTES))
    while account.clock.elapsed < 900:
        await monitor.poll()
        if account.clock.elapsed < 600:
            assert waits(events) == []
        await monitor.pause()
    (reported,) = [event for event in events if isinstance(event, Waiting)]
    assert (reported.code, reported.since) == ("nodes-starting", START)


async def test_a_start_task_that_fails_is_shown_once_and_ends_the_run() -> None:
    nodes = tuple(NodeFacts(f"n{n}", "starttaskfailed", 3, "no disk") for n in range(9))
    account = Scripted(
        seen_pools=[pool(9, 9)],
        seen_nodes=[{"starttaskfailed": 8, "starting": 1}, {"starttaskfailed": 9}],
        seen_counts=[TaskCounts(3, 0, 0, 0)],
        unhealthy=nodes,
    )
    account.unhealthy = nodes[:8]
    monitor, events = watching(account)
    await monitor.poll()
    assert waits(events) == [("start-task-failed", False)]
    account.unhealthy = nodes
    with pytest.raises(ServiceError) as caught:
        await wait_for_pool(monitor)
    assert caught.value.code == "StartTaskFailed"
    (problem,) = caught.value.problems
    assert problem.summary == "start task failed on 9 of 9 nodes of the pool 'p' (exit code 3)"
    assert len([event for event in events if isinstance(event, NodeFailed)]) == 3


async def test_the_deadline_counts_from_the_creation_of_the_job() -> None:
    account = Scripted()
    account.clock.elapsed = 400.0
    monitor, _ = watching(account)
    await wait_for_tasks(WAIT, monitor)
    assert 600 <= account.clock.elapsed < 602


async def test_nodes_count_from_their_allocation_until_their_expected_release() -> None:
    """The first poll finds older nodes; at the last poll, the pool no longer exists."""
    found = pool(2, 2, allocation_since=START + timedelta(seconds=20))
    account = Scripted(seen_pools=[found, found, None])
    monitor, events = watching(account)
    await account.clock.sleep(50)
    await monitor.poll()
    await account.clock.sleep(10)
    await monitor.poll()
    seen = [event for event in events if isinstance(event, NodesSeen)]
    seconds = [(event.service_time or START) - START for event in seen]
    assert [each.total_seconds() for each in seconds] == [20, 50, 60]
    assert [event.dedicated for event in seen] == [2, 2, 2]
    await account.clock.sleep(10)
    await monitor.poll()
    # 80 seconds after the last poll, since the job has no end here.
    assert monitor.expect_release(NodeRelease()) == START + timedelta(seconds=150)


def test_failed_tasks_are_the_first_cause() -> None:
    monitor, _ = watching(Scripted())
    missing, failed = (
        Cause(CAUSES[code], "job j", code, ends=True)
        for code in ("dependency-missing", "dependency-failed")
    )
    monitor.causes = (missing, replace(failed, ends=False))
    assert monitor.ending == missing
    monitor.causes = (missing, failed)
    assert monitor.ending == failed


async def test_failed_tasks_decide_the_exit_code() -> None:
    account = Scripted(
        seen_counts=[TaskCounts(2, 0, 0, 1)],
        failing={"a"},
        waiting=(TaskWaiting("b", ("a",)), TaskWaiting("c", ("nothing",))),
    )
    monitor, _ = watching(account)
    done = await wait_for_tasks(WAIT, monitor)
    assert done.outcome is Outcome.TASKS_FAILED


async def test_a_task_that_runs_far_longer_than_its_siblings_is_named() -> None:
    took = timedelta(seconds=20)
    account = Scripted(
        seen_counts=[TaskCounts(0, 1, 3, 0)],
        times=(
            *(TaskTimes(f"t{n}", START, START + took) for n in range(3)),
            TaskTimes("slow", START),
        ),
    )
    monitor, events = watching(account, replace(WATCHED, limit=60 * MINUTES))
    while account.clock.elapsed < 900:
        await monitor.poll()
        await monitor.pause()
    (reported,) = [event for event in events if isinstance(event, Waiting)]
    assert (reported.code, reported.subject, reported.since) == ("task-slow", "task slow", START)
    assert account.requests["times"] <= 2 * 900 / 60, "no more than two lists a minute"


# --- requests of a poll --------------------------------------------------------------------------


@pytest.mark.parametrize("tasks", [3, 100_000])
async def test_a_poll_makes_four_requests(tasks: int) -> None:
    account = Scripted(seen_counts=[TaskCounts(tasks, 1, 2, 0)])
    monitor, _ = watching(account, replace(WATCHED, limit=600 * MINUTES))
    for _ in range(50):
        await monitor.poll()
        await monitor.pause()
    assert account.requests == {"pool": 50, "nodes": 50, "job": 50, "counts": 50}


async def test_lists_are_read_once_while_counts_are_unchanged() -> None:
    account = Scripted(
        seen_counts=[TaskCounts(3, 0, 0, 0)],
        waiting=(TaskWaiting("a", ("b",)), TaskWaiting("b", ("c",)), TaskWaiting("c")),
    )
    monitor, _ = watching(account, replace(WATCHED, limit=600 * MINUTES))
    for _ in range(50):
        await monitor.poll()
        await monitor.pause()
    assert account.requests["waiting"] == 1, "the first that can start settles it"


def test_the_poll_interval_is_never_zero() -> None:
    interval = PollInterval(2.0)
    assert [interval.next(None) for _ in range(3)] == [2.0, 3.0, 4.5]
    assert [interval.next("new"), interval.next("new")] == [2.0, 3.0]
    assert max(interval.next("new") for _ in range(20)) == 15.0


def test_the_poll_interval_of_a_short_job() -> None:
    interval = PollInterval(2.0)
    found = [interval.next(worked, worked) for worked in (0.0, 5.0, 20.0, 60.0, 3600.0)]
    assert found == [0.5, 0.5, 1.0, 2.0, 2.0]
    assert [interval.next("new", 20.0) for _ in range(3)] == [1.0, 1.5, 2.25]
    assert PollInterval(0.1).next(None, 0.0) == 0.1


def test_the_poll_interval_of_the_local_target_is_at_most_two_seconds() -> None:
    interval = PollInterval(0.1)
    assert [interval.next(None) for _ in range(2)] == pytest.approx([0.1, 0.15])
    assert max(interval.next(None) for _ in range(20)) == pytest.approx(2.0)


async def test_a_run_of_two_days_polls_every_fifteen_seconds_with_few_events() -> None:
    day = 86_400.0

    class Long(Scripted):
        class Jobs(Scripted.Jobs):
            async def get_task_counts(self, job_id: str) -> TaskCounts:
                self.account.requests["counts"] += 1
                done = min(3, int(self.account.clock.elapsed // (day * 2 / 3)))
                return TaskCounts(0, 3 - done, done, 0)

    account = Long()
    monitor, events = watching(account, replace(WATCHED, limit=timedelta(days=7)))
    done = await wait_for_tasks(replace(WAIT, limit=timedelta(days=7)), monitor)
    assert (done.items, done.outcome) == (3, None)
    assert 2 * day <= account.clock.elapsed < 2 * day + 20
    polls = 2 * day / 15
    assert polls <= account.requests["counts"] <= polls + 100
    assert account.requests.total() < 5 * polls
    other = [event for event in events if not isinstance(event, NodesSeen | TasksSeen)]
    assert len(other) < 10


# --- other waits ---------------------------------------------------------------------------------


async def test_the_wait_for_a_deletion_is_bounded() -> None:
    account = Scripted()
    with pytest.raises(ServiceError) as caught:
        await wait_until_deleted(lambda: account.pools.get("p"), "pool p", account.runtime())
    assert caught.value.code == "deletion-unfinished"
    (problem,) = caught.value.problems
    assert "the pool 'p' still exists" in problem.summary
    assert "batchspec list" in problem.fix
    assert (
        DELETION_LIMIT.total_seconds()
        <= account.clock.elapsed
        < DELETION_LIMIT.total_seconds() + 16
    )


async def test_the_wait_for_the_end_of_a_job_is_bounded(tmp_path: Path) -> None:
    account = Scripted(state="terminating")
    with pytest.raises(ServiceError) as caught:
        await wait_until_ended("j", account.runtime())
    assert caught.value.code == "job-not-ended"
    assert "the job 'j' is still terminating" in caught.value.problems[0].summary
    assert (
        TERMINATION_LIMIT.total_seconds()
        <= account.clock.elapsed
        < TERMINATION_LIMIT.total_seconds() + 16
    )
    account = Scripted(state="terminating")
    monitor, _ = watching(account)
    with pytest.raises(ServiceError):
        await wait_for_tasks(WAIT, monitor)


# --- preparation tasks ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("restarted", "ended", "found"),
    [({"n"}, -1, False), ({"n"}, 1, True), (set(), -1, True)],
    ids=["before the restart", "after the restart", "not restarted"],
)
async def test_a_preparation_task_that_failed_before_the_run_restarted_its_node(
    restarted: set[str], ended: int, found: bool
) -> None:
    """The service lists it until the next task on the node runs it again."""
    account = Scripted(seen_counts=[TaskCounts(3, 0, 0, 0)])
    account.job_bodies["j"] = Record(id="j", jobPreparationTask=Record(commandLine="x"))
    account.prepared = (
        PreparationFacts("n", failed=True, exit_code=9, ended=START + timedelta(seconds=ended)),
    )
    monitor, _ = watching(account, replace(WATCHED, restarted=frozenset(restarted)))
    await monitor.poll()
    account.clock.elapsed = 2
    await monitor.poll()
    assert ("preparation-failed" in [cause.code for cause in monitor.causes]) is found


# --- start tasks that run at the limit -----------------------------------------------------------


@pytest.mark.parametrize("by_service", [False, True])
async def test_the_output_of_start_tasks_that_run_at_the_limit_is_kept(*, by_service: bool) -> None:
    account = Scripted(
        seen_nodes=[{"waitingforstarttask": 2}],
        seen_counts=[TaskCounts(3, 0, 0, 0)],
        stored={"logs": {}},
    )
    monitor, events = watching(account)
    monitor.runtime = replace(monitor.runtime, node_logs=NodeLogs("logs"))
    if by_service:
        await monitor.poll()
        account.clock.elapsed = 600
        account.terminated["j"] = "MaxWallClockTimeExpiry"
    done = await wait_for_tasks(WAIT, monitor)
    assert done.outcome is Outcome.TIME_LIMIT
    nodes = [event for event in events if isinstance(event, NodeFailed)]
    assert [(node.node, node.message, node.stderr) for node in nodes] == [
        (name, "the start task still ran after 10 min", "cp: no such file\n")
        for name in ("n0", "n1")
    ]
    record = read_node_failure(account.stored["logs"]["_nodes/p/n0/startup/failure.json"].decode())
    assert record is not None
    assert (record.state, record.count) == ("waitingforstarttask", 2)
    (problem,) = [event.problem for event in events if isinstance(event, Noticed)]
    assert "start task runs on 2 of 2 nodes of the pool 'p', for 10 min." in problem.detail
    assert "`batchspec logs --start-task n0`" in problem.fix


async def test_start_tasks_beside_nodes_that_accept_tasks_are_not_kept() -> None:
    account = Scripted(seen_nodes=[{"waitingforstarttask": 1, "running": 1}])
    monitor, events = watching(account)
    await wait_for_tasks(WAIT, monitor)
    assert not [event for event in events if isinstance(event, NodeFailed)]
    assert not [call for call in account.calls if call.startswith("nodes.list_starting")]
