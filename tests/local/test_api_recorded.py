"""Behaviour that only recordings of the real service show; each was found by the replay.

The docstring of a test names its evidence, a recorded test of a public client.
"""

from __future__ import annotations

from typing import Any

import pytest

from batchspec.local.model import NodeState
from tests.local.engine_stub import NOW, finish, idle_node, start
from tests.local.engines import job, pool, task
from tests.local.running import Service

OLDER = "2024-02-01.19.0"


def machine(**image: str) -> dict[str, Any]:
    return {"imageReference": image, "nodeAgentSKUId": "batch.node.windows amd64"}


def test_an_image_of_an_unknown_publisher_is_rejected(service: Service) -> None:
    """azure-cli, test_batch_pool_cmd: publisher a, offer b, sku c."""
    body = pool(virtualMachineConfiguration=machine(publisher="a", offer="b", sku="c"))
    refused = service.request("POST", "/pools", body)
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")
    assert refused.values == {
        "PropertyName": "imageReference",
        "Reason": "The specified imageReference with publisher a offer b sku c is not supported.",
    }


@pytest.mark.parametrize("image", [{}, {"publisher": "canonical"}, {"offer": "o", "sku": "s"}])
def test_an_incomplete_image_is_rejected(service: Service, image: dict[str, str]) -> None:
    """The recorded message names publisher, offer and sku, which an image requires."""
    refused = service.request("POST", "/pools", pool(virtualMachineConfiguration=machine(**image)))
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")
    assert refused.values["PropertyName"] == "imageReference"
    own = {"communityGalleryImageId": "/CommunityGalleries/g/Images/i/Versions/latest"}
    accepted = service.request("POST", "/pools", pool(virtualMachineConfiguration=machine(**own)))
    assert accepted.status == 201, accepted.values


def test_user_accounts_of_windows_pools_have_login_mode_batch(service: Service) -> None:
    """azure-sdk-for-python, test_batch_create_pools."""
    accounts = [{"name": "a", "password": "p"}, {"name": "b", "password": "p"}]
    accounts[1]["elevationLevel"] = "admin"
    windows = machine(publisher="MicrosoftWindowsServer", offer="WindowsServer", sku="2022")
    service.request("POST", "/pools", pool(virtualMachineConfiguration=windows))
    service.request(
        "POST", "/pools", pool("w", virtualMachineConfiguration=windows, userAccounts=accounts)
    )
    login = {"windowsUserConfiguration": {"loginMode": "batch"}}
    assert service.request("GET", "/pools/w").json["userAccounts"] == [
        {"name": "a", "elevationLevel": "nonadmin", **login},
        {"name": "b", "elevationLevel": "admin", **login},
    ]


def test_data_disks_and_network_rules_have_defaults(service: Service) -> None:
    """azure-sdk-for-python, test_batch_create_pools and test_batch_network_configuration."""
    nat = {
        "name": "n",
        "protocol": "udp",
        "backendPort": 64444,
        "frontendPortRangeStart": 60000,
        "frontendPortRangeEnd": 61000,
        "networkSecurityGroupRules": [
            {"priority": 150, "access": "allow", "sourceAddressPrefix": "*"}
        ],
    }
    body = pool(networkConfiguration={"endpointConfiguration": {"inboundNATPools": [nat]}})
    disk = {"lun": 1, "diskSizeGB": 50}
    body["virtualMachineConfiguration"]["dataDisks"] = [disk]
    service.request("POST", "/pools", body)
    shown = service.request("GET", "/pools/p").json
    assert shown["virtualMachineConfiguration"]["dataDisks"] == [{"caching": "none", **disk}]
    network = shown["networkConfiguration"]
    assert network["dynamicVNetAssignmentScope"] == "none"
    (found,) = network["endpointConfiguration"]["inboundNATPools"]
    assert found["networkSecurityGroupRules"][0]["sourcePortRanges"] == ["*"]
    older = service.request("GET", "/pools/p", version=OLDER).json
    (disk,) = older["virtualMachineConfiguration"]["dataDisks"]
    assert disk["storageAccountType"] == "standard_lrs"


def test_replacing_properties_resets_the_communication_mode(service: Service) -> None:
    """azure-cli, test_batch_pool_cmd: a property that only earlier api-versions have."""
    service.request("POST", "/pools", pool())
    empty = {"certificateReferences": [], "applicationPackageReferences": [], "metadata": []}
    done = service.request("POST", "/pools/p/updateproperties", empty, version=OLDER)
    assert done.status == 204
    shown = service.request("GET", "/pools/p", version=OLDER).json
    assert shown["targetNodeCommunicationMode"] == "default"
    assert "targetNodeCommunicationMode" not in service.request("GET", "/pools/p").json


def test_boot_time_and_agent_info_appear_after_the_boot(service: Service) -> None:
    """azure-sdk-for-python, test_batch_compute_nodes."""
    service.request("POST", "/pools", pool())
    found = service.store.pools.get("p")
    assert found is not None
    service.store.nodes.add(found, ["n"], NOW, dedicated=True, slots=1)
    node = service.store.nodes.get("p", "n")
    assert node is not None
    node = service.store.nodes.update(node, NodeState.STARTING, NOW, booted=NOW)
    starting = service.request("GET", "/pools/p/nodes/n").json
    assert not {"lastBootTime", "nodeAgentInfo"} & starting.keys()
    service.store.nodes.update(node, NodeState.IDLE, NOW)
    assert {"lastBootTime", "nodeAgentInfo"} <= service.request(
        "GET", "/pools/p/nodes/n"
    ).json.keys()


def test_endpoints_of_a_node_are_ports_of_this_machine(service: Service) -> None:
    """azure-batch-cli-extensions: every Linux node has a rule for SSH. Here it is true as well:
    a node is this machine.
    """
    service.request("POST", "/pools", pool())
    found = service.store.pools.get("p")
    assert found is not None
    service.store.nodes.add(found, ["n"], NOW, dedicated=True, slots=1)
    shown = service.request("GET", "/pools/p/nodes/n").json
    assert shown["endpointConfiguration"]["inboundEndpoints"] == [
        {
            "name": "SSHRule.0",
            "protocol": "tcp",
            "publicIPAddress": "127.0.0.1",
            "publicFQDN": "localhost",
            "frontendPort": 22,
            "backendPort": 22,
        }
    ]


@pytest.mark.parametrize("url", ["fake.url", "ftp://h/b", "http:/b", "http://[::1"])
def test_a_resource_file_needs_a_valid_url(service: Service, url: str) -> None:
    """azure-batch-cli-extensions, test_batch_extensions_live: httpUrl fake.url."""
    service.request("POST", "/jobs", job())
    body = task("t", "true", resourceFiles=[{"httpUrl": url, "filePath": "f"}])
    refused = service.request("POST", "/jobs/j/tasks", body)
    assert (refused.status, refused.code) == (400, "InvalidPropertyValue")
    assert refused.values == {
        "PropertyName": "httpUrl",
        "PropertyValue": url,
        "Reason": "The specified HttpUrl is not a valid URI",
    }


def test_a_reactivated_task_has_no_node(service: Service) -> None:
    """azure-sdk-for-node, should get task reference: previousState completed, no nodeInfo."""
    service.request("POST", "/jobs", job())
    service.request("POST", "/jobs/j/tasks", task("t", "false"))
    run = start(service, idle_node(service), "t")
    finish(service, run, 1)
    assert "nodeInfo" in service.request("GET", "/jobs/j/tasks/t").json
    service.request("POST", "/jobs/j/tasks/t/reactivate")
    shown = service.request("GET", "/jobs/j/tasks/t").json
    assert (shown["state"], shown["previousState"]) == ("active", "completed")
    assert "nodeInfo" not in shown
    (left,) = service.store.runs.pending_deletions()
    assert (left.node_id, left.directory) == (run.node_id, run.directory)
