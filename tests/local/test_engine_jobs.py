"""The engine under the service, with real processes, as a client sees it: jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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
    """A service with a pool of one node with four slots."""
    with running_with_engine(tmp_path / "batch") as service:
        service.client.create_pool(pool(taskSlotsPerNode=4))
        yield service
        assert service.violations == []
    assert processes_of(tmp_path) == []


def job_state(batch: Service, job_id: str = "j") -> str:
    return str(batch.client.get_job(job_id).state.value)


def state(batch: Service, task_id: str, job_id: str = "j") -> str:
    return str(batch.client.get_task(job_id, task_id).state.value)


def until_state(batch: Service, expected: str, job_id: str = "j") -> None:
    wait_until(lambda: job_state(batch, job_id) == expected)


def runs(batch: Service, *task_ids: str) -> None:
    """Create tasks that run until they are ended, and wait for their start."""
    for task_id in task_ids:
        batch.client.create_task("j", task(task_id, WAIT))
        wait_until(lambda task_id=task_id: state(batch, task_id) == "running")


def patch(batch: Service, **settings: object) -> None:
    assert batch.request("PATCH", "/jobs/j", settings).status == 200


def test_a_job_ends_when_all_its_tasks_are_complete(batch: Service) -> None:
    batch.client.create_job(job())
    batch.client.create_task("j", task("t", "true"))
    wait_until(lambda: state(batch, "t") == "completed")
    assert job_state(batch) == "active"
    patch(batch, onAllTasksComplete="terminatejob")
    until_state(batch, "completed")
    info = batch.client.get_job("j").execution_info
    assert info.termination_reason == "AllTasksComplete"
    assert info.end_time is not None


def test_a_job_ends_with_its_last_task(batch: Service) -> None:
    batch.client.create_job(job())
    runs(batch, "t")
    patch(batch, onAllTasksComplete="terminatejob")
    assert job_state(batch) == "active"
    release_tasks(batch)
    until_state(batch, "completed")
    assert batch.client.get_task("j", "t").execution_info.result == "success"


def test_an_empty_job_has_all_its_tasks_complete(batch: Service) -> None:
    batch.client.create_job(job(onAllTasksComplete="terminatejob"))
    until_state(batch, "completed")


def test_a_failed_task_terminates_the_job_if_configured(batch: Service) -> None:
    batch.client.create_job(job(onTaskFailure="performexitoptionsjobaction"))
    runs(batch, "long")
    batch.client.create_task("j", task("bad", "exit 1"))
    until_state(batch, "completed")
    assert batch.client.get_job("j").execution_info.termination_reason == "TaskFailed"
    assert batch.client.get_task("j", "long").execution_info.failure_info.code == "TaskEnded"


def test_a_failed_task_disables_the_job_if_configured(batch: Service) -> None:
    batch.client.create_job(job(onTaskFailure="performexitoptionsjobaction"))
    runs(batch, "long")
    conditions = {"exitCodes": [{"code": 7, "exitOptions": {"jobAction": "disable"}}]}
    batch.client.create_task("j", task("bad", "exit 7", exitConditions=conditions))
    until_state(batch, "disabled")
    assert state(batch, "long") == "active"
    assert batch.client.get_task("j", "long").execution_info.requeue_count == 1


def test_a_failed_task_does_not_affect_the_job_by_default(batch: Service) -> None:
    batch.client.create_job(job())
    batch.client.create_task("j", task("bad", "exit 1"))
    wait_until(lambda: state(batch, "bad") == "completed")
    assert job_state(batch) == "active"


def test_a_terminated_job_ends_running_tasks_and_keeps_waiting_ones(batch: Service) -> None:
    batch.client.create_job(job())
    runs(batch, "t")
    batch.client.create_task("j", task("large", "true", requiredSlots=4))
    batch.client.begin_terminate_job("j", options={"terminateReason": "Enough"})
    until_state(batch, "completed")
    assert batch.client.get_job("j").execution_info.termination_reason == "Enough"
    assert batch.client.get_task("j", "t").execution_info.failure_info.code == "TaskEnded"
    assert state(batch, "large") == "active"
    assert processes_of(batch.data, "sleep") == []


def test_a_job_ends_at_its_wall_clock_limit(batch: Service) -> None:
    batch.client.create_job(job())
    runs(batch, "t")
    # Set the limit now; earlier, it could pass before the task runs.
    patch(batch, constraints={"maxWallClockTime": "PT0.1S"})
    until_state(batch, "completed")
    info = batch.client.get_job("j").execution_info
    assert info.termination_reason == "MaxWallClockTimeExpiry"
    assert state(batch, "t") == "completed"


def test_a_job_created_with_a_wall_clock_limit_ends_at_it(batch: Service) -> None:
    batch.client.create_job(job(constraints={"maxWallClockTime": "PT0.5S"}))
    until_state(batch, "completed")
    info = batch.client.get_job("j").execution_info
    assert info.termination_reason == "MaxWallClockTimeExpiry"
    assert (info.end_time - info.start_time).total_seconds() >= 0.5


@pytest.mark.parametrize("option", ["requeue", "terminate"])
def test_a_disabled_job_starts_nothing_until_it_is_enabled(batch: Service, option: str) -> None:
    batch.client.create_job(job())
    runs(batch, "t")
    batch.client.begin_disable_job("j", {"disableTasks": option})
    until_state(batch, "disabled")
    assert state(batch, "t") == {"requeue": "active", "terminate": "completed"}[option]
    assert processes_of(batch.data, "sleep") == []
    batch.client.create_task("j", task("later", "true"))
    release_tasks(batch)
    batch.client.create_job(job("k"))
    batch.client.create_task("k", task("other", "true"))
    wait_until(lambda: state(batch, "other", "k") == "completed")
    assert state(batch, "later") == "active"
    batch.client.begin_enable_job("j")
    wait_until(lambda: (state(batch, "later"), state(batch, "t")) == ("completed", "completed"))
    assert job_state(batch) == "active"


def test_a_job_disabled_with_wait_lets_tasks_end(batch: Service) -> None:
    batch.client.create_job(job())
    runs(batch, "t")
    batch.client.begin_disable_job("j", {"disableTasks": "wait"})
    assert (job_state(batch), state(batch, "t")) == ("disabling", "running")
    release_tasks(batch)
    until_state(batch, "disabled")
    info = batch.client.get_task("j", "t").execution_info
    assert (info.exit_code, info.requeue_count) == (0, 0)


def test_a_deleted_job_leaves_nothing(batch: Service) -> None:
    batch.client.create_job(job())
    for number in range(20):
        batch.client.create_task("j", task(f"done{number}", "true"))
    wait_until(lambda: batch.client.get_job_task_counts("j").task_counts.completed == 20)
    runs(batch, "t")
    batch.client.begin_delete_job("j")
    wait_until(lambda: batch.request("GET", "/jobs/j").status == 404)
    assert processes_of(batch.data, "sleep") == []
    wait_until(lambda: not any((batch.data / "nodes").glob("p/*/workitems/j/job-1")))
    # The name is free again, and so are the slots.
    batch.client.create_job(job())
    batch.client.create_task("j", task("t", "true", requiredSlots=4))
    wait_until(lambda: state(batch, "t") == "completed")


def test_a_job_waits_for_its_pool_to_be_created(batch: Service) -> None:
    batch.client.create_job(job("k", pool_id="later"))
    batch.client.create_task("k", task("t", "true"))
    batch.client.create_pool(pool("later"))
    wait_until(lambda: state(batch, "t", "k") == "completed")
