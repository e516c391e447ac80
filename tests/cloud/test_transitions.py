"""Every wait for the state of an object ends, with an error that names the next command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from batchspec.cloud import AccountClient, Limits
from batchspec.cloud.timing import Timing, Transition
from batchspec.diagnostics import ServiceError
from batchspec.spec import Record
from tests.cloud.conftest import Time
from tests.cloud.scripted import Reply, Scripted, refusal, storage_refusal

HOUR = timedelta(hours=1)
BODY = Record(id="x")
DELETING = Reply(
    body={"id": "x", "state": "deleting", "creationTime": "2026-01-01T00:00:00Z", "metadata": []}
)

Call = Callable[[AccountClient], Awaitable[object]]

CALLS: list[tuple[str, str, Reply, Call, str]] = [
    (
        "POST",
        "/pools",
        refusal(409, "PoolBeingDeleted"),
        lambda account: account.pools.create(BODY, HOUR),
        "pool x: the pool is being deleted, after 20 min of waiting",
    ),
    (
        "POST",
        "/pools",
        refusal(409, "PoolExists"),
        lambda account: account.pools.create(BODY, HOUR),
        "pool x: the pool is being deleted, after 20 min of waiting",
    ),
    (
        "POST",
        "/jobs",
        refusal(409, "JobExists"),
        lambda account: account.jobs.create(BODY, HOUR),
        "job x: the job is being deleted, after 20 min of waiting",
    ),
    (
        "POST",
        "/jobschedules",
        refusal(409, "JobScheduleBeingDeleted"),
        lambda account: account.job_schedules.create(BODY, HOUR),
        "job schedule x: the job schedule is being deleted, after 20 min of waiting",
    ),
    (
        "POST",
        "/pools/x/resize",
        refusal(409, "PoolBeingResized"),
        lambda account: account.pools.resize("x", 3, 0),
        "pool x: the pool is being resized, after 20 min of waiting",
    ),
    (
        "POST",
        "/pools/x/enableautoscale",
        refusal(409, "PoolBeingResized"),
        lambda account: account.pools.enable_autoscale("x", "$TargetDedicatedNodes = 1;", None),
        "pool x: the pool is being resized, after 20 min of waiting",
    ),
    (
        "POST",
        "/pools/x/nodes/n/reboot",
        refusal(409, "NodeBeingStarted"),
        lambda account: account.nodes.reboot("x", ["n"]),
        "node n of pool x: the node is starting, after 20 min of waiting",
    ),
    (
        "PUT",
        "/store/data",
        storage_refusal(409, "ContainerBeingDeleted"),
        lambda account: account.containers.create("data", {}, None),
        "container data: the container is being deleted, after 20 min of waiting",
    ),
]


@pytest.mark.parametrize(("method", "path", "reply", "call", "summary"), CALLS)
async def test_a_wait_ends_with_an_error(
    cloud: AccountClient,
    server: Scripted,
    clock: Time,
    method: str,
    path: str,
    reply: Reply,
    call: Call,
    summary: str,
) -> None:
    server.on(method, path, reply)
    server.on("GET", "/(pools|jobs|jobschedules)/x", DELETING)
    with pytest.raises(ServiceError) as caught:
        await call(cloud)
    problem = caught.value.problems[0]
    assert problem.summary == summary
    assert "`batchspec list`" in problem.fix or "`batchspec status`" in problem.fix
    assert sum(clock.slept) == Limits().transition
    assert len(server.requests(method, path)) < 100


async def test_the_last_attempt_is_at_the_limit(clock: Time) -> None:
    limits = Limits(transition=20.0)
    transition = Transition(limits, Timing(clock.monotonic, clock.sleep, lambda: 0.5))
    pauses = 0
    while await transition.pause():
        pauses += 1
    assert clock.slept == [2.0, 4.0, 8.0, 6.0]
    assert (pauses, transition.waited) == (4, 20.0)


async def test_only_the_nodes_that_are_starting_are_restarted_again(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("POST", "/pools/x/nodes/a/reboot", refusal(409, "NodeBeingStarted"), Reply(202))
    server.on("POST", "/pools/x/nodes/b/reboot", Reply(202))
    await cloud.nodes.reboot("x", ["a", "b"])
    assert [len(server.requests("POST", f"/pools/x/nodes/{node}/reboot")) for node in "ab"] == [
        2,
        1,
    ]
