"""Pools with a managed identity: requests to Azure Resource Manager, and its responses."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from batchspec.cloud import AccountClient
from batchspec.diagnostics import ConflictError, ServiceError
from batchspec.plan.metadata import DIGEST, ORIGIN, SPEC
from batchspec.spec import Record
from tests.cloud.conftest import Time
from tests.cloud.scripted import RESET, Reply, Scripted

ACCOUNT = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/batchspec"
    "/providers/Microsoft.Batch/batchAccounts/acct"
)
POOL = f"{ACCOUNT}/pools/x"
ID = (
    "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity"
    "/userAssignedIdentities/nodes"
)
METADATA = {SPEC: "demo", DIGEST: "1", ORIGIN: "here"}


def body(**more: Any) -> Record:
    pairs = tuple(Record(name=name, value=value) for name, value in METADATA.items())
    identity = Record(type="UserAssigned", userAssignedIdentities=(Record(resourceId=ID),))
    return Record({"id": "x", "vmSize": "a", "metadata": pairs, "identity": identity, **more})


def refused(status: int, code: str, message: str = "why") -> Reply:
    """An error in the form of Resource Manager."""
    return Reply(status, {"error": {"code": code, "message": message, "target": "BatchAccount"}})


def existing(metadata: dict[str, str], state: str = "active") -> Reply:
    """The pool as the Batch service shows it."""
    pairs = [{"name": name, "value": value} for name, value in metadata.items()]
    return Reply(body={"id": "x", "state": state, "metadata": pairs})


def found(etag: str = 'W/"1"', **properties: Any) -> Reply:
    """The pool as Resource Manager shows it."""
    return Reply(body={"id": POOL, "name": "x", "etag": etag, "properties": properties})


async def test_a_pool_is_created_unless_it_exists(cloud: AccountClient, server: Scripted) -> None:
    server.on("PUT", POOL, found())
    packages = (Record(applicationId="tool"),)
    given = body(
        targetDedicatedNodes=2,
        taskSchedulingPolicy=Record(nodeFillType="pack"),
        applicationPackageReferences=packages,
    )
    assert await cloud.control_plane.pools.create(given, timedelta())
    (asked,) = server.asked
    assert asked.headers["If-None-Match"] == "*"
    assert asked.json == {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {ID: {}}},
        "properties": {
            "vmSize": "a",
            "metadata": [{"name": name, "value": value} for name, value in METADATA.items()],
            "scaleSettings": {"fixedScale": {"targetDedicatedNodes": 2}},
            "taskSchedulingPolicy": {"nodeFillType": "Pack"},
            "applicationPackages": [{"id": f"{ACCOUNT}/applications/tool"}],
        },
    }


@pytest.mark.parametrize(
    "refusal", [refused(412, "PreconditionFailed"), refused(409, "Conflict")], ids=["412", "409"]
)
async def test_a_pool_that_exists_is_adopted_or_refused_by_its_metadata(
    cloud: AccountClient, server: Scripted, refusal: Reply
) -> None:
    server.on("PUT", POOL, refusal)
    server.on(
        "GET",
        "/pools/x",
        existing(METADATA),
        existing({**METADATA, DIGEST: "2", ORIGIN: "elsewhere"}),
        existing({**METADATA, SPEC: "other"}),
    )
    assert not await cloud.control_plane.pools.create(body(), timedelta())
    with pytest.raises(ConflictError):
        await cloud.control_plane.pools.create(body(), timedelta())
    with pytest.raises(ServiceError, match="spec other"):
        await cloud.control_plane.pools.create(body(), timedelta())


async def test_a_creation_whose_response_was_lost(cloud: AccountClient, server: Scripted) -> None:
    server.on("PUT", POOL, RESET, refused(412, "PreconditionFailed"))
    server.on("GET", "/pools/x", existing(METADATA))
    assert await cloud.control_plane.pools.create(body(), timedelta())


async def test_a_creation_waits_for_a_deletion(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    server.on("PUT", POOL, refused(409, "Conflict"), found())
    server.on("GET", "/pools/x", existing(METADATA, "deleting"))
    assert await cloud.control_plane.pools.create(body(), timedelta())
    assert clock.slept


async def test_other_conflicts_are_reported_unchanged(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("PUT", POOL, refused(409, "PoolQuotaReached"))
    server.on("GET", "/pools/x", Reply(404, {"code": "PoolNotFound"}))
    with pytest.raises(ServiceError) as caught:
        await cloud.control_plane.pools.create(body(), timedelta())
    assert caught.value.code == "PoolQuotaReached"


@pytest.mark.parametrize("code", ["AuthorizationFailed", "LinkedAuthorizationFailed"])
async def test_a_missing_role_is_named(cloud: AccountClient, server: Scripted, code: str) -> None:
    server.on(
        "PUT", POOL, refused(403, code, "no action Microsoft.Batch/batchAccounts/pools/write")
    )
    with pytest.raises(ServiceError) as caught:
        await cloud.control_plane.pools.create(body(), timedelta())
    (problem,) = caught.value.problems
    role = "Managed Identity Operator" if code.startswith("Linked") else "Azure Batch Data"
    assert role in problem.fix
    assert "pools/write" in problem.detail


@pytest.mark.parametrize(
    ("action", "role"),
    [
        (
            "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action",
            "Managed Identity Operator",
        ),
        ("Microsoft.Network/virtualNetworks/subnets/join/action", "Network Contributor"),
        ("Microsoft.Compute/galleries/images/versions/read", "Reader"),
    ],
)
async def test_a_missing_role_on_a_resource_of_the_pool_is_named(
    cloud: AccountClient, server: Scripted, action: str, role: str
) -> None:
    """The text is that of a response of Resource Manager (planetary-computer-hub#25)."""
    text = (
        "The client 'x' with object id 'ME' has permission to perform action"
        " 'Microsoft.Batch/batchAccounts/pools/write' on scope '/subscriptions/s/pool'; however, it"
        f" does not have permission to perform action '{action}' on the linked scope(s)"
        " '/subscriptions/s/linked' or the linked scope(s) are invalid."
    )
    server.on("PUT", POOL, refused(403, "LinkedAuthorizationFailed", text))
    with pytest.raises(ServiceError) as caught:
        await cloud.control_plane.pools.create(body(), timedelta())
    (problem,) = caught.value.problems
    assert f'--assignee ME --role "{role}" --scope /subscriptions/s/linked`' in problem.fix


async def test_a_change_has_the_etag_of_the_pool(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", POOL, found(taskSlotsPerNode=1))
    server.on("PATCH", POOL, found())
    await cloud.control_plane.pools.update("x", Record(taskSlotsPerNode=2), timedelta())
    asked = server.asked[-1]
    assert asked.headers["If-Match"] == 'W/"1"'
    assert asked.json == {"properties": {"taskSlotsPerNode": 2}}


async def test_an_etag_that_changes_with_the_state_is_read_again(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", POOL, found('W/"1"', taskSlotsPerNode=1), found('W/"2"', taskSlotsPerNode=1))
    server.on("PATCH", POOL, refused(412, "PreconditionFailed"), found())
    await cloud.control_plane.pools.update("x", Record(taskSlotsPerNode=2), timedelta())
    assert server.asked[-1].headers["If-Match"] == 'W/"2"'


async def test_a_change_by_another_client_is_not_overwritten(
    cloud: AccountClient, server: Scripted
) -> None:
    server.on("GET", POOL, found('W/"1"', taskSlotsPerNode=1), found('W/"2"', taskSlotsPerNode=4))
    server.on("PATCH", POOL, refused(412, "PreconditionFailed"), found())
    with pytest.raises(ConflictError, match="another client changed the pool x"):
        await cloud.control_plane.pools.update("x", Record(taskSlotsPerNode=2), timedelta())
    assert len(server.requests("PATCH")) == 1


async def test_a_change_whose_response_was_lost(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", POOL, found('W/"1"', taskSlotsPerNode=1), found('W/"2"', taskSlotsPerNode=2))
    server.on("PATCH", POOL, RESET, refused(412, "PreconditionFailed"), found())
    await cloud.control_plane.pools.update("x", Record(taskSlotsPerNode=2), timedelta())
    assert server.asked[-1].headers["If-Match"] == 'W/"2"'


async def test_a_resize_waits_for_another(
    cloud: AccountClient, server: Scripted, clock: Time
) -> None:
    server.on("GET", POOL, found())
    server.on("GET", "/pools/x", existing(METADATA))
    server.on("PATCH", POOL, refused(409, "PoolBeingResized"), found())
    await cloud.control_plane.pools.resize("x", 3, 1, "PT20M")
    assert clock.slept
    scale = {"targetDedicatedNodes": 3, "targetLowPriorityNodes": 1, "resizeTimeout": "PT20M"}
    assert server.asked[-1].json == {"properties": {"scaleSettings": {"fixedScale": scale}}}


async def test_autoscale_is_set_and_removed(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", POOL, found())
    server.on("PATCH", POOL, found())
    server.on("POST", f"{POOL}/disableAutoScale", found())
    await cloud.control_plane.pools.enable_autoscale("x", "$a = 1;", "PT10M")
    scale = {"autoScale": {"formula": "$a = 1;", "evaluationInterval": "PT10M"}}
    assert server.asked[-1].json == {"properties": {"scaleSettings": scale}}
    await cloud.control_plane.pools.disable_autoscale("x")
    assert server.asked[-1].path == f"{POOL}/disableAutoScale"


async def test_a_deletion_is_requested_and_not_waited_for(
    cloud: AccountClient, server: Scripted
) -> None:
    location = {"Location": f"{server.url}{ACCOUNT}/poolOperationResults/delete-x"}
    server.on("DELETE", POOL, Reply(202, headers=location), Reply(204))
    assert await cloud.control_plane.pools.delete("x")
    assert not await cloud.control_plane.pools.delete("x")
    assert [asked.method for asked in server.asked] == ["DELETE", "DELETE"]


async def test_no_resource_provider_is_registered(cloud: AccountClient, server: Scripted) -> None:
    server.on("GET", POOL, refused(409, "MissingSubscriptionRegistration"))
    with pytest.raises(ServiceError) as caught:
        await cloud.control_plane.pools.update("x", Record(taskSlotsPerNode=2), timedelta())
    assert "az provider register" in caught.value.problems[0].fix
    assert [asked.method for asked in server.asked] == ["GET"]
