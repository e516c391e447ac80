"""Job preparation and release tasks, with real processes, as a client sees them."""

from __future__ import annotations

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
    """A service with a pool of two nodes with two slots each."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(nodes=2, taskSlotsPerNode=2))
        yield service
        assert service.violations == []
    assert processes_of(tmp_path) == []


def shell(script: str, **more: Any) -> dict[str, Any]:
    assert "'" not in script
    return {"commandLine": f"/bin/sh -c '{script}'", **more}


def state(batch: Service, task_id: str) -> str:
    return str(batch.client.get_task("j", task_id).state.value)


def job_state(batch: Service) -> str:
    return str(batch.client.get_job("j").state.value)


def status(batch: Service) -> list[Any]:
    return list(batch.client.list_job_preparation_and_release_task_status("j"))


def notes(batch: Service, name: str) -> list[str]:
    """The lines of a file in the shared directories, and the number of nodes that have it."""
    found = (batch.data / "nodes").glob(f"p/*/shared/{name}")
    return [line for path in found for line in path.read_text().splitlines()]


def test_a_node_is_prepared_before_the_first_task_and_released_at_the_end(batch: Service) -> None:
    note = "echo $AZ_BATCH_TASK_ID >> $AZ_BATCH_NODE_SHARED_DIR/"
    batch.client.create_job(
        job(
            jobPreparationTask=shell(f"{note}prepared; echo made > file"),
            jobReleaseTask=shell(f"cat $AZ_BATCH_JOB_PREP_WORKING_DIR/file; {note}released"),
        )
    )
    assert status(batch) == []
    for number in range(8):
        script = "cat $AZ_BATCH_NODE_SHARED_DIR/prepared $AZ_BATCH_JOB_PREP_DIR/wd/file"
        batch.client.create_task("j", task(f"t{number}", script))
    wait_until(lambda: batch.client.get_job_task_counts("j").task_counts.completed == 8)
    assert batch.client.get_job_task_counts("j").task_counts.succeeded == 8
    for number in range(8):
        out = b"".join(batch.client.download_task_file("j", f"t{number}", "stdout.txt"))
        assert out == b"jobpreparation\nmade\n"
    for entry in status(batch):
        info = entry.job_preparation_task_execution_info
        assert (info.state, info.exit_code, info.result) == ("completed", 0, "success")
        assert info.task_root_directory == "workitems/j/job-1/jobpreparation"
        assert entry.job_release_task_execution_info is None
    prepared = len(status(batch))
    assert notes(batch, "prepared") == ["jobpreparation"] * prepared
    assert notes(batch, "released") == []
    batch.client.begin_terminate_job("j", options={"terminateReason": "Done"})
    wait_until(lambda: job_state(batch) == "completed")
    assert notes(batch, "released") == ["jobrelease"] * prepared
    for entry in status(batch):
        info = entry.job_release_task_execution_info
        assert (info.state, info.exit_code, info.result) == ("completed", 0, "success")


def test_tasks_wait_in_state_preparing(batch: Service) -> None:
    batch.client.create_job(job(jobPreparationTask=shell(WAIT)))
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "preparing")
    assert batch.client.get_job_task_counts("j").task_counts.running == 1
    release_tasks(batch)
    wait_until(lambda: state(batch, "t") == "completed")


def test_a_task_does_not_wait_for_a_preparation_without_wait(batch: Service) -> None:
    batch.client.create_job(job(jobPreparationTask=shell(WAIT, waitForSuccess=False)))
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "completed")
    assert status(batch)[0].job_preparation_task_execution_info.state == "running"
    release_tasks(batch)
    wait_until(lambda: status(batch)[0].job_preparation_task_execution_info.state == "completed")


def test_a_node_whose_preparation_failed_gets_no_task(batch: Service) -> None:
    # The first node creates the mark and fails after a retry; the other node finds the mark.
    mark = batch.data / "mark"
    script = "; ".join(
        (
            "cd $AZ_BATCH_NODE_SHARED_DIR",
            "echo x >> tries",
            "[ -e bad ] && exit 4",
            f"mkdir {mark} || exit 0",
            "touch bad",
            "exit 4",
        )
    )
    preparation = shell(script, constraints={"maxTaskRetryCount": 1})
    batch.client.create_job(job(jobPreparationTask=preparation))
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "completed")
    info = batch.client.get_task("j", "t").execution_info
    assert (info.exit_code, info.requeue_count, info.retry_count) == (0, 0, 0)
    found = {entry.node_id: entry.job_preparation_task_execution_info for entry in status(batch)}
    assert sorted((one.exit_code, one.retry_count) for one in found.values()) == [(0, 0), (4, 1)]
    assert found[batch.client.get_task("j", "t").node_info.node_id].exit_code == 0
    assert len(notes(batch, "tries")) == 3


@pytest.mark.parametrize("how", ["terminate", "delete", "disable"])
def test_a_job_ends_although_its_preparation_hangs(batch: Service, how: str) -> None:
    batch.client.create_job(job(jobPreparationTask=shell("sleep 1000")))
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "preparing")
    if how == "terminate":
        batch.client.begin_terminate_job("j", options={"terminateReason": "x"})
        wait_until(lambda: job_state(batch) == "completed")
        assert batch.client.get_task("j", "t").execution_info.failure_info.code == "TaskEnded"
    elif how == "delete":
        batch.client.begin_delete_job("j")
        wait_until(lambda: batch.request("GET", "/jobs/j").status == 404)
    else:
        batch.client.begin_disable_job("j", {"disableTasks": "requeue"})
        wait_until(lambda: job_state(batch) == "disabled")
        assert state(batch, "t") == "active"
        return
    assert processes_of(batch.data, "sleep") == []


def test_a_failed_release_does_not_keep_a_job_from_ending(batch: Service) -> None:
    batch.client.create_job(job(jobPreparationTask=shell("true"), jobReleaseTask=shell("exit 5")))
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "completed")
    batch.client.begin_terminate_job("j", options={"terminateReason": "x"})
    wait_until(lambda: job_state(batch) == "completed")
    info = status(batch)[0].job_release_task_execution_info
    assert (info.exit_code, info.result, info.failure_info.code) == (
        5,
        "failure",
        "FailureExitCode",
    )


def test_the_status_keeps_nodes_that_have_left_the_pool(batch: Service) -> None:
    """The REST reference: "Compute Nodes which have since been removed from the Pool"."""
    note = shell("echo x >> $AZ_BATCH_NODE_SHARED_DIR/released")
    batch.client.create_job(job(jobPreparationTask=shell("true"), jobReleaseTask=note))
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "completed")
    node_id = batch.client.get_task("j", "t").node_info.node_id
    wait_until(lambda: batch.client.get_pool("p").allocation_state.value == "steady")
    batch.client.begin_remove_nodes("p", {"nodeList": [node_id]}, polling_interval=0.01).result()
    wait_until(lambda: node_id not in [node.id for node in batch.client.list_nodes("p")])
    (removed,) = status(batch)
    assert removed.node_id == node_id
    assert removed.job_preparation_task_execution_info.result == "success"
    batch.client.create_task("j", task("u", "true"))
    wait_until(lambda: state(batch, "u") == "completed")
    # Only the node that is still in the pool runs the release task.
    batch.client.begin_terminate_job("j", options={"terminateReason": "x"})
    wait_until(lambda: job_state(batch) == "completed")
    ran = {entry.node_id: entry.job_release_task_execution_info for entry in status(batch)}
    assert ran.pop(node_id) is None
    assert [info.exit_code for info in ran.values()] == [0]
    kept = status(batch)
    batch.client.begin_delete_pool("p").result()
    assert status(batch) == kept
    batch.client.begin_delete_job("j").result()
    batch.client.create_pool(pool(nodes=1))
    batch.client.create_job(job(jobPreparationTask=shell("true")))
    assert status(batch) == []


def test_the_status_keeps_nodes_of_an_auto_pool_that_has_ended(batch: Service) -> None:
    settings = {name: value for name, value in pool().items() if name != "id"}
    auto = {"poolLifetimeOption": "job", "pool": settings}
    special = {"commandLine": "/bin/true"}
    body = job(jobPreparationTask=special, jobReleaseTask=special)
    batch.client.create_job({**body, "poolInfo": {"autoPoolSpecification": auto}})
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "completed")
    pool_id = batch.client.get_job("j").execution_info.pool_id
    batch.client.begin_terminate_job("j", options={"terminateReason": "x"})
    wait_until(lambda: batch.request("GET", f"/pools/{pool_id}").status == 404)
    (entry,) = status(batch)
    assert entry.pool_id == pool_id
    assert entry.job_release_task_execution_info.result == "success"


@pytest.mark.parametrize(("rerun", "times"), [(True, 2), (False, 1)])
def test_a_rebooted_node_is_prepared_again(batch: Service, rerun: bool, times: int) -> None:
    steady = lambda: batch.client.get_pool("p").allocation_state.value == "steady"  # noqa: E731
    wait_until(steady)  # no other resize is taken before
    answer = batch.request("POST", "/pools/p/resize", {"targetDedicatedNodes": 1})
    assert answer.status == 202
    wait_until(steady)
    note = shell(
        "echo x >> $AZ_BATCH_NODE_SHARED_DIR/prepared", rerunOnNodeRebootAfterSuccess=rerun
    )
    batch.client.create_job(job(jobPreparationTask=note))
    batch.client.create_task("j", task("one", "true"))
    wait_until(lambda: state(batch, "one") == "completed")
    (node,) = batch.client.list_nodes("p")
    batch.request("POST", f"/pools/p/nodes/{node.id}/reboot", {"nodeRebootOption": "requeue"})

    def has_booted() -> bool:
        booted = batch.client.get_node("p", node.id).last_boot_time  # none while it goes down
        return booted is not None and booted > node.last_boot_time

    wait_until(has_booted)
    batch.client.create_task("j", task("two", "true"))
    wait_until(lambda: state(batch, "two") == "completed")
    assert len(notes(batch, "prepared")) == times


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"jobReleaseTask": {"commandLine": "x"}}, "MissingRequiredProperty"),
        (
            {
                "jobPreparationTask": {"commandLine": "x"},
                "jobReleaseTask": {"commandLine": "x", "maxWallClockTime": "PT16M"},
            },
            "InvalidPropertyValue",
        ),
        (
            {
                "jobPreparationTask": {"commandLine": "x", "id": "a"},
                "jobReleaseTask": {"commandLine": "x", "id": "A"},
            },
            "InvalidPropertyValue",
        ),
    ],
)
def test_settings_that_the_reference_forbids_are_refused(
    batch: Service, settings: dict[str, Any], code: str
) -> None:
    answer = batch.request("POST", "/jobs", job(**settings))
    assert (answer.status, answer.code) == (400, code)


def test_a_job_shows_the_defaults_of_its_preparation_task(batch: Service) -> None:
    special = {"commandLine": "true"}
    batch.client.create_job(job(jobPreparationTask=special, jobReleaseTask=special))
    found = batch.client.get_job("j")
    preparation, release = found.job_preparation_task, found.job_release_task
    assert (preparation.id, preparation.wait_for_success) == ("jobpreparation", True)
    assert preparation.rerun_on_node_reboot_after_success
    assert (release.id, release.max_wall_clock_time.total_seconds()) == ("jobrelease", 900)
    answer = batch.request("POST", "/jobs/j/tasks", {"id": "JobRelease", "commandLine": "x"})
    assert answer.code == "TaskIdSameAsJobReleaseTask"
    batch.client.create_job(job("plain"))
    answer = batch.request("GET", "/jobs/plain/jobpreparationandreleasetaskstatus")
    assert answer.code == "JobPreparationTaskOrReleaseTaskNotSpecified"
