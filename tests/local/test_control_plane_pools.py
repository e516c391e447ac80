"""Pools of the control plane, through azure-mgmt-batch; azure-batch sees them, too.

The service has no engine, so that a pool keeps the state that the request gave it.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.batch import BatchManagementClient

from batchspec.local.fault_injection import parse_fault_injection
from batchspec.local.service import default_engine
from batchspec.property_rules import arm_pool, batch_pool
from tests.local.management import GROUP, MACHINE, Management, account_path, management_client
from tests.local.running import ACCOUNT, Service, running
from tests.plan.test_arm_pool import pools

IDENTITY = (
    "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/batchspec/providers"
    "/Microsoft.ManagedIdentity/userAssignedIdentities/reader"
)
FIXED = {"fixedScale": {"targetDedicatedNodes": 2}}


def body(**changes: Any) -> dict[str, Any]:
    """The parameters of a pool; ``changes`` are properties."""
    properties = {"vmSize": "Standard_D2s_v3", "deploymentConfiguration": MACHINE, **changes}
    return {"properties": {name: value for name, value in properties.items() if value is not None}}


def settle(service: Service, name: str) -> None:
    """End the resize of a pool, as the engine does."""
    pool = service.store.pools.get(name)
    assert pool is not None
    service.store.pools.complete_resize(pool, pool.modified)


def test_a_new_pool_has_the_recorded_form(management: Management) -> None:
    answer = management.request("PUT", "pools/p", body(scaleSettings=FIXED, displayName="shown"))
    pool, properties = answer.json, answer.json["properties"]
    assert answer.status == 200
    assert answer.headers["etag"] == pool["etag"]
    assert pool["etag"].startswith('W/"0x8D')
    assert pool["id"] == f"{account_path(management.place)}/pools/p"
    assert list(pool) == ["id", "name", "type", "etag", "properties"]
    assert properties["vmSize"] == "STANDARD_D2S_V3"
    assert properties["provisioningState"] == "Succeeded"
    assert properties["allocationState"] == "Resizing"
    assert properties["interNodeCommunication"] == "Disabled"
    assert properties["taskSlotsPerNode"] == 1
    assert properties["taskSchedulingPolicy"]["nodeFillType"] == "Spread"
    machine = properties["deploymentConfiguration"]["virtualMachineConfiguration"]
    assert machine["imageReference"]["version"] == "latest"
    assert properties["scaleSettings"] == {
        "fixedScale": {
            "resizeTimeout": "PT15M",
            "targetDedicatedNodes": 2,
            "targetLowPriorityNodes": 0,
        }
    }
    resize = properties["resizeOperationStatus"]
    assert resize.pop("startTime") == properties["creationTime"]
    assert resize == {
        "targetDedicatedNodes": 2,
        "nodeDeallocationOption": "Requeue",
        "resizeTimeout": "PT15M",
    }
    assert management.request("GET", "pools/P").json["name"] == "p"


def test_a_start_task_and_users_get_the_defaults_and_no_passwords(management: Management) -> None:
    given = body(
        startTask={
            "commandLine": "true",
            "userIdentity": {"autoUser": {"elevationLevel": "Admin"}},
        },
        userAccounts=[{"name": "ada", "password": "secret-of-ada"}],
    )
    answer = management.request("PUT", "pools/p", given)
    assert answer.json["properties"]["startTask"] == {
        "commandLine": "true",
        "userIdentity": {"autoUser": {"scope": "Pool", "elevationLevel": "Admin"}},
        "maxTaskRetryCount": 0,
        "waitForSuccess": True,
    }
    assert answer.json["properties"]["userAccounts"] == [
        {"name": "ada", "elevationLevel": "NonAdmin"}
    ]
    assert b"secret-of-ada" not in answer.body


def test_a_pool_with_an_identity_is_seen_by_both_planes(
    service: Service, arm: BatchManagementClient
) -> None:
    parameters: Any = {
        **body(scaleSettings=FIXED),
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}},
        "tags": {"team": "lab"},
    }
    created = arm.pool.create(
        GROUP, ACCOUNT, "p", parameters, match_condition=MatchConditions.IfMissing
    )
    assert created.identity is not None and created.tags == {"team": "lab"}
    found = created.identity.user_assigned_identities[IDENTITY]
    assert found.client_id and found.principal_id and found.client_id != found.principal_id
    pool = service.client.get_pool("p")
    assert pool.identity is not None and pool.identity.type == "UserAssigned"
    [seen] = pool.identity.user_assigned_identities or []
    assert (seen.resource_id, seen.client_id) == (IDENTITY, found.client_id)
    assert (pool.vm_size, pool.target_dedicated_nodes) == ("standard_d2s_v3", 2)
    assert [each.name for each in arm.pool.list_by_batch_account(GROUP, ACCOUNT)] == ["p"]


def test_an_update_of_the_data_plane_keeps_the_identity(
    service: Service, management: Management
) -> None:
    identity = {"type": "UserAssigned", "userAssignedIdentities": {IDENTITY: {}}}
    management.request("PUT", "pools/p", {**body(), "identity": identity})
    service.client.update_pool("p", {"metadata": [{"name": "a", "value": "b"}]})
    pool = management.request("GET", "pools/p").json
    assert pool["properties"]["metadata"] == [{"name": "a", "value": "b"}]
    assert IDENTITY in pool["identity"]["userAssignedIdentities"]


@pytest.mark.parametrize(
    "identity",
    [
        {"type": "UserAssigned"},
        {"type": "UserAssigned", "userAssignedIdentities": {"reader": {}}},
        {"type": "SystemAssigned"},
        {"type": "None", "userAssignedIdentities": {IDENTITY: {}}},
    ],
)
def test_an_identity_that_cannot_be_attached_is_refused(
    management: Management, identity: dict[str, Any]
) -> None:
    answer = management.request("PUT", "pools/p", {**body(), "identity": identity})
    error = answer.json["error"]
    assert (answer.status, error["code"]) == (400, "InvalidPropertyValue")
    assert management.request("GET", "pools/p").status == 404


def test_conditions_protect_a_pool(arm: BatchManagementClient, management: Management) -> None:
    first = arm.pool.create(GROUP, ACCOUNT, "p", body())  # type: ignore[arg-type]
    answer = management.request("PUT", "pools/p", body(), headers={"if-none-match": "*"})
    assert (answer.status, answer.json["error"]["code"]) == (412, "ConditionNotMet")
    changed = arm.pool.update(
        GROUP,
        ACCOUNT,
        "p",
        {"properties": {"metadata": [{"name": "a", "value": "b"}]}},  # type: ignore[arg-type]
        etag=first.etag,
        match_condition=MatchConditions.IfNotModified,
    )
    assert changed.etag != first.etag
    for method in ("PUT", "PATCH"):
        answer = management.request(
            method, "pools/p", body(), headers={"if-match": str(first.etag)}
        )
        assert answer.status == 412
    answer = management.request("PUT", "pools/other", body(), headers={"if-match": "*"})
    assert answer.status == 412
    assert management.request("GET", "pools/other").status == 404


def test_put_replaces_and_patch_changes(service: Service, management: Management) -> None:
    metadata = [{"name": "a", "value": "b"}]
    start = {"commandLine": "true"}
    management.request("PUT", "pools/p", body(metadata=metadata, startTask=start))
    settle(service, "p")
    changed = management.request("PATCH", "pools/p", {"properties": {"metadata": []}})
    assert "metadata" not in changed.json["properties"]
    assert changed.json["properties"]["startTask"]["commandLine"] == "true"
    removed = management.request("PATCH", "pools/p", {"properties": {"startTask": {}}})
    assert "startTask" not in removed.json["properties"]
    replaced = management.request("PUT", "pools/p", body(displayName="new", metadata=metadata))
    assert replaced.json["properties"]["displayName"] == "new"
    replaced = management.request("PUT", "pools/p", body())
    assert "displayName" not in replaced.json["properties"]
    assert "metadata" not in replaced.json["properties"]


def test_the_identity_is_replaced_and_removed(management: Management) -> None:
    def identity(name: str) -> dict[str, Any]:
        assigned = {IDENTITY + name: {}}
        return {"identity": {"type": "UserAssigned", "userAssignedIdentities": assigned}}

    management.request("PUT", "pools/p", {**body(), **identity("")})
    changed = management.request("PATCH", "pools/p", identity("2"))
    assert list(changed.json["identity"]["userAssignedIdentities"]) == [IDENTITY + "2"]
    kept = management.request("PATCH", "pools/p", {"properties": {"displayName": "x"}})
    assert kept.status == 409  # the pool is being resized
    removed = management.request("PATCH", "pools/p", {"identity": {"type": "None"}})
    assert "identity" not in removed.json


def test_some_properties_change_only_in_an_empty_pool(
    service: Service, management: Management
) -> None:
    management.request("PUT", "pools/p", body(scaleSettings=FIXED))
    for method in ("PUT", "PATCH"):
        answer = management.request(method, "pools/p", body(vmSize="standard_d4s_v3"))
        assert answer.json["error"]["code"] == "OperationInvalidForCurrentState"
        assert "vmSize" in answer.json["error"]["details"][0]["message"]
    # The same value is no change, whatever its case.
    assert management.request("PATCH", "pools/p", body()).status == 200


def test_scale_settings_resize_the_pool(service: Service, arm: BatchManagementClient) -> None:
    arm.pool.create(GROUP, ACCOUNT, "p", body(scaleSettings=FIXED))  # type: ignore[arg-type]
    target: Any = {"fixedScale": {"targetDedicatedNodes": 3, "nodeDeallocationOption": "Terminate"}}
    with pytest.raises(HttpResponseError) as caught:
        arm.pool.update(GROUP, ACCOUNT, "p", {"properties": {"scaleSettings": target}})  # type: ignore[arg-type]
    assert caught.value.error is not None and caught.value.error.code == "PoolBeingResized"
    settle(service, "p")
    resized = arm.pool.update(GROUP, ACCOUNT, "p", {"properties": {"scaleSettings": target}})  # type: ignore[arg-type]
    assert resized.allocation_state == "Resizing"
    assert resized.resize_operation_status is not None
    assert resized.resize_operation_status.node_deallocation_option == "Terminate"
    stopping = arm.pool.stop_resize(GROUP, ACCOUNT, "p")
    assert stopping.allocation_state == "Stopping"


def test_auto_scale_is_set_and_disabled(service: Service, management: Management) -> None:
    management.request("PUT", "pools/p", body())
    settle(service, "p")
    scale = {"autoScale": {"formula": "$TargetDedicatedNodes=1"}}
    found = management.request("PATCH", "pools/p", {"properties": {"scaleSettings": scale}}).json
    assert found["properties"]["scaleSettings"] == {
        "autoScale": {"formula": "$TargetDedicatedNodes=1", "evaluationInterval": "PT15M"}
    }
    stopped = management.request("POST", "pools/p/stopResize")
    assert (stopped.status, stopped.json["error"]["code"]) == (
        409,
        "OperationInvalidForCurrentState",
    )
    assert "AutoScale enabled" in stopped.json["error"]["details"][0]["message"]
    disabled = management.request("POST", "pools/p/disableAutoScale").json
    assert list(disabled["properties"]["scaleSettings"]) == ["fixedScale"]


def test_deletion_is_a_long_running_operation(
    service: Service, arm: BatchManagementClient, management: Management
) -> None:
    arm.pool.create(GROUP, ACCOUNT, "p", body())  # type: ignore[arg-type]
    poller = arm.pool.begin_delete(GROUP, ACCOUNT, "p", polling=False)
    assert poller.done()
    deleting = management.request("GET", "pools/p").json
    assert deleting["properties"]["provisioningState"] == "Deleting"
    pending = management.request("GET", "poolOperationResults/delete-p")
    assert (pending.status, pending.body, pending.headers["retry-after"]) == (202, b"", "1")
    assert pending.headers["location"] == (
        f"{service.url}{account_path(service)}/poolOperationResults/delete-p?api-version=2025-06-01"
    )
    again = management.request("PUT", "pools/p", body())
    assert again.json["error"]["code"] == "PoolBeingDeleted"
    pool = service.store.pools.get("p")
    assert pool is not None
    service.store.pools.remove(pool)
    done = management.request("GET", "poolOperationResults/delete-p")
    assert (done.status, done.body) == (200, b"")
    assert management.request("DELETE", "pools/p").status == 204
    with pytest.raises(ResourceNotFoundError) as caught:
        arm.pool.get(GROUP, ACCOUNT, "p")
    assert caught.value.error is not None and caught.value.error.code == "PoolNotFound"


def test_the_engine_carries_out_what_the_control_plane_writes(tmp_path: Path) -> None:
    with (
        running(tmp_path / "batch", make_engine=default_engine) as service,
        management_client(service) as arm,
    ):
        arm.pool.create(GROUP, ACCOUNT, "p", body())  # type: ignore[arg-type]
        arm.pool.begin_delete(GROUP, ACCOUNT, "p").result()
        with pytest.raises(ResourceNotFoundError):
            arm.pool.get(GROUP, ACCOUNT, "p")


def test_lists_are_filtered_selected_and_paged(
    arm: BatchManagementClient, management: Management
) -> None:
    for name in ("a", "b", "c"):
        size = "standard_d4s_v3" if name == "c" else "standard_d2s_v3"
        arm.pool.create(GROUP, ACCOUNT, name, body(vmSize=size))  # type: ignore[arg-type]
    pages = arm.pool.list_by_batch_account(GROUP, ACCOUNT, maxresults=2).by_page()
    assert [[pool.name for pool in page] for page in pages] == [["a", "b"], ["c"]]
    found = arm.pool.list_by_batch_account(
        GROUP,
        ACCOUNT,
        select="properties/vmSize",
        filter="properties/vmSize eq 'STANDARD_D4S_V3' and "
        "properties/allocationState eq 'Resizing'",
    )
    [pool] = found
    assert (pool.name, pool.vm_size, pool.allocation_state) == ("c", "STANDARD_D4S_V3", None)
    wrong = management.request("GET", "pools", query="api-version=2025-06-01&$select=name")
    assert wrong.json["error"]["code"] == "InvalidQueryParameterValue"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"vmSize": 3}, "properties.vmSize"),
        (
            {"scaleSettings": {"fixedScale": {"targetDedicatedNodes": "x"}}},
            "properties.scaleSettings.fixedScale.targetDedicatedNodes",
        ),
        ({"interNodeCommunication": "Perhaps"}, "properties.interNodeCommunication"),
        ({"taskSlotsPerNode": 0}, "properties.taskSlotsPerNode"),
        (
            {"userAccounts": [{"name": "a", "password": "p"}, {"name": "b", "password": 1}]},
            "properties.userAccounts[1].password",
        ),
        (
            {
                "deploymentConfiguration": {
                    "virtualMachineConfiguration": {
                        **MACHINE["virtualMachineConfiguration"],
                        "nodeAgentSkuId": 1,
                    }
                }
            },
            "properties.deploymentConfiguration.virtualMachineConfiguration.nodeAgentSkuId",
        ),
    ],
)
def test_errors_name_the_path_of_the_property(
    management: Management, change: dict[str, Any], path: str
) -> None:
    answer = management.request("PUT", "pools/p", body(**change))
    error = answer.json["error"]
    details = {each["code"]: each["message"] for each in error["details"]}
    assert (answer.status, error["code"]) == (400, "InvalidPropertyValue")
    assert details["PropertyPath"] == path
    assert details["PropertyName"] == path.rpartition(".")[2]


@pytest.mark.parametrize(
    "properties",
    [
        {"virtualMachineConfiguration": MACHINE["virtualMachineConfiguration"]},
        {"enableAutoScale": True},
        {"targetDedicatedNodes": 1},
        {"applicationPackageReferences": []},
        {"scaleSettings": {"other": {}}},
        {"unknown": 1},
    ],
)
def test_properties_of_the_data_plane_are_unknown(
    management: Management, properties: dict[str, Any]
) -> None:
    answer = management.request("PUT", "pools/p", body(**properties))
    assert (answer.status, answer.json["error"]["code"]) == (400, "InvalidRequestBody")


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"properties": []}', b'{"extra": 1}', b"null"])
def test_a_body_that_is_not_a_pool_is_refused(management: Management, content: bytes) -> None:
    answer = management.request("PUT", "pools/p", content)
    assert (answer.status, answer.json["error"]["code"]) == (400, "InvalidRequestBody")


def test_the_quota_of_pools_is_enforced(tmp_path: Path) -> None:
    faults = parse_fault_injection("pool-quota=1")
    with running(tmp_path / "batch", faults=faults) as service:
        management = Management(service)
        assert management.request("PUT", "pools/a", body()).status == 200
        assert management.request("PUT", "pools/a", body()).status == 200
        answer = management.request("PUT", "pools/b", body())
        assert (answer.status, answer.json["error"]["code"]) == (409, "PoolQuotaReached")


@pytest.mark.parametrize("given", list(pools()))
def test_every_property_is_the_same_in_both_directions(given: dict[str, Any]) -> None:
    account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Batch/batchAccounts/lab"
    given = {name: value for name, value in given.items() if name != "id"}
    given["enableInterNodeCommunication"] = given["enableInterNodeCommunication"] is not False
    back = batch_pool(arm_pool(given, account))
    automatic = "autoScaleFormula" in given
    unsaid = {"targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout"}
    unsaid = unsaid if automatic else {"enableAutoScale"}
    expected = {name: value for name, value in given.items() if name not in unsaid}
    assert lower(back) == lower({**expected, **({"enableAutoScale": True} if automatic else {})})


def lower(value: Any) -> Any:
    """``value`` with words in lower case, which enums of the data plane ignore."""
    if isinstance(value, dict):
        return {name: lower(item) for name, item in value.items()}
    if isinstance(value, list):
        return [lower(item) for item in value]
    return value.lower() if isinstance(value, str) else value


def test_the_table_of_the_mapping_is_followed() -> None:
    table = Path(__file__).parents[3] / "shared" / "arm" / "pool-mapping.csv"
    if not table.is_file():
        pytest.skip("the reference of the mapping is not next to the project")
    with table.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["spec_key"]]
    for row in rows:
        source, target = row["data_plane_wire"], row["arm_wire"]
        if source == "enableAutoScale" or not target.startswith("properties/"):
            continue
        value: Any = "x"
        for name in reversed(target.split("/")):
            value = {name: value}
        found: Any = batch_pool(value)
        for name in source.split("/"):
            assert name in found, (source, target)
            found = found[name]
