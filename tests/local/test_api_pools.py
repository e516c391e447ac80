"""Pools through the SDK: create, read, list, change, resize, delete."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.batch import models as m
from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError

from batchspec.local.model import NodeState
from tests.local.engines import WAIT, pool, release_tasks, running_with_engine, task, wait_until
from tests.local.running import Service

IMAGE = {"publisher": "canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts"}
BODY: dict[str, Any] = {
    "id": "Pool-1",
    "vmSize": "STANDARD_D2S_V3",
    "virtualMachineConfiguration": {
        "imageReference": IMAGE,
        "nodeAgentSKUId": "batch.node.ubuntu 22.04",
    },
}


def test_a_new_pool_has_the_recorded_defaults(service: Service) -> None:
    service.client.create_pool(
        m.BatchPoolCreateOptions(
            id="Pool-1",
            vm_size="STANDARD_D2S_V3",
            virtual_machine_configuration=m.VirtualMachineConfiguration(
                node_agent_sku_id="batch.node.ubuntu 22.04",
                image_reference=m.BatchVmImageReference(**IMAGE),
            ),
            target_dedicated_nodes=2,
            start_task=m.BatchStartTask(command_line="/bin/true"),
            metadata=[m.BatchMetadataItem(name="k", value="v")],
        )
    )
    shown = service.request("GET", "/pools/pool-1").json
    # The order and the spelling are those of a recorded reply.
    assert list(shown) == [
        "odata.metadata",
        "id",
        "url",
        "eTag",
        "lastModified",
        "creationTime",
        "state",
        "stateTransitionTime",
        "allocationState",
        "allocationStateTransitionTime",
        "vmSize",
        "resizeTimeout",
        "currentDedicatedNodes",
        "targetDedicatedNodes",
        "currentLowPriorityNodes",
        "targetLowPriorityNodes",
        "enableAutoScale",
        "enableInterNodeCommunication",
        "startTask",
        "metadata",
        "taskSlotsPerNode",
        "taskSchedulingPolicy",
        "virtualMachineConfiguration",
    ]
    assert shown["odata.metadata"] == f"{service.url}/$metadata#pools/@Element"
    assert (shown["id"], shown["vmSize"]) == ("Pool-1", "standard_d2s_v3")
    assert (shown["state"], shown["allocationState"]) == ("active", "resizing")
    assert (shown["resizeTimeout"], shown["taskSlotsPerNode"]) == ("PT15M", 1)
    assert shown["taskSchedulingPolicy"] == {"nodeFillType": "Spread", "jobDefaultOrder": "none"}
    assert shown["startTask"] == {
        "commandLine": "/bin/true",
        "userIdentity": {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}},
        "maxTaskRetryCount": 0,
        "waitForSuccess": True,
    }
    assert shown["virtualMachineConfiguration"]["imageReference"]["version"] == "latest"


def test_the_reply_to_create_has_the_recorded_headers_and_no_body(service: Service) -> None:
    answer = service.request("POST", "/pools", BODY)
    assert (answer.status, answer.body) == (201, b"")
    assert answer.headers["location"] == f"{service.url}/pools/Pool-1"
    assert answer.headers["dataserviceid"] == f"{service.url}/pools/Pool-1"
    assert answer.headers["dataserviceversion"] == "3.0"
    assert answer.headers["etag"].startswith("0x8D")
    assert answer.headers["last-modified"].endswith("GMT")
    assert answer.headers["etag"] == service.request("GET", "/pools/Pool-1").json["eTag"]


def test_ids_are_case_insensitive_and_keep_their_spelling(service: Service) -> None:
    service.request("POST", "/pools", BODY)
    again = service.request("POST", "/pools", {**BODY, "id": "pOOL-1"})
    assert (again.status, again.code) == (409, "PoolExists")
    assert service.client.get_pool("POOL-1").id == "Pool-1"


def test_numbers_as_strings_and_enum_values_in_any_case_are_accepted(service: Service) -> None:
    body = {
        **BODY,
        "targetDedicatedNodes": "2",
        "taskSchedulingPolicy": {"nodeFillType": "PACK"},
    }
    assert service.request("POST", "/pools", body, checked=False).status == 201
    pool = service.client.get_pool("Pool-1")
    assert pool.target_dedicated_nodes == 2
    assert pool.task_scheduling_policy.node_fill_type == "Pack"


def test_a_pool_that_does_not_exist(service: Service) -> None:
    assert service.request("GET", "/pools/nope").code == "PoolNotFound"
    answer = service.request("HEAD", "/pools/nope")
    assert (answer.status, answer.body) == (404, b"")
    service.request("POST", "/pools", BODY)
    assert service.client.pool_exists("pool-1")


def test_a_list_is_sorted_by_id_across_pages(service: Service) -> None:
    for name in ("b", "A", "d", "C"):
        service.request("POST", "/pools", {**BODY, "id": name})
    assert [pool.id for pool in service.client.list_pools(max_results=1)] == ["A", "b", "C", "d"]
    page = service.request("GET", "/pools", query="maxresults=2&$select=id").json
    assert page["value"] == [{"id": "A"}, {"id": "b"}]
    assert "$skiptoken=" in page["odata.nextLink"]
    assert "$select=id" in page["odata.nextLink"]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("state eq 'active'", ["a", "ab"]),
        ("id eq 'AB'", ["ab"]),
        ("startswith(id,'A') and vmSize eq 'standard_d2s_v3'", ["a", "ab"]),
        ("allocationState eq 'steady' or id lt 'ab'", ["a"]),
        ("creationTime gt 2099-01-01T00:00:00Z", []),
    ],
)
def test_filters(service: Service, text: str, ids: list[str]) -> None:
    for name in ("a", "ab"):
        service.request("POST", "/pools", {**BODY, "id": name})
    assert [pool.id for pool in service.client.list_pools(filter=text)] == ids


def test_patch_replaces_given_properties(service: Service) -> None:
    service.request("POST", "/pools", {**BODY, "metadata": [{"name": "a", "value": "1"}]})
    before = service.request("GET", "/pools/Pool-1").json
    service.client.update_pool(
        "Pool-1", m.BatchPoolUpdateOptions(start_task=m.BatchStartTask(command_line="x"))
    )
    after = service.request("GET", "/pools/Pool-1").json
    assert after["startTask"]["commandLine"] == "x"
    assert after["metadata"] == before["metadata"]
    assert after["eTag"] != before["eTag"]


def test_some_properties_change_only_in_an_empty_pool(tmp_path: Path) -> None:
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(nodes=1))
        free = {"metadata": [], "startTask": {"commandLine": "true"}}
        fixed = {"vmSize": "standard_d4s_v3", "displayName": "x", "taskSlotsPerNode": 2}
        assert service.request("PATCH", "/pools/p", free).status == 200
        for name, value in fixed.items():
            refused = service.request("PATCH", "/pools/p", {name: value})
            assert (refused.status, refused.code) == (409, "OperationInvalidForCurrentState")
            assert name in refused.values["Reason"]
        resize(service, 0)
        assert service.request("PATCH", "/pools/p", fixed).status == 200
        shown = service.request("GET", "/pools/p").json
        assert fixed.items() <= shown.items()
        resize(service, 1)
        service.client.create_job({"id": "j", "poolInfo": {"poolId": "p"}})
        service.client.create_tasks("j", [task(name, WAIT) for name in "ab"])
        wait_until(lambda: service.client.get_job_task_counts("j").task_counts.running == 2)
        release_tasks(service)


def resize(service: Service, nodes: int) -> None:
    """Resize the pool after completing the previous resize."""
    wait_until(lambda: service.client.get_pool("p").allocation_state == "steady")
    asked = service.request("POST", "/pools/p/resize", {"targetDedicatedNodes": nodes})
    assert asked.status == 202
    wait_until(lambda: service.client.get_pool("p").allocation_state == "steady")


def test_updateproperties_removes_missing_properties(service: Service) -> None:
    body = {**BODY, "startTask": {"commandLine": "x"}, "metadata": [{"name": "a", "value": "1"}]}
    service.request("POST", "/pools", body)
    service.client.replace_pool_properties(
        "Pool-1", m.BatchPoolReplaceOptions(application_package_references=[], metadata=[])
    )
    shown = service.request("GET", "/pools/Pool-1").json
    assert "startTask" not in shown
    assert "metadata" not in shown


def test_a_resize_during_a_resize_is_rejected(service: Service) -> None:
    service.request("POST", "/pools", BODY)
    resize = {"targetDedicatedNodes": 3, "nodeDeallocationOption": "taskcompletion"}
    refused = service.request("POST", "/pools/Pool-1/resize", resize)
    assert (refused.status, refused.code) == (409, "PoolBeingResized")
    pool = service.store.pools.get("pool-1")
    assert pool is not None
    service.store.pools.complete_resize(pool, pool.created, ({"code": "AllocationFailed"},))
    assert service.request("GET", "/pools/Pool-1").json["resizeErrors"]
    accepted = service.request("POST", "/pools/Pool-1/resize", resize)
    assert accepted.status == 202
    assert accepted.headers["dataserviceid"] == f"{service.url}/pools/Pool-1/resize"
    shown = service.request("GET", "/pools/Pool-1").json
    assert (shown["allocationState"], shown["targetDedicatedNodes"]) == ("resizing", 3)
    assert "resizeErrors" not in shown
    assert service.request("POST", "/pools/Pool-1/stopresize").status == 202
    assert service.client.get_pool("Pool-1").allocation_state == "stopping"


def test_a_short_resize_timeout_is_rejected(service: Service) -> None:
    answer = service.request("POST", "/pools", {**BODY, "resizeTimeout": "PT4M59S"})
    assert (answer.status, answer.code) == (400, "InvalidPropertyValue")
    assert answer.values["PropertyName"] == "resizeTimeout"


def test_a_deleted_pool_is_deleting_until_the_engine_removes_it(service: Service) -> None:
    service.request("POST", "/pools", BODY)
    poller = service.client.begin_delete_pool("Pool-1", polling_interval=0.01)
    answer = service.request("DELETE", "/pools/Pool-1")
    assert (answer.status, answer.code) == (409, "PoolBeingDeleted")
    assert service.request("PATCH", "/pools/Pool-1", {"metadata": []}).code == "PoolBeingDeleted"
    assert service.client.get_pool("Pool-1").state == "deleting"
    pool = service.store.pools.get("pool-1")
    assert pool is not None
    service.store.pools.remove(pool)
    poller.wait(10)
    assert poller.status() == "Succeeded"
    assert service.request("GET", "/pools/Pool-1").status == 404


def test_conditions(service: Service) -> None:
    service.request("POST", "/pools", BODY)
    for spelling in ("{0}", '"{0}"', "*"):
        etag = service.request("GET", "/pools/Pool-1").headers["etag"]
        tag = spelling.format(etag)
        same = service.request("GET", "/pools/Pool-1", headers={"if-none-match": tag})
        assert (same.status, same.body) == (304, b"")
        done = service.request(
            "PATCH", "/pools/Pool-1", {"metadata": []}, headers={"if-match": tag}
        )
        assert done.status == 200
        assert done.headers["etag"] != etag
    with pytest.raises(HttpResponseError) as error:
        service.client.update_pool(
            "Pool-1",
            m.BatchPoolUpdateOptions(metadata=[]),
            etag="0x8D0000000000000",
            match_condition=MatchConditions.IfNotModified,
        )
    assert error.value.error.code == "ConditionNotMet"


def test_nodes_are_counted_and_listed(service: Service) -> None:
    service.request("POST", "/pools", {**BODY, "startTask": {"commandLine": "x"}})
    store = service.store
    pool = store.pools.get("pool-1")
    assert pool is not None
    now = pool.created
    store.nodes.add(pool, ["tvmps_b_d", "tvmps_a_d"], now, dedicated=True, slots=2)
    store.nodes.add(pool, ["tvmps_c_p"], now, dedicated=False, slots=2)
    node = store.nodes.get("pool-1", "TVMPS_A_D")
    assert node is not None
    started = store.nodes.update(node, NodeState.STARTING, now, booted=now)
    info = {"state": "completed", "startTime": "2026-01-01T00:00:00Z", "retryCount": 0}
    store.nodes.update(started, NodeState.IDLE, now, start_task_info=info)
    nodes = list(service.client.list_nodes("Pool-1", max_results=2))
    assert [node.id for node in nodes] == ["tvmps_a_d", "tvmps_b_d", "tvmps_c_p"]
    assert [node.is_dedicated for node in nodes] == [True, True, False]
    assert [n.id for n in service.client.list_nodes("Pool-1", filter="state eq 'idle'")] == [
        "tvmps_a_d"
    ]
    shown = service.request("GET", "/pools/Pool-1/nodes/tvmps_a_d")
    assert "etag" not in shown.headers
    assert shown.json["affinityId"] == "TVM:tvmps_a_d"
    assert shown.json["startTaskInfo"] == info
    for text, count in (("lt 2026-01-01T00:00:01Z", 1), ("gt 2026-01-01T00:00:00.5Z", 0)):
        when = f"startTaskInfo/startTime {text}"
        assert len(list(service.client.list_nodes("Pool-1", filter=when))) == count
    ended = "startTaskInfo/endTime gt 2020-01-01T00:00:00Z"
    assert list(service.client.list_nodes("Pool-1", filter=ended)) == []
    (counts,) = service.client.list_pool_node_counts(filter="poolId eq 'Pool-1'")
    assert (counts.dedicated.idle, counts.dedicated.creating, counts.dedicated.total) == (1, 1, 2)
    assert counts.low_priority.total == 1
    assert service.client.get_pool("Pool-1").current_dedicated_nodes == 2
    assert service.request("GET", "/pools/Pool-1/nodes/x").code == "NodeNotFound"
    assert service.request("GET", "/pools/nope/nodes").code == "PoolNotFound"


def test_a_resize_timeout_as_the_sdk_writes_it(service: Service) -> None:
    service.client.create_pool({**BODY, "resizeTimeout": "PT01H00M00S"})
    assert service.client.get_pool("Pool-1").resize_timeout == timedelta(hours=1)
    assert service.request("GET", "/pools/Pool-1").json["resizeTimeout"] == "PT1H"


def test_a_custom_image_must_be_in_a_gallery(service: Service) -> None:
    image = {"virtualMachineImageId": "/subscriptions/s/resourceGroups/g/providers/x/images/i"}
    machine = {**BODY["virtualMachineConfiguration"], "imageReference": image}
    answer = service.request("POST", "/pools", {**BODY, "virtualMachineConfiguration": machine})
    assert (answer.status, answer.code) == (400, "InvalidPropertyValue")
    assert answer.values["PropertyName"] == "virtualMachineImageId"
    assert answer.values["Reason"].endswith(  # as recorded
        "Microsoft.Compute/galleries/{galleryName}/images/{galleryImageName}"
    )


def test_older_clients_get_the_properties_of_their_version(service: Service) -> None:
    older = "2024-02-01.19.0"
    body = {**BODY, "resourceTags": {"a": "b"}, "certificateReferences": []}
    assert service.request("POST", "/pools", body, version=older).status == 201
    shown = service.request("GET", "/pools/Pool-1", version=older).json
    assert (shown["certificateReferences"], shown["resourceTags"]) == ([], {"a": "b"})
    assert "resourceTags" not in service.request("GET", "/pools/Pool-1").json
    retired = {**BODY, "id": "x", "cloudServiceConfiguration": {"osFamily": "4"}}
    answer = service.request("POST", "/pools", retired, version=older)
    assert answer.code == "CloudServiceConfigurationRetired"


_NOWHERE = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers"


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (
            "virtualMachineImageId",
            {
                "virtualMachineConfiguration": {
                    "imageReference": {
                        "virtualMachineImageId": _NOWHERE
                        + "/Microsoft.Compute/galleries/l/images/i"
                    },
                    "nodeAgentSKUId": "batch.node.ubuntu 22.04",
                }
            },
        ),
        (
            "subnetId",
            {
                "networkConfiguration": {
                    "subnetId": f"{_NOWHERE}/Microsoft.Network/virtualNetworks/v/subnets/s"
                }
            },
        ),
    ],
)
def test_resources_of_a_subscription_that_cannot_exist_are_rejected(
    service: Service, name: str, change: dict[str, Any]
) -> None:
    """Recorded, azure-sdk-for-python: "is in a different subscription"."""
    refused = service.request("POST", "/pools", {**pool(), **change})
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")
    assert refused.values["PropertyName"] == name
    assert "different subscription" in refused.values["Reason"]
