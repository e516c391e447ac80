"""What is asked of nodes, through the SDK, with an engine that does it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.batch import models as m

from tests.local.engines import engined, job, pool, task, until
from tests.local.running import Service


@pytest.fixture
def whole(tmp_path: Path) -> Iterator[Service]:
    """A service with its engine and a pool ``p`` of two idle nodes, each of one slot."""
    with engined(tmp_path / "batch") as service:
        service.client.create_pool(pool(nodes=2, startTask={"commandLine": "/bin/true"}))
        until(lambda: states(service) == ["idle", "idle"])
        until(lambda: service.client.get_pool("p").allocation_state == "steady")
        yield service
        assert service.wrong == []


def states(service: Service) -> list[str]:
    return sorted(node.state for node in service.client.list_nodes("p", select=["state"]))


def first(service: Service) -> str:
    """The id of a node."""
    return next(iter(service.client.list_nodes("p", select=["id"]))).id


def test_remove_nodes(whole: Service) -> None:
    gone = first(whole)
    poller = whole.client.begin_remove_nodes("p", m.BatchNodeRemoveOptions(node_ids=[gone]))
    poller.wait(20)
    assert poller.status() == "Succeeded"
    until(lambda: whole.client.get_pool("p").current_dedicated_nodes == 1)
    assert first(whole) != gone
    shown = whole.client.get_pool("p")
    assert (shown.target_dedicated_nodes, shown.allocation_state) == (1, "steady")
    body = {"nodeList": [gone]}
    assert whole.request("POST", "/pools/p/removenodes", body).code == "NodeNotFound"
    body = {"nodeList": [first(whole)] * 101}
    assert whole.request("POST", "/pools/p/removenodes", body, judged=False).status == 400


@pytest.mark.parametrize("action", ["reboot", "reimage"])
def test_reboot_and_reimage_run_the_start_task_again(whole: Service, action: str) -> None:
    node = first(whole)
    before = whole.client.get_node("p", node)
    shared = whole.data / "nodes" / "p" / node / "shared"
    (shared / "kept").write_text("x")
    begin = getattr(whole.client, f"begin_{action}_node")
    option = {"reboot": "nodeRebootOption", "reimage": "nodeReimageOption"}[action]
    poller = begin("p", node, options={option: "requeue"}, polling_interval=0.01)
    poller.wait(20)
    assert poller.status() == "Succeeded"
    until(lambda: states(whole) == ["idle", "idle"])
    after = whole.client.get_node("p", node)
    assert after.last_boot_time > before.last_boot_time
    assert after.start_task_info.start_time > before.start_task_info.start_time
    assert (shared / "kept").exists() == (action == "reboot")


def test_a_rebooted_node_gives_its_task_back(whole: Service) -> None:
    whole.client.create_job(job())
    whole.client.create_task("j", task("t", "sleep 60"))
    until(lambda: whole.client.get_task("j", "t").state == "running")
    node = whole.client.get_task("j", "t").node_info.node_id
    whole.request("POST", f"/pools/p/nodes/{node}/reboot", {"nodeRebootOption": "requeue"})
    until(lambda: whole.client.get_task("j", "t").execution_info.requeue_count == 1)
    until(lambda: whole.client.get_task("j", "t").state == "running")


def test_deallocate_and_start(whole: Service) -> None:
    node = first(whole)
    assert whole.request("POST", f"/pools/p/nodes/{node}/start").status == 409
    poller = whole.client.begin_deallocate_node(
        "p", node, options={"nodeDeallocateOption": "terminate"}, polling_interval=0.01
    )
    poller.wait(20)
    until(lambda: states(whole) == ["deallocated", "idle"])
    (counts,) = whole.client.list_pool_node_counts()
    assert (counts.dedicated.deallocated, counts.dedicated.total) == (1, 2)
    whole.client.begin_start_node("p", node, polling_interval=0.01).wait(20)
    until(lambda: states(whole) == ["idle", "idle"])


def test_no_task_is_started_where_scheduling_is_disabled(whole: Service) -> None:
    node = first(whole)
    whole.client.disable_node_scheduling(
        "p", node, options={"nodeDisableSchedulingOption": "requeue"}
    )
    until(lambda: states(whole) == ["idle", "offline"])
    assert whole.client.get_node("p", node).scheduling_state == "disabled"
    again = whole.request("POST", f"/pools/p/nodes/{node}/disablescheduling")
    assert (again.status, again.code) == (409, "NodeAlreadyInTargetSchedulingState")
    whole.client.create_job(job())
    whole.client.create_tasks("j", [task(f"t{n}", "true") for n in range(4)])
    until(lambda: whole.client.get_job_task_counts("j").task_counts.succeeded == 4)
    used = {one.node_info.node_id for one in whole.client.list_tasks("j")}
    assert node not in used
    whole.client.enable_node_scheduling("p", node)
    until(lambda: states(whole) == ["idle", "idle"])


def test_what_nodes_do_not_have(whole: Service) -> None:
    node = f"/pools/p/nodes/{first(whole)}"
    assert list(whole.client.list_node_extensions("p", first(whole))) == []
    assert whole.request("GET", f"{node}/extensions/x").code == "VMExtensionNotFound"
    logs = {"containerUrl": "http://x/c", "startTime": "2026-01-01T00:00:00Z"}
    assert whole.request("POST", f"{node}/uploadbatchservicelogs", logs).status == 501
