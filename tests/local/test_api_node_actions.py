"""Operations on nodes through the SDK, with an engine that carries them out."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from azure.batch import models as m

from batchspec.local.agent import Agent
from batchspec.local.model import LogUpload
from tests.local.blobs import blob_store
from tests.local.engines import job, pool, running_with_engine, task, wait_until
from tests.local.running import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with its engine and a pool ``p`` of two idle nodes with one slot each."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(nodes=2, startTask={"commandLine": "/bin/true"}))
        wait_until(lambda: states(service) == ["idle", "idle"])
        wait_until(lambda: service.client.get_pool("p").allocation_state == "steady")
        yield service
        assert service.violations == []


def states(service: Service) -> list[str]:
    return sorted(node.state for node in service.client.list_nodes("p", select=["state"]))


def first(service: Service) -> str:
    """The id of the first node."""
    return next(iter(service.client.list_nodes("p", select=["id"]))).id


def test_remove_nodes(service: Service) -> None:
    gone = first(service)
    asked = m.BatchNodeRemoveOptions(node_ids=[gone])
    poller = service.client.begin_remove_nodes("p", asked, polling_interval=0.01)
    poller.wait(20)
    assert poller.status() == "Succeeded"
    wait_until(lambda: service.client.get_pool("p").current_dedicated_nodes == 1)
    assert first(service) != gone
    shown = service.client.get_pool("p")
    assert (shown.target_dedicated_nodes, shown.allocation_state) == (1, "steady")
    body = {"nodeList": [gone]}
    assert service.request("POST", "/pools/p/removenodes", body).code == "NodeNotFound"
    body = {"nodeList": [first(service)] * 101}
    assert service.request("POST", "/pools/p/removenodes", body, checked=False).status == 400


@pytest.mark.parametrize("action", ["reboot", "reimage"])
def test_reboot_and_reimage_run_the_start_task_again(service: Service, action: str) -> None:
    node = first(service)
    before = service.client.get_node("p", node)
    shared = service.data / "nodes" / "p" / node / "shared"
    (shared / "kept").write_text("x")
    begin = getattr(service.client, f"begin_{action}_node")
    option = {"reboot": "nodeRebootOption", "reimage": "nodeReimageOption"}[action]
    poller = begin("p", node, options={option: "requeue"}, polling_interval=0.01)
    poller.wait(20)
    assert poller.status() == "Succeeded"
    wait_until(lambda: states(service) == ["idle", "idle"])
    after = service.client.get_node("p", node)
    assert after.last_boot_time > before.last_boot_time
    assert after.start_task_info.start_time > before.start_task_info.start_time
    assert (shared / "kept").exists() == (action == "reboot")


def test_the_task_of_a_rebooted_node_is_requeued(service: Service) -> None:
    service.client.create_job(job())
    service.client.create_task("j", task("t", "sleep 60"))
    wait_until(lambda: service.client.get_task("j", "t").state == "running")
    node = service.client.get_task("j", "t").node_info.node_id
    service.request("POST", f"/pools/p/nodes/{node}/reboot", {"nodeRebootOption": "requeue"})
    wait_until(lambda: service.client.get_task("j", "t").execution_info.requeue_count == 1)
    wait_until(lambda: service.client.get_task("j", "t").state == "running")


def test_deallocate_and_start(service: Service) -> None:
    node = first(service)
    assert service.request("POST", f"/pools/p/nodes/{node}/start").status == 409
    poller = service.client.begin_deallocate_node(
        "p", node, options={"nodeDeallocateOption": "terminate"}, polling_interval=0.01
    )
    poller.wait(20)
    wait_until(lambda: states(service) == ["deallocated", "idle"])
    (counts,) = service.client.list_pool_node_counts()
    assert (counts.dedicated.deallocated, counts.dedicated.total) == (1, 2)
    service.client.begin_start_node("p", node, polling_interval=0.01).wait(20)
    wait_until(lambda: states(service) == ["idle", "idle"])


def test_no_task_starts_on_a_node_with_disabled_scheduling(service: Service) -> None:
    node = first(service)
    service.client.disable_node_scheduling(
        "p", node, options={"nodeDisableSchedulingOption": "requeue"}
    )
    wait_until(lambda: states(service) == ["idle", "offline"])
    assert service.client.get_node("p", node).scheduling_state == "disabled"
    again = service.request("POST", f"/pools/p/nodes/{node}/disablescheduling")
    assert (again.status, again.code) == (409, "NodeAlreadyInTargetSchedulingState")
    service.client.create_job(job())
    service.client.create_tasks("j", [task(f"t{n}", "true") for n in range(4)])
    wait_until(lambda: service.client.get_job_task_counts("j").task_counts.succeeded == 4)
    used = {one.node_info.node_id for one in service.client.list_tasks("j")}
    assert node not in used
    service.client.enable_node_scheduling("p", node)
    wait_until(lambda: states(service) == ["idle", "idle"])


def test_extensions_are_kept_and_shown_as_failed(service: Service) -> None:
    node = f"/pools/p/nodes/{first(service)}"
    assert list(service.client.list_node_extensions("p", first(service))) == []
    assert service.request("GET", f"{node}/extensions/x").code == "VMExtensionNotFound"
    extension = {"name": "script", "publisher": "Microsoft.Azure.Extensions", "type": "Script"}
    given = {**extension, "protectedSettings": {"key": "secret of the test"}}
    machine = {**pool()["virtualMachineConfiguration"], "extensions": [given]}
    service.client.create_pool(pool("e", virtualMachineConfiguration=machine))
    wait_until(lambda: [one.state for one in service.client.list_nodes("e")] == ["idle"])
    answer = service.request("GET", "/pools/e")
    assert answer.json["virtualMachineConfiguration"]["extensions"] == [extension]
    assert b"secret of the test" not in answer.body
    (on_node,) = service.client.list_nodes("e")
    (found,) = service.client.list_node_extensions("e", on_node.id)
    assert (found.provisioning_state, found.vm_extension.name) == ("Failed", "script")
    assert "runs no extensions" in found.instance_view.statuses[0].message
    assert (
        service.client.get_node_extension("e", on_node.id, "script").instance_view.name == "script"
    )


async def test_the_log_of_a_node_is_uploaded(service: Service) -> None:
    """Recorded: the directory ends with the pool, the node and the id of the request."""
    node = first(service)
    service.client.create_job(job())
    service.client.create_tasks("j", [task(f"t{n}", "exit 3") for n in range(4)])
    wait_until(lambda: service.client.get_job_task_counts("j").task_counts.failed == 4)
    used = {one.node_info.node_id for one in service.client.list_tasks("j")}
    node = min(used)
    path = f"/pools/p/nodes/{node}/uploadbatchservicelogs"
    async with blob_store() as blobs:
        blobs.containers = {"c": {}}
        given = {"containerUrl": blobs.container("c"), "startTime": "2026-01-01T00:00:00Z"}
        reply = await asyncio.to_thread(service.request, "POST", path, given)
        await asyncio.to_thread(wait_until, lambda: bool(blobs.containers["c"]))
    directory = reply.json["virtualDirectoryName"]
    assert directory.endswith(f"/p/{node}/{reply.headers['request-id']}")
    assert reply.json["numberOfFilesUploaded"] == 1
    ((name, content),) = blobs.containers["c"].items()
    assert name == f"{directory}/agent-debug.log"
    text = content.decode()
    assert "node waitingforstarttask" in text
    assert ": task t" in text and "ended with exit code 3 (FailureExitCode)" in text


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("{}/missing?sv=1&sig=secret%2Fsignature%3D", "not uploaded: 404 ContainerNotFound"),
        ("http://[::1/c?sig=secret", "not uploaded: 0 InvalidUrl"),
        ("{}/bug?sig=secret", "RuntimeError: a bug"),
    ],
)
async def test_a_log_that_cannot_be_uploaded_is_only_logged(
    service: Service,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    message: str,
) -> None:
    upload = Agent.upload_log

    async def broken(agent: Agent, asked: LogUpload) -> None:
        if "/bug?" in asked.container:
            raise RuntimeError("a bug")
        await upload(agent, asked)

    monkeypatch.setattr(Agent, "upload_log", broken)
    path = f"/pools/p/nodes/{first(service)}/uploadbatchservicelogs"
    async with blob_store() as blobs:
        given = {"containerUrl": url.format(blobs.url), "startTime": "2026-01-01T00:00:00Z"}
        reply = await asyncio.to_thread(service.request, "POST", path, given)
        assert reply.status == 200
        await asyncio.to_thread(wait_until, lambda: "was not uploaded" in caplog.text)
        # The request contained a SAS.
        await asyncio.to_thread(wait_until, lambda: stored_requests(service) == 0)
    assert message in caplog.text
    assert "secret" not in caplog.text


def stored_requests(service: Service) -> int:
    """The number of requests for logs in the store."""
    with closing(sqlite3.connect(service.data / "batch.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM log_upload").fetchone()[0]
        return count
