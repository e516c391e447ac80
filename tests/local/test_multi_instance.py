"""Multi-instance tasks under the service, with real processes on several nodes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
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
    """A service with a pool of three nodes that multi-instance tasks can run in, and a job."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(nodes=3, enableInterNodeCommunication=True))
        service.client.create_job(job())
        yield service
        assert service.violations == []
    assert processes_of(tmp_path) == []


def together(
    task_id: str, coordination: str, script: str, nodes: int = 3, **more: Any
) -> dict[str, Any]:
    """A multi-instance task of two shell scripts."""
    assert "'" not in coordination
    command = f"/bin/sh -c '{coordination}'"
    settings = {"numberOfInstances": nodes, "coordinationCommandLine": command}
    return task(task_id, script, multiInstanceSettings=settings, **more)


def state(batch: Service, task_id: str = "t") -> str:
    return str(batch.client.get_task("j", task_id).state.value)


def ended(batch: Service, task_id: str = "t") -> Any:
    wait_until(lambda: state(batch, task_id) == "completed")
    return batch.client.get_task("j", task_id).execution_info


def nodes(batch: Service) -> list[Any]:
    return list(batch.client.list_nodes("p"))


def idle(batch: Service, count: int = 3) -> None:
    wait_until(lambda: [node.state.value for node in nodes(batch)] == ["idle"] * count)


def output(batch: Service, node: str, name: str = "stdout.txt", task_id: str = "t") -> str:
    path = f"workitems/j/job-1/{task_id}/{name}"
    return b"".join(batch.client.download_node_file("p", node, path)).decode()


def test_all_nodes_coordinate_before_the_primary_runs(batch: Service) -> None:
    # The scripts meet in the directory that all instances share.
    coordination = "echo ready > $AZ_BATCH_TASK_SHARED_DIR/$AZ_BATCH_NODE_ID; env"
    script = "cat $AZ_BATCH_TASK_SHARED_DIR/tvmps_*; echo main $AZ_BATCH_IS_CURRENT_NODE_MASTER"
    batch.client.create_task("j", together("t", coordination, script))
    info = ended(batch)
    assert (info.exit_code, info.result) == (0, "success")
    shown = batch.client.get_task("j", "t")
    primary = shown.node_info.node_id
    assert shown.multi_instance_settings.number_of_instances == 3
    subtasks = list(batch.client.list_subtasks("j", "t"))
    assert [one.id for one in subtasks] == [1, 2]
    members = [primary, *(one.node_info.node_id for one in subtasks)]
    assert sorted(members) == [node.id for node in nodes(batch)]
    assert all((one.exit_code, one.result, one.state) == (0, "success", "completed")
               for one in subtasks)  # fmt: skip
    assert all(one.start_time <= one.end_time for one in subtasks)
    addresses = {node.id: node.ip_address for node in nodes(batch)}
    assert len(set(addresses.values())) == 3
    in_order = [addresses[node] for node in members]
    assert output(batch, primary).splitlines()[-4:] == ["ready"] * 3 + ["main true"]
    shared = str(batch.data / "nodes/p" / primary / "workitems/j/job-1/t")
    for at, node in enumerate(members):
        seen = dict(line.split("=", 1) for line in output(batch, node).splitlines() if "=" in line)
        assert seen["AZ_BATCH_NODE_LIST"] == ";".join(in_order)
        assert seen["AZ_BATCH_HOST_LIST"] == ",".join(in_order)
        assert seen["AZ_BATCH_MASTER_NODE"] == f"{in_order[0]}:6000"
        assert seen["AZ_BATCH_IS_CURRENT_NODE_MASTER"] == ("false" if at else "true")
        assert seen["AZ_BATCH_TASK_SHARED_DIR"] == shared
        assert seen["AZ_BATCH_NODE_ID"] == node
        assert seen["CCP_NODES"].split()[0] == "3"
        assert seen["CCP_NODES"].split()[1::2] == in_order
    idle(batch)
    assert [node.total_tasks_run for node in nodes(batch)] == [1, 1, 1]


def test_processes_of_the_coordination_live_until_the_task_ends(batch: Service) -> None:
    coordination = "sleep 1000 & echo $! > $AZ_BATCH_TASK_SHARED_DIR/pid.$AZ_BATCH_NODE_ID"
    script = "for pid in $(cat $AZ_BATCH_TASK_SHARED_DIR/pid.*); do kill -0 $pid || exit 9; done"
    batch.client.create_task("j", together("t", coordination, script))
    assert ended(batch).exit_code == 0
    idle(batch)
    assert processes_of(batch.data, "sleep 1000") == []


def test_a_failed_subtask_fails_the_task_which_is_retried_completely(
    batch: Service, tmp_path: Path
) -> None:
    # The subtask that creates the directory fails once.
    coordination = "[ $AZ_BATCH_IS_CURRENT_NODE_MASTER = true ] || ! mkdir $OUT/failed"
    more = {
        "constraints": {"maxTaskRetryCount": 2},
        "environmentSettings": [{"name": "OUT", "value": str(tmp_path)}],
    }
    batch.client.create_task("j", together("t", coordination, "true", **more))
    info = ended(batch)
    assert (info.exit_code, info.retry_count) == (0, 1)
    batch.client.create_task("j", together("u", "exit 3", "echo never"))
    info = ended(batch, "u")
    assert (info.exit_code, info.result, info.failure_info.code) == (
        3, "failure", "FailureExitCode"
    )  # fmt: skip
    primary = batch.client.get_task("j", "u").node_info.node_id
    assert output(batch, primary, task_id="u") == ""
    subtasks = list(batch.client.list_subtasks("j", "u"))
    assert {one.result for one in subtasks} == {"failure"}
    idle(batch)


def test_a_terminated_task_ends_on_all_its_nodes(batch: Service) -> None:
    batch.client.create_task("j", together("t", "sleep 1000 & true", WAIT))
    wait_until(lambda: len(processes_of(batch.data, "sleep 1000")) == 3)
    subtasks = list(batch.client.list_subtasks("j", "t"))
    assert [str(one.state.value) for one in subtasks] == ["running", "running"]
    batch.client.terminate_task("j", "t")
    info = ended(batch)
    assert info.failure_info.code == "TaskEnded"
    assert processes_of(batch.data) == []
    batch.client.create_task("j", together("u", "exec sleep 1000", "true"))
    wait_until(lambda: len(processes_of(batch.data, "sleep 1000")) == 3)
    batch.client.delete_task("j", "u")
    idle(batch)
    wait_until(lambda: processes_of(batch.data) == [])
    wait_until(lambda: not any((batch.data / "nodes").glob("p/*/workitems/j/job-1/u")))


def test_a_node_that_is_rebooted_ends_the_task_of_its_subtask(batch: Service) -> None:
    batch.client.create_task("j", together("t", "true", WAIT))
    wait_until(
        lambda: state(batch) == "running" and len(list(batch.client.list_subtasks("j", "t"))) > 0
    )
    (one, *_) = batch.client.list_subtasks("j", "t")
    node = one.node_info.node_id
    batch.client.begin_reboot_node("p", node, {"nodeRebootOption": "requeue"})
    wait_until(lambda: batch.client.get_task("j", "t").execution_info.requeue_count == 1)
    release_tasks(batch)
    assert ended(batch).exit_code == 0


def test_a_multi_instance_task_reserves_free_nodes(batch: Service) -> None:
    idle(batch)
    batch.client.create_task("j", task("long", WAIT))
    wait_until(lambda: state(batch, "long") == "running")
    batch.client.create_task("j", together("t", "true", "true"))
    batch.client.create_task("j", task("later", "true"))
    batch.client.create_task("j", together("many", "true", "true", nodes=4))
    assert state(batch, "later") == "active"
    release_tasks(batch)
    ends = [ended(batch, one) for one in ("long", "t", "later")]
    assert ends[0].end_time <= ends[1].start_time
    assert ends[1].end_time <= ends[2].start_time
    assert state(batch, "many") == "active"
    assert list(batch.client.list_subtasks("j", "many")) == []


@pytest.mark.parametrize("settings", [{"taskSlotsPerNode": 2}, {}])
def test_a_multi_instance_task_waits_in_an_unsuitable_pool(
    batch: Service, settings: dict[str, Any]
) -> None:
    close = bool(settings)
    batch.client.create_pool(pool("q", 2, enableInterNodeCommunication=close, **settings))
    batch.client.create_job(job("k", "q"))
    batch.client.create_task("k", together("t", "true", "true", nodes=2))
    batch.client.create_task("k", task("u", "true"))
    wait_until(lambda: batch.client.get_task("k", "u").state.value == "completed")
    assert batch.client.get_task("k", "t").state.value == "active"


def test_a_multi_instance_task_has_one_slot_and_at_least_one_node(batch: Service) -> None:
    answer = batch.request(
        "POST", "/jobs/j/tasks", together("t", "true", "true", requiredSlots=2), checked=False
    )
    assert (answer.status, answer.values["PropertyName"]) == (400, "requiredSlots")
    answer = batch.request("POST", "/jobs/j/tasks", together("t", "true", "true", nodes=0))
    assert (answer.status, answer.values["PropertyName"]) == (400, "numberOfInstances")
    batch.client.create_task("j", together("one", "echo a", "echo b", nodes=1))
    assert ended(batch, "one").exit_code == 0
    node = batch.client.get_task("j", "one").node_info.node_id
    assert output(batch, node, task_id="one") == "a\nb\n"


def test_a_multi_instance_task_runs_on_prepared_nodes(batch: Service) -> None:
    prepares = {"commandLine": "/bin/sh -c 'touch $AZ_BATCH_NODE_SHARED_DIR/prepared'"}
    batch.client.create_job(job("k", jobPreparationTask=prepares))
    check = "[ -e $AZ_BATCH_NODE_SHARED_DIR/prepared ]"
    batch.client.create_task("k", together("t", check, check))
    wait_until(lambda: batch.client.get_task("k", "t").state.value == "completed")
    assert batch.client.get_task("k", "t").execution_info.exit_code == 0


class _Files(BaseHTTPRequestHandler):
    """A web server of one file."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/there" else 404)
        self.send_header("content-length", "3")
        self.end_headers()
        self.wfile.write(b"abc")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def files() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Files)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_common_files_go_to_all_instances_and_others_to_the_primary(
    batch: Service, files: str
) -> None:
    check = "cat ../common.txt; [ -e own.txt ] && echo own; true"
    wanted = together("t", check, "true")
    wanted["multiInstanceSettings"]["commonResourceFiles"] = [
        {"httpUrl": f"{files}/there", "filePath": "common.txt"}
    ]
    wanted["resourceFiles"] = [{"httpUrl": f"{files}/there", "filePath": "own.txt"}]
    batch.client.create_task("j", wanted)
    assert ended(batch).exit_code == 0
    primary = batch.client.get_task("j", "t").node_info.node_id
    for node in nodes(batch):
        assert output(batch, node.id) == ("abcown\n" if node.id == primary else "abc")
    wanted["id"] = "u"
    wanted["multiInstanceSettings"]["commonResourceFiles"][0]["httpUrl"] = f"{files}/none"
    batch.client.create_task("j", wanted)
    info = ended(batch, "u")
    assert (info.exit_code, info.failure_info.code) == (None, "BlobNotFound")
    idle(batch)
