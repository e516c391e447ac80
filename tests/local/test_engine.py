"""The engine under the service, with real processes, as a client sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.local.engines import engined, job, pool, task, until
from tests.local.running import Service


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    with engined(tmp_path / "batch") as service:
        yield service
        assert service.wrong == []


def ended(batch: Service, task_id: str, job_id: str = "j") -> Any:
    until(lambda: batch.client.get_task(job_id, task_id).state == "completed")
    return batch.client.get_task(job_id, task_id)


def output(batch: Service, task_id: str, name: str = "stdout.txt", job_id: str = "j") -> str:
    return b"".join(batch.client.download_task_file(job_id, task_id, name)).decode()


def test_a_task_runs_on_a_pool(batch: Service) -> None:
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    batch.client.create_task("j", task("t", "echo hello; exit 0"))
    done = ended(batch, "t")
    assert done.execution_info.exit_code == 0
    assert done.execution_info.result == "success"
    assert output(batch, "t") == "hello\n"
    found = batch.client.get_pool("p")
    assert (found.allocation_state, found.current_dedicated_nodes) == ("steady", 1)
    until(lambda: next(iter(batch.client.list_nodes("p"))).state == "idle")
    node = next(iter(batch.client.list_nodes("p")))
    assert (node.total_tasks_run, node.running_tasks_count) == (1, 0)
