"""The engine under the service, with real processes, as a client sees it: pools and nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.engines import (
    WAIT,
    job,
    pool,
    processes_of,
    release_tasks,
    running_with_engine,
    task,
    wait_until,
)
from tests.local.running import Service


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    with running_with_engine(tmp_path / "batch") as service:
        yield service
        assert service.violations == []
    assert processes_of(tmp_path) == []


def nodes(batch: Service) -> list[Any]:
    return list(batch.client.list_nodes("p"))


def states(batch: Service) -> list[str]:
    return sorted(node.state.value for node in nodes(batch))


def steady(batch: Service) -> Any:
    wait_until(lambda: batch.client.get_pool("p").allocation_state.value == "steady")
    return batch.client.get_pool("p")


def start(script: str, **more: Any) -> dict[str, Any]:
    assert "'" not in script
    return {"commandLine": f"/bin/sh -c '{script}'", **more}


def resize(batch: Service, **given: Any) -> None:
    assert batch.request("POST", "/pools/p/resize", given).status == 202


def running_task(batch: Service, task_id: str = "t", **more: Any) -> None:
    batch.client.create_task("j", task(task_id, WAIT, **more))
    wait_until(lambda: state(batch, task_id) == "running")


def state(batch: Service, task_id: str = "t") -> str:
    return str(batch.client.get_task("j", task_id).state.value)


def test_a_task_runs_on_the_node_of_its_affinity_if_it_has_free_slots(batch: Service) -> None:
    batch.client.create_pool(pool(nodes=3))
    batch.client.create_job(job())
    wait_until(lambda: states(batch) == ["idle"] * 3)
    for number, node in enumerate(nodes(batch)):
        wish = {"affinityInfo": {"affinityId": node.affinity_id}}
        running_task(batch, f"t{number}", **wish)
        shown = batch.client.get_task("j", f"t{number}")
        assert shown.node_info.node_id == node.id
        assert shown.affinity_info.affinity_id == shown.node_info.affinity_id == node.affinity_id
        if number == 0:
            # The node is busy now, so that the next task runs on the other node.
            running_task(batch, "other", **wish)
            assert batch.client.get_task("j", "other").node_info.node_id != node.id
            batch.client.terminate_task("j", "other")
            wait_until(lambda: sorted(states(batch)) == ["idle", "idle", "running"])
    release_tasks(batch)
    gone = {"affinityInfo": {"affinityId": "TVM:tvmps_none"}}
    batch.client.create_task("j", task("gone", "true", **gone))
    wait_until(lambda: state(batch, "gone") == "completed")


def test_a_pool_of_a_windows_image_gets_no_node_and_shows_the_reason(batch: Service) -> None:
    body = pool(nodes=2, targetLowPriorityNodes=1)
    machine = body["virtualMachineConfiguration"]
    machine["nodeAgentSKUId"] = "batch.node.windows amd64"
    batch.client.create_pool(body)
    found = steady(batch)
    assert nodes(batch) == []
    assert [error.code for error in found.resize_errors] == ["AllocationFailed"] * 2
    assert "low priority nodes" in found.resize_errors[1].message
    assert "the embedded service has only Linux nodes" in found.resize_errors[0].message
    resize(batch, targetDedicatedNodes=0, targetLowPriorityNodes=0)
    assert not steady(batch).resize_errors


def test_a_pool_grows_and_shrinks(batch: Service) -> None:
    batch.client.create_pool(pool(nodes=2, targetLowPriorityNodes=1))
    found = steady(batch)
    assert (found.current_dedicated_nodes, found.current_low_priority_nodes) == (2, 1)
    wait_until(lambda: states(batch) == ["idle"] * 3)
    assert Counter(node.is_dedicated for node in nodes(batch)) == {True: 2, False: 1}
    kept = {node.id for node in nodes(batch)}
    resize(batch, targetDedicatedNodes=4)
    found = steady(batch)
    assert (found.current_dedicated_nodes, found.current_low_priority_nodes) == (4, 1)
    assert kept < {node.id for node in nodes(batch)}
    resize(batch, targetDedicatedNodes=1, targetLowPriorityNodes=0)
    found = steady(batch)
    assert (found.current_dedicated_nodes, found.current_low_priority_nodes) == (1, 0)
    assert found.resize_errors is None
    left = [path.name for path in (batch.data / "nodes" / "p").iterdir()]
    assert left == [node.id for node in nodes(batch)]


def test_a_node_has_its_directories(batch: Service) -> None:
    batch.client.create_pool(pool())
    wait_until(lambda: states(batch) == ["idle"])
    (node,) = nodes(batch)
    names = {file.name for file in batch.client.list_node_files("p", node.id)}
    assert names == {"applications", "fsmounts", "shared", "startup", "volatile", "workitems"}


def test_a_start_task_precedes_the_tasks(batch: Service) -> None:
    script = "echo ready > $AZ_BATCH_NODE_SHARED_DIR/app; pwd; env | grep -c TASK_ID"
    settings = [{"name": "X", "value": "1"}]
    batch.client.create_pool(pool(nodes=2, startTask=start(f"{script}; true")))
    del settings
    batch.client.create_job(job())
    batch.client.create_task("j", task("t", "cat $AZ_BATCH_NODE_SHARED_DIR/app"))
    wait_until(lambda: state(batch) == "completed")
    assert batch.client.get_task("j", "t").execution_info.exit_code == 0
    wait_until(lambda: states(batch) == ["idle", "idle"])
    for node in nodes(batch):
        info = node.start_task_info
        assert (info.state, info.exit_code, info.result) == ("completed", 0, "success")
        out = b"".join(batch.client.download_node_file("p", node.id, "startup/stdout.txt"))
        assert out.decode() == f"{batch.data}/nodes/p/{node.id}/startup/wd\n0\n"


def test_a_failed_start_task_keeps_tasks_off_the_node(batch: Service) -> None:
    failing = start("echo x >> tries; echo why >&2; exit 3", maxTaskRetryCount=2)
    batch.client.create_pool(pool(startTask=failing))
    batch.client.create_job(job())
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: states(batch) == ["starttaskfailed"])
    (node,) = nodes(batch)
    info = node.start_task_info
    assert (info.exit_code, info.retry_count, info.failure_info.code) == (3, 2, "FailureExitCode")
    tries = b"".join(batch.client.download_node_file("p", node.id, "startup/wd/tries"))
    assert tries == b"x\n" * 3
    assert state(batch) == "active"
    assert steady(batch).current_dedicated_nodes == 1


def test_a_start_task_without_wait_runs_beside_the_tasks(batch: Service) -> None:
    batch.client.create_pool(pool(startTask=start(WAIT, waitForSuccess=False)))
    batch.client.create_job(job())
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch) == "completed")
    (node,) = nodes(batch)
    assert node.start_task_info.state == "running"
    release_tasks(batch)
    wait_until(lambda: nodes(batch)[0].start_task_info.state == "completed")


@pytest.mark.parametrize(
    ("option", "after", "requeued"),
    [("requeue", "active", 1), ("terminate", "completed", 0)],
)
def test_a_removed_node_requeues_its_task(
    batch: Service, option: str, after: str, requeued: int
) -> None:
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    running_task(batch)
    resize(batch, targetDedicatedNodes=0, nodeDeallocationOption=option)
    wait_until(lambda: nodes(batch) == [])
    assert state(batch) == after
    assert batch.client.get_task("j", "t").execution_info.requeue_count == requeued
    assert processes_of(batch.data, "sleep") == []
    assert steady(batch).current_dedicated_nodes == 0


def test_a_node_may_finish_its_tasks_before_removal(batch: Service) -> None:
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    running_task(batch)
    resize(batch, targetDedicatedNodes=0, nodeDeallocationOption="taskcompletion")
    batch.client.create_task("j", task("next", "true"))
    assert batch.client.get_pool("p").allocation_state == "resizing"
    assert state(batch) == "running"
    release_tasks(batch)
    wait_until(lambda: nodes(batch) == [])
    assert (state(batch), state(batch, "next")) == ("completed", "active")


def test_a_stopped_resize_reports_missing_nodes(batch: Service) -> None:
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    running_task(batch)
    resize(batch, targetDedicatedNodes=0, nodeDeallocationOption="taskcompletion")
    assert batch.request("POST", "/pools/p/stopresize").status == 202
    found = steady(batch)
    (error,) = found.resize_errors
    assert error.code == "ResizeStopped"
    assert "dedicated nodes could not be allocated due to a stop resize" in error.message
    assert (found.current_dedicated_nodes, found.target_dedicated_nodes) == (1, 0)
    release_tasks(batch)
    wait_until(lambda: state(batch) == "completed")
    assert states(batch) == ["idle"]


def test_a_deleted_pool_requeues_its_tasks_and_leaves_nothing(batch: Service) -> None:
    batch.client.create_pool(pool(nodes=2, startTask=start(WAIT, waitForSuccess=False)))
    batch.client.create_job(job())
    running_task(batch)
    batch.client.begin_delete_pool("p")
    wait_until(lambda: batch.request("GET", "/pools/p").status == 404)
    assert state(batch) == "active"
    assert processes_of(batch.data, "sleep") == []
    assert not (batch.data / "nodes" / "p").exists()
    batch.client.create_pool(pool(nodes=1))
    wait_until(lambda: state(batch) == "running")


@pytest.mark.parametrize(("fill", "spread"), [("Spread", [1, 1]), ("Pack", [0, 2])])
def test_tasks_are_spread_or_packed(batch: Service, fill: str, spread: list[int]) -> None:
    policy = {"nodeFillType": fill}
    batch.client.create_pool(pool(nodes=2, taskSlotsPerNode=2, taskSchedulingPolicy=policy))
    wait_until(lambda: states(batch) == ["idle", "idle"])
    batch.client.create_job(job())
    running_task(batch, "a")
    running_task(batch, "b")
    assert sorted(node.running_tasks_count for node in nodes(batch)) == spread


def test_many_nodes_are_added_and_removed(batch: Service) -> None:
    batch.client.create_pool(pool(nodes=200))
    wait_until(lambda: batch.client.get_pool("p").current_dedicated_nodes == 200)
    wait_until(lambda: set(states(batch)) == {"idle"})
    batch.client.begin_delete_pool("p")
    wait_until(lambda: batch.request("GET", "/pools/p").status == 404)
