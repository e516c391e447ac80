"""The engine under the service, with real processes, as a client sees it: tasks."""

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
    """A service with a pool of one node with two slots, and a job on it."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(taskSlotsPerNode=2))
        service.client.create_job(job(usesTaskDependencies=True))
        yield service
        assert service.violations == []
    assert processes_of(tmp_path) == []


def state(batch: Service, task_id: str, job_id: str = "j") -> str:
    return str(batch.client.get_task(job_id, task_id).state.value)


def ended(batch: Service, task_id: str, job_id: str = "j") -> Any:
    """The execution information of a task once it is completed."""
    wait_until(lambda: state(batch, task_id, job_id) == "completed")
    return batch.client.get_task(job_id, task_id).execution_info


def output(batch: Service, task_id: str, name: str = "stdout.txt", job_id: str = "j") -> str:
    return b"".join(batch.client.download_task_file(job_id, task_id, name)).decode()


def prints(batch: Service, task_id: str, text: str) -> None:
    """Wait until a running task has printed ``text``."""
    wait_until(lambda: state(batch, task_id) == "running")
    node = batch.client.get_task("j", task_id).node_info.node_id
    root = batch.data / "nodes" / "p" / node
    path = root / "workitems" / "j" / "job-1" / task_id / "stdout.txt"
    wait_until(lambda: path.exists() and text in path.read_text())


def test_a_task_runs_in_its_directory_with_its_environment(batch: Service) -> None:
    settings = [{"name": "MINE", "value": "x y"}, {"name": "AZ_BATCH_JOB_ID", "value": "no"}]
    batch.client.create_task("j", task("t", "pwd; env", environmentSettings=settings))
    info = ended(batch, "t")
    assert (info.exit_code, info.result, info.failure_info) == (0, "success", None)
    assert info.start_time <= info.end_time
    shown = batch.client.get_task("j", "t")
    node = shown.node_info.node_id
    assert node.startswith("tvmps_")
    assert len(node) == len("tvmps_") + 64 + len("_d")
    root = batch.data / "nodes" / "p" / node
    assert shown.node_info.task_root_directory == "workitems/j/job-1/t"
    first, *lines = output(batch, "t").splitlines()
    assert first == f"{root}/workitems/j/job-1/t/wd"
    assert dict(line.split("=", 1) for line in lines if not line.startswith("BATCHSPEC_")) == {
        "AZ_BATCH_ACCOUNT_NAME": batch.account,
        "AZ_BATCH_ACCOUNT_URL": batch.url,
        "AZ_BATCH_CERTIFICATES_DIR": f"{root}/workitems/j/job-1/t/certs",
        "AZ_BATCH_JOB_ID": "j",
        "AZ_BATCH_NODE_ID": node,
        "AZ_BATCH_NODE_IS_DEDICATED": "true",
        "AZ_BATCH_NODE_MOUNTS_DIR": f"{root}/fsmounts",
        "AZ_BATCH_NODE_ROOT_DIR": f"{root}",
        "AZ_BATCH_NODE_SHARED_DIR": f"{root}/shared",
        "AZ_BATCH_NODE_STARTUP_DIR": f"{root}/startup",
        "AZ_BATCH_POOL_ID": "p",
        "AZ_BATCH_TASK_DIR": f"{root}/workitems/j/job-1/t",
        "AZ_BATCH_TASK_ID": "t",
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": "1000000",
        "AZ_BATCH_TASK_WORKING_DIR": f"{root}/workitems/j/job-1/t/wd",
        "HOME": f"{root}/workitems/j/job-1/t/wd",
        "LANG": "C.UTF-8",
        "LOGNAME": "_azbatch",
        "MINE": "x y",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "PWD": f"{root}/workitems/j/job-1/t/wd",
        "SHELL": "/bin/sh",
        "USER": "_azbatch",
    }


def test_environment_settings_of_a_task_override_those_of_its_job(batch: Service) -> None:
    common = [{"name": "A", "value": "job"}, {"name": "B", "value": "job"}]
    batch.client.create_job(job("k", commonEnvironmentSettings=common))
    own = [{"name": "B", "value": "task"}]
    batch.client.create_task("k", task("t", "echo $A $B", environmentSettings=own))
    ended(batch, "t", "k")
    assert output(batch, "t", job_id="k") == "job task\n"


def test_an_exit_code_fails_a_task(batch: Service) -> None:
    batch.client.create_task("j", task("t", "exit 3"))
    info = ended(batch, "t")
    assert (info.exit_code, info.result, info.retry_count) == (3, "failure", 0)
    assert (info.failure_info.category, info.failure_info.code) == ("UserError", "FailureExitCode")
    assert batch.client.get_job_task_counts("j").task_counts.failed == 1


def test_a_missing_program_is_not_retried(batch: Service) -> None:
    limits = {"maxTaskRetryCount": 3}
    batch.client.create_task("j", {"id": "t", "commandLine": "none", "constraints": limits})
    info = ended(batch, "t")
    assert (info.exit_code, info.retry_count) == (None, 0)
    assert info.failure_info.code == "CommandProgramNotFound"
    assert info.start_time is not None


def test_a_task_is_retried_in_its_directory_until_it_succeeds(batch: Service) -> None:
    script = "echo x >> tries; [ $(wc -l < tries) = 3 ]"
    batch.client.create_task("j", task("t", script, constraints={"maxTaskRetryCount": 5}))
    info = ended(batch, "t")
    assert (info.exit_code, info.result, info.retry_count) == (0, "success", 2)
    assert info.last_retry_time is not None
    assert output(batch, "t", "wd/tries") == "x\n" * 3


def test_a_task_with_unlimited_retries_can_be_terminated(batch: Service) -> None:
    batch.client.create_task("j", task("t", "exit 1", constraints={"maxTaskRetryCount": -1}))
    wait_until(lambda: batch.client.get_task("j", "t").execution_info.retry_count > 3)
    batch.client.terminate_task("j", "t")
    assert ended(batch, "t").failure_info.code == "TaskEnded"


@pytest.mark.parametrize(("limit", "runs"), [(0, 1), (2, 3)])
def test_retries_are_limited(batch: Service, limit: int, runs: int) -> None:
    script = "echo x >> tries; exit 9"
    batch.client.create_task("j", task("t", script, constraints={"maxTaskRetryCount": limit}))
    info = ended(batch, "t")
    assert (info.exit_code, info.retry_count) == (9, limit)
    assert output(batch, "t", "wd/tries") == "x\n" * runs


def test_a_task_that_runs_too_long_is_ended(batch: Service) -> None:
    limits = {"maxWallClockTime": "PT0.2S", "maxTaskRetryCount": 5}
    batch.client.create_task("j", task("t", "sleep 1000", constraints=limits))
    info = ended(batch, "t")
    assert (info.result, info.failure_info.code) == ("failure", "TaskEnded")
    assert info.retry_count == 0


def test_a_running_task_is_terminated_with_all_its_processes(batch: Service) -> None:
    batch.client.create_task("j", task("t", "setsid sleep 1000 & echo up; sleep 1000"))
    prints(batch, "t", "up")
    batch.client.terminate_task("j", "t")
    info = ended(batch, "t")
    assert (info.result, info.failure_info.code) == ("failure", "TaskEnded")
    assert info.failure_info.message == "Task Was Ended by User Request"
    assert processes_of(batch.data, "sleep") == []


def test_a_deleted_running_task_leaves_no_process_and_no_file(batch: Service) -> None:
    batch.client.create_task("j", task("t", "echo up; sleep 1000"))
    prints(batch, "t", "up")
    batch.client.delete_task("j", "t")
    # The same id again, immediately: the new task must not get files of the first.
    batch.client.create_task("j", task("t", "ls ..; ls"))
    ended(batch, "t")
    assert output(batch, "t") == "certs\nstderr.txt\nstdout.txt\nwd\n"
    assert processes_of(batch.data, "sleep") == []
    node = next(iter(batch.client.list_nodes("p")))
    assert (node.state, node.running_tasks_count, node.running_task_slots_count) == ("idle", 0, 0)


def test_a_failed_task_is_reactivated(batch: Service) -> None:
    batch.client.create_task("j", task("t", "[ -e $AZ_BATCH_NODE_SHARED_DIR/go ]"))
    assert ended(batch, "t").exit_code == 1
    node = batch.client.get_task("j", "t").node_info.node_id
    (batch.data / "nodes" / "p" / node / "shared" / "go").touch()
    batch.client.reactivate_task("j", "t")
    wait_until(lambda: ended(batch, "t").exit_code == 0)
    assert ended(batch, "t").failure_info is None


def test_a_task_that_kills_its_supervisor_fails_after_a_few_runs(batch: Service) -> None:
    batch.client.create_task("j", task("t", "echo x >> ../../../../../shared/runs; kill -9 $PPID"))
    batch.client.create_task("j", task("other", "true"))
    info = ended(batch, "t")
    assert (info.exit_code, info.result) == (None, "failure")
    assert (info.failure_info.category, info.failure_info.code) == ("ServerError", "Unknown")
    assert "killed 5 times" in info.failure_info.details[0].value
    (runs,) = batch.data.glob("nodes/p/*/shared/runs")
    assert runs.read_text() == "x\n" * 5
    assert ended(batch, "other").result == "success"


def test_a_task_that_kills_the_process_of_all_tasks_fails_alone(batch: Service) -> None:
    # The supervisor's parent is the host, which all tasks share until one of them has killed it.
    host = "read -r _ _ _ host _ < /proc/$PPID/stat; [ $host -gt 1 ] && kill -9 $host"
    batch.client.create_task("j", task("other", WAIT))
    wait_until(lambda: batch.client.get_task("j", "other").state == "running")
    batch.client.create_task("j", task("t", f"{host}; {WAIT}"))
    info = ended(batch, "t")
    assert (info.failure_info.category, info.failure_info.code) == ("ServerError", "Unknown")
    assert (info.requeue_count, batch.client.get_task("j", "other").state) == (4, "running")
    release_tasks(batch)
    other = ended(batch, "other")
    assert (other.result, other.requeue_count) == ("success", 1)


def test_a_task_waits_for_its_dependencies(batch: Service) -> None:
    seen = "ls $AZ_BATCH_NODE_SHARED_DIR"
    mark = "sleep 0.05; touch $AZ_BATCH_NODE_SHARED_DIR/$AZ_BATCH_TASK_ID"
    ranges = [{"start": 1, "end": 3}]
    needs = {"taskIds": ["a"], "taskIdRanges": ranges}
    batch.client.create_task("j", task("last", seen, dependsOn=needs))
    for name in ("3", "2", "1", "a"):
        batch.client.create_task("j", task(name, mark))
    ended(batch, "last")
    assert output(batch, "last") == "1\n2\n3\na\n"


def test_a_failed_task_blocks_its_dependents_unless_it_satisfies_them(batch: Service) -> None:
    batch.client.create_job(
        job("k", usesTaskDependencies=True, onTaskFailure="performexitoptionsjobaction")
    )
    satisfy = {"exitOptions": {"dependencyAction": "satisfy", "jobAction": "none"}}
    conditions = {
        "exitCodes": [{"code": 5, **satisfy}],
        "exitCodeRanges": [{"start": 10, "end": 20, **satisfy}],
        "default": {"jobAction": "none"},
    }
    for code in (0, 4, 5, 15):
        batch.client.create_task("k", task(f"t{code}", f"exit {code}", exitConditions=conditions))
        batch.client.create_task(
            "k", task(f"after{code}", "true", dependsOn={"taskIds": [f"t{code}"]})
        )
    for name in ("after0", "after5", "after15", "t4"):
        ended(batch, name, "k")
    assert state(batch, "after4", "k") == "active"


def test_the_files_of_a_task_are_deleted_after_its_retention_time(batch: Service) -> None:
    batch.client.create_task("j", task("t", "true", constraints={"retentionTime": "PT0.1S"}))
    ended(batch, "t")
    wait_until(lambda: not any((batch.data / "nodes").glob("p/*/workitems/j/job-1/t")))
    answer = batch.request("GET", "/jobs/j/tasks/t/files/stdout.txt", checked=False)
    assert answer.code == "TaskFilesCleanedup"


def test_slots_limit_concurrent_tasks(batch: Service) -> None:
    wait = "while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do sleep 0.01; done"
    batch.client.create_task("j", task("one", wait))
    wait_until(lambda: state(batch, "one") == "running")
    batch.client.create_task("j", task("two", "true", requiredSlots=2))
    batch.client.create_task("j", task("three", "true"))
    ended(batch, "three")
    assert state(batch, "two") == "active"
    node = batch.client.get_task("j", "one").node_info.node_id
    (batch.data / "nodes" / "p" / node / "shared" / "go").touch()
    ended(batch, "two")


def test_priority_precedes_age_and_a_job_keeps_its_limit(batch: Service) -> None:
    wait = "while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do sleep 0.01; done"
    batch.client.create_task("j", task("full", wait, requiredSlots=2))
    wait_until(lambda: state(batch, "full") == "running")
    batch.client.create_job(job("narrow", maxParallelTasks=1, priority=5))
    batch.client.create_job(job("low", priority=-5))
    for number in range(4):
        note = "echo $AZ_BATCH_JOB_ID >> $AZ_BATCH_NODE_SHARED_DIR/order"
        alone = "! ls $AZ_BATCH_NODE_SHARED_DIR | grep -q busy"
        # The first of them lasts until the job of low priority has run next to it.
        beside = "until grep -q low $AZ_BATCH_NODE_SHARED_DIR/order; do sleep 0.01; done"
        inside = f"{alone} && touch $AZ_BATCH_NODE_SHARED_DIR/busy && {beside}"
        done = "rm $AZ_BATCH_NODE_SHARED_DIR/busy"
        batch.client.create_task("narrow", task(f"n{number}", f"{note}; {inside} && {done}"))
    batch.client.create_task("low", task("l", "echo low >> $AZ_BATCH_NODE_SHARED_DIR/order"))
    node = batch.client.get_task("j", "full").node_info.node_id
    shared = batch.data / "nodes" / "p" / node / "shared"
    (shared / "go").touch()
    assert [ended(batch, f"n{number}", "narrow").exit_code for number in range(4)] == [0] * 4
    assert ended(batch, "l", "low").exit_code == 0
    assert (shared / "order").read_text().startswith(("narrow\nlow", "low\nnarrow"))
