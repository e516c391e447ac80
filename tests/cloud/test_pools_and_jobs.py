"""Pools, jobs and job schedules are created and deleted exactly once if responses are lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from batchspec.account import NodeFacts, TaskCounts
from batchspec.cloud import AccountClient
from batchspec.diagnostics import ServiceError
from batchspec.spec import Record, freeze
from tests.cloud.conftest import Time
from tests.cloud.scripted import RESET, Reply, Scripted, refusal

HOUR = timedelta(hours=1)


def marked(spec: str | None = "topn", digest: str = "d1") -> list[dict[str, str]]:
    if spec is None:
        return []
    return [
        {"name": "batchspec:spec", "value": spec},
        {"name": "batchspec:digest", "value": digest},
    ]


def body(**more: Any) -> Record:
    frozen = freeze({"id": "x", "metadata": marked(), **more})
    assert isinstance(frozen, Record)
    return frozen


def found(metadata: list[dict[str, str]], **more: Any) -> Reply:
    return Reply(
        body={
            "odata.metadata": "m",
            "id": "x",
            "state": "active",
            "creationTime": "2026-11-22T10:00:00.1234567Z",
            "metadata": metadata,
            **more,
        }
    )


PATHS = {"pool": "pools", "job": "jobs", "job schedule": "jobschedules"}
CODES = {"pool": "Pool", "job": "Job", "job schedule": "JobSchedule"}
"""How the service's error codes begin."""


@pytest.fixture(params=PATHS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def create(cloud: AccountClient, kind: str, record: Record) -> bool:
    if kind == "pool":
        return await cloud.pools.create(record, HOUR)
    if kind == "job":
        return await cloud.jobs.create(record, HOUR)
    return await cloud.job_schedules.create(record, HOUR)


async def delete(cloud: AccountClient, kind: str) -> bool:
    if kind == "pool":
        return await cloud.pools.delete("x")
    if kind == "job":
        return await cloud.jobs.delete("x")
    return await cloud.job_schedules.delete("x")


async def test_created(cloud: AccountClient, server: Scripted, kind: str) -> None:
    server.on("POST", f"/{PATHS[kind]}", Reply(201))
    assert await create(cloud, kind, body()) is True


async def test_a_body_is_sent_unchanged(cloud: AccountClient, server: Scripted, kind: str) -> None:
    """A zero duration stays as it is: the SDK writes ``timedelta(0)`` as ``P``."""
    server.on("POST", f"/{PATHS[kind]}", Reply(201))
    await create(cloud, kind, body(constraints={"retentionTime": "PT0S"}, aKeyOfTomorrow=[1, None]))
    assert server.asked[-1].json == {
        "id": "x",
        "metadata": marked(),
        "constraints": {"retentionTime": "PT0S"},
        "aKeyOfTomorrow": [1, None],
    }


async def test_an_equal_object_is_adopted(
    cloud: AccountClient, server: Scripted, kind: str
) -> None:
    server.on("POST", f"/{PATHS[kind]}", refusal(409, f"{CODES[kind]}Exists"))
    server.on("GET", f"/{PATHS[kind]}/x", found(marked()))
    assert await create(cloud, kind, body()) is False


@pytest.mark.parametrize("fault", [RESET, refusal(500, "InternalError")])
async def test_a_creation_whose_response_was_lost(
    cloud: AccountClient, server: Scripted, kind: str, fault: Reply
) -> None:
    server.on("POST", f"/{PATHS[kind]}", fault, refusal(409, f"{CODES[kind]}Exists"))
    server.on("GET", f"/{PATHS[kind]}/x", found(marked()))
    assert await create(cloud, kind, body()) is True


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        (marked(None), "was not created by batchspec"),
        (marked("other"), "was created by spec other"),
        (marked("topn", "d2"), "was created by an earlier version of this spec"),
    ],
)
async def test_an_object_of_another_origin_is_not_adopted(
    cloud: AccountClient, server: Scripted, kind: str, metadata: list[dict[str, str]], origin: str
) -> None:
    server.on("POST", f"/{PATHS[kind]}", refusal(409, f"{CODES[kind]}Exists"))
    server.on("GET", f"/{PATHS[kind]}/x", found(metadata))
    with pytest.raises(ServiceError) as caught:
        await create(cloud, kind, body())
    assert caught.value.code == f"{CODES[kind]}Exists"
    assert origin in caught.value.problems[0].summary
    assert caught.value.problems[0].fix
    assert [asked.method for asked in server.asked] == ["POST", "GET"]


async def test_an_object_without_metadata_is_not_adopted(
    cloud: AccountClient, server: Scripted, kind: str
) -> None:
    server.on("POST", f"/{PATHS[kind]}", refusal(409, f"{CODES[kind]}Exists"))
    server.on("GET", f"/{PATHS[kind]}/x", found([]))
    with pytest.raises(ServiceError):
        await create(cloud, kind, Record(id="x"))


async def test_an_object_that_is_being_deleted_is_not_adopted(
    cloud: AccountClient, server: Scripted, kind: str, clock: Time
) -> None:
    server.on("POST", f"/{PATHS[kind]}", refusal(409, f"{CODES[kind]}Exists"))
    server.on("GET", f"/{PATHS[kind]}/x", found(marked(), state="deleting"))
    with pytest.raises(ServiceError):
        await create(cloud, kind, body())
    assert sum(clock.slept) >= 1200


async def test_creation_waits_for_a_deletion(
    cloud: AccountClient, server: Scripted, kind: str
) -> None:
    """The deletion of a pool takes minutes; its id is in use until then, and a little longer."""
    path, code = f"/{PATHS[kind]}", CODES[kind]
    refusals = [f"{code}Exists", f"{code}BeingDeleted", f"{code}BeingDeleted"]
    server.on("POST", path, *(refusal(409, said) for said in refusals), Reply(201))
    leaving, missing = found(marked(), state="deleting"), refusal(404, f"{code}NotFound")
    server.on("GET", f"{path}/x", leaving, leaving, missing)
    assert await create(cloud, kind, body()) is True
    assert len(server.requests("POST", path)) == 4


async def test_deleted(cloud: AccountClient, server: Scripted, kind: str) -> None:
    server.on("DELETE", f"/{PATHS[kind]}/x", Reply(202))
    assert await delete(cloud, kind) is True


async def test_deletion_of_a_missing_object(
    cloud: AccountClient, server: Scripted, kind: str
) -> None:
    server.on("DELETE", f"/{PATHS[kind]}/x", refusal(404, f"{CODES[kind]}NotFound"))
    assert await delete(cloud, kind) is False


async def test_deletion_of_an_object_that_is_being_deleted(
    cloud: AccountClient, server: Scripted, kind: str
) -> None:
    server.on("DELETE", f"/{PATHS[kind]}/x", refusal(409, f"{CODES[kind]}BeingDeleted"))
    assert await delete(cloud, kind) is True


async def test_a_deletion_whose_response_was_lost(
    cloud: AccountClient, server: Scripted, kind: str
) -> None:
    server.on("DELETE", f"/{PATHS[kind]}/x", RESET, refusal(404, f"{CODES[kind]}NotFound"))
    assert await delete(cloud, kind) is True


async def test_absent_is_none(cloud: AccountClient, server: Scripted, kind: str) -> None:
    """The SDK's ``pool_exists`` raises on 404; it is not used."""
    server.on("GET", f"/{PATHS[kind]}/x", refusal(404, f"{CODES[kind]}NotFound"))
    look = {"pool": cloud.pools.get, "job": cloud.jobs.get, "job schedule": cloud.job_schedules.get}
    assert await look[kind]("x") is None


async def test_the_pollers_of_the_sdk_send_nothing(cloud: AccountClient, server: Scripted) -> None:
    """The pollers of the SDK ignore errors; they are not awaited, and send no requests."""
    server.on("DELETE", "/(pools|jobs)/x", Reply(202))
    server.on("POST", "/pools/x/resize", Reply(202))
    server.on("POST", "/jobs/x/terminate", Reply(202))
    await cloud.pools.delete("x")
    await cloud.jobs.delete("x")
    await cloud.pools.resize("x", 1, 0)
    await cloud.jobs.terminate("x", "because")
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.requests("GET") == []
    assert len(server.asked) == 4


async def test_facts_of_a_pool(cloud: AccountClient, server: Scripted) -> None:
    server.on(
        "GET",
        "/pools/x",
        found(
            marked(),
            allocationState="steady",
            currentDedicatedNodes=1,
            targetDedicatedNodes=3,
            targetLowPriorityNodes=2,
            resizeErrors=[
                {
                    "code": "AccountCoreQuotaReached",
                    "message": "No cores",
                    "values": [{"name": "limit", "value": "20"}],
                }
            ],
        ),
    )
    pool = await cloud.pools.get("x")
    assert pool is not None
    assert (pool.state, pool.allocation) == ("active", "steady")
    assert (pool.dedicated, pool.spot, pool.target_dedicated, pool.target_spot) == (1, 0, 3, 2)
    assert pool.resize_errors == (("AccountCoreQuotaReached", "No cores; limit: 20"),)
    assert pool.metadata == {"batchspec:spec": "topn", "batchspec:digest": "d1"}
    assert "odata.metadata" not in pool.properties
    assert pool.properties["targetDedicatedNodes"] == 3


async def test_facts_of_a_job(cloud: AccountClient, server: Scripted) -> None:
    server.on(
        "GET",
        "/jobs/x",
        found(
            marked(),
            state="completed",
            executionInfo={
                "endTime": "2026-11-22T11:00:00Z",
                "terminateReason": "MaxWallClockTimeExpiry",
            },
        ),
    )
    job = await cloud.jobs.get("x")
    assert job is not None
    assert job.created == datetime(2026, 11, 22, 10, 0, 0, 123456, UTC)
    assert job.ended == datetime(2026, 11, 22, 11, tzinfo=UTC)
    assert job.terminate_reason == "MaxWallClockTimeExpiry"


async def test_jobs_by_the_prefix_of_their_id(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", "/jobs", Reply(body={"value": [found(marked()).body]}))
    assert [job.id async for job in cloud.jobs.list("it's")] == ["x"]
    assert server.asked[-1].query["$filter"] == "startswith(id,'it''s')"


async def test_a_resize_waits_for_the_resize_in_progress(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    busy = refusal(409, "PoolBeingResized")
    server.on("POST", "/pools/x/resize", busy, busy, Reply(202))
    server.on("GET", "/pools/x", Reply(body={"targetDedicatedNodes": 9}))
    await cloud.pools.resize("x", 3, 1)
    assert len(server.requests("POST")) == 3
    assert server.asked[-1].json == {"targetDedicatedNodes": 3, "targetLowPriorityNodes": 1}
    assert server.requests("GET")[0].query["$select"] == (
        "targetDedicatedNodes,targetLowPriorityNodes"
    )
    assert clock.slept


async def test_a_resize_whose_response_was_lost(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", "/pools/x/resize", RESET, refusal(409, "PoolBeingResized"))
    server.on("GET", "/pools/x", Reply(body={"targetDedicatedNodes": 3}))
    await cloud.pools.resize("x", 3, 0)
    assert len(server.requests("POST")) == 2


async def test_a_resize_that_does_not_end(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    server.on("POST", "/pools/x/resize", refusal(409, "PoolBeingResized"))
    server.on("GET", "/pools/x", Reply(body={"targetDedicatedNodes": 9}))
    with pytest.raises(ServiceError) as caught:
        await cloud.pools.resize("x", 3, 0)
    assert caught.value.code == "PoolBeingResized"
    assert clock.seconds < 3000


async def test_terminate_sends_the_reason(cloud: AccountClient, server: Scripted) -> None:
    """Without options the SDK raises ValueError before it sends anything."""
    server.on("POST", "/jobs/x/terminate", Reply(202))
    await cloud.jobs.terminate("x", "the time limit passed")
    assert server.asked[-1].json == {"terminateReason": "the time limit passed"}


@pytest.mark.parametrize("code", ["JobCompleted", "JobBeingTerminated", "JobBeingDeleted"])
async def test_terminate_of_a_job_that_has_ended(
    cloud: AccountClient, server: Scripted, code: str
) -> None:
    server.on("POST", "/jobs/x/terminate", refusal(409, code))
    await cloud.jobs.terminate("x", "because")


async def test_terminate_of_a_missing_job(cloud: AccountClient, server: Scripted) -> None:
    server.on("POST", "/jobs/x/terminate", refusal(404, "JobNotFound"))
    with pytest.raises(ServiceError) as caught:
        await cloud.jobs.terminate("x", "because")
    assert caught.value.status == 404


async def test_updates_are_patches(cloud: AccountClient, server: Scripted) -> None:
    server.on("PATCH", "/(pools|jobs)/x", Reply(200))
    await cloud.jobs.update("x", Record(onAllTasksComplete="terminatejob"))
    assert server.asked[-1].json == {"onAllTasksComplete": "terminatejob"}
    await cloud.pools.update("x", Record(taskSlotsPerNode=2), HOUR)
    assert server.asked[-1].json == {"taskSlotsPerNode": 2}


async def test_node_states_without_the_zeros(cloud: AccountClient, server: Scripted) -> None:
    counts = {"creating": 0, "idle": 2, "startTaskFailed": 1, "total": 3}
    server.on(
        "GET",
        "/nodecounts",
        Reply(
            body={
                "value": [
                    {"poolId": "x", "dedicated": counts, "lowPriority": {"idle": 1, "total": 1}}
                ]
            }
        ),
    )
    assert await cloud.pools.get_node_counts("x") == {"idle": 3, "starttaskfailed": 1}
    assert server.asked[-1].query["$filter"] == "poolId eq 'x'"


async def test_unhealthy_nodes(cloud: AccountClient, server: Scripted) -> None:
    server.on(
        "GET",
        "/pools/x/nodes",
        Reply(
            body={
                "value": [
                    {
                        "id": "n1",
                        "state": "starttaskfailed",
                        "startTaskInfo": {
                            "exitCode": 3,
                            "failureInfo": {"code": "FailureExitCode", "message": "it failed"},
                        },
                    },
                    {
                        "id": "n2",
                        "state": "unusable",
                        "errors": [
                            {
                                "code": "DiskFull",
                                "message": "no room",
                                "errorDetails": [{"name": "path", "value": "/mnt"}],
                            }
                        ],
                    },
                ]
            }
        ),
    )
    assert [node async for node in cloud.nodes.list_unhealthy("x")] == [
        NodeFacts("n1", "starttaskfailed", 3, "it failed"),
        NodeFacts("n2", "unusable", None, "no room; path: /mnt"),
    ]
    query = server.asked[-1].query
    assert query["$filter"] == "state eq 'starttaskfailed' or state eq 'unusable'"
    assert query["$select"] == "id,state,startTaskInfo,errors"


async def test_task_counts(cloud: AccountClient, server: Scripted) -> None:
    counts = {"active": 4, "running": 3, "completed": 3, "succeeded": 2, "failed": 1}
    server.on("GET", "/jobs/x/taskcounts", Reply(body={"taskCounts": counts}))
    assert await cloud.jobs.get_task_counts("x") == TaskCounts(4, 3, 2, 1)


async def test_images(cloud: AccountClient, server: Scripted) -> None:
    server.on(
        "GET",
        "/supportedimages",
        Reply(
            body={
                "value": [
                    {
                        "nodeAgentSKUId": "batch.node.ubuntu 24.04",
                        "imageReference": {
                            "publisher": "canonical",
                            "offer": "ubuntu-24_04-lts",
                            "sku": "server",
                            "version": "latest",
                        },
                        "osType": "linux",
                        "verificationType": "verified",
                        "capabilities": ["NvmeCapable"],
                        "batchSupportEndOfLife": "2029-04-30T00:00:00Z",
                    }
                ]
            }
        ),
    )
    (image,) = await cloud.images.list()
    assert (image.offer, image.node_agent) == ("ubuntu-24_04-lts", "batch.node.ubuntu 24.04")
    assert (image.windows, image.verified) == (False, True)
    assert image.end_of_life == datetime(2029, 4, 30, tzinfo=UTC)
