"""Restarts after a killed service: the state that it leaves, and the work of the next service."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import Agent
from tests.local.engine_stub import idle_node
from tests.local.engine_stub import start as begin
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
from tests.local.running import ACCOUNT, KEY, Service, running

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

PROGRAM = f"""
import asyncio, sys
from pathlib import Path
from batchspec.local.process import kill_orphans
from batchspec.local.service import ServiceConfig, serve
kill_orphans(Path(sys.argv[1]))
config = ServiceConfig(data=Path(sys.argv[1]), account={ACCOUNT!r}, key={KEY!r})
asyncio.run(serve(config, lambda url: print(url, flush=True)))
"""


@contextmanager
def service_process(data: Path) -> Iterator[tuple[Service, subprocess.Popen[str]]]:
    """A service in a separate process, killed at the end of the context."""
    command = [sys.executable, "-c", PROGRAM, str(data)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    service = Service(process.stdout.readline().strip(), data)
    try:
        yield service, process
    finally:
        service.close()
        process.kill()
        process.wait()
        process.stdout.close()


def state(batch: Service, task_id: str) -> str:
    return str(batch.client.get_task("j", task_id).state.value)


def sleepers(data: Path) -> int:
    return sum(line.startswith("sleep 1000") for line in processes_of(data))


def test_a_killed_service_ends_its_tasks_and_requeues_them(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    with service_process(data) as (batch, process):
        batch.client.create_pool(pool(taskSlotsPerNode=2))
        batch.client.create_job(job())
        batch.client.create_task("j", task("done", "true"))
        wait_until(lambda: state(batch, "done") == "completed")
        batch.client.create_task("j", task("t", f"setsid sleep 1000 & {WAIT}"))
        wait_until(lambda: sleepers(data) == 1)
        process.kill()
        wait_until(lambda: processes_of(data) == [])
    with service_process(data) as (batch, _):
        wait_until(lambda: state(batch, "t") == "running")
        info = batch.client.get_task("j", "t").execution_info
        assert (info.requeue_count, info.retry_count) == (1, 0)
        wait_until(lambda: sleepers(data) == 1)
        release_tasks(batch)
        wait_until(lambda: state(batch, "t") == "completed")
        assert state(batch, "done") == "completed"
        (node,) = batch.client.list_nodes("p")
        wait_until(lambda: batch.client.get_node("p", node.id).state.value == "idle")
        # The files of the first run of the service are still on the node.
        assert b"".join(batch.client.download_task_file("j", "done", "stdout.txt")) == b""


def test_an_interrupted_start_task_runs_again(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    start = {"commandLine": f"/bin/sh -c 'echo x >> tries; {WAIT}'"}

    def tries() -> str:
        return "".join(path.read_text() for path in (data / "nodes").glob("p/*/startup/wd/tries"))

    with service_process(data) as (batch, process):
        batch.client.create_pool(pool(startTask=start))
        wait_until(lambda: tries() == "x\n")
        process.kill()
        wait_until(lambda: processes_of(data) == [])
    with service_process(data) as (batch, _):
        wait_until(lambda: tries() == "x\nx\n")
        release_tasks(batch)
        wait_until(lambda: [node.state.value for node in batch.client.list_nodes("p")] == ["idle"])


def test_a_task_with_a_pending_end_is_ended_after_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "batch"
    with service_process(data) as (batch, process):
        batch.client.create_pool(pool())
        batch.client.create_job(job())
        batch.client.create_task("j", task("t", WAIT))
        wait_until(lambda: state(batch, "t") == "running")
        process.send_signal(signal.SIGSTOP)
        store = batch.store
        found = store.tasks.get("j", "t")
        assert found is not None
        store.tasks.end(found, found.modified, {"code": "TaskEnded"})
        process.kill()
    with service_process(data) as (batch, _):
        wait_until(lambda: state(batch, "t") == "completed")
        assert batch.client.get_task("j", "t").execution_info.failure_info.code == "TaskEnded"


def test_no_client_sees_runs_of_an_earlier_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "batch"
    with running(data) as batch:
        node = idle_node(batch)
        batch.client.create_job(job())
        batch.client.create_task("j", task("t", WAIT))
        begin(batch, node, "t")

    async def hang(_: Agent) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Agent, "start", hang)
    with running_with_engine(data) as batch:
        found = batch.client.get_task("j", "t")
        assert (found.state.value, found.execution_info.requeue_count) == ("active", 1)


def test_killed_at_any_moment_no_task_is_lost_or_runs_twice_at_once(tmp_path: Path) -> None:
    data, count, lives = tmp_path / "batch", 50, 4
    moments = random.Random(7)
    # The process has the lock as long as it runs, so that a second process finds it taken.
    script = 'flock -n $AZ_BATCH_NODE_SHARED_DIR/$AZ_BATCH_TASK_ID -c "sleep 0.02" || exit 99'
    with service_process(data) as (batch, process):
        batch.client.create_pool(pool(taskSlotsPerNode=4))
        batch.client.create_job(job())
        values: list[Any] = [task(f"t{n}", script) for n in range(count)]
        batch.client.create_task_collection("j", {"value": values})
        wait_until(lambda: batch.client.get_job_task_counts("j").task_counts.completed > 0)
        process.kill()
    completed = 0
    for _ in range(lives):
        with service_process(data) as (batch, process):
            known = batch.client.get_job_task_counts("j").task_counts.completed
            assert known >= completed
            completed = known
            try:
                process.wait(moments.uniform(0.0, 0.15))
            except subprocess.TimeoutExpired:
                os.kill(process.pid, signal.SIGKILL)
    with service_process(data) as (batch, _):
        wait_until(lambda: batch.client.get_job_task_counts("j").task_counts.completed == count)
        counts = batch.client.get_job_task_counts("j").task_counts
        assert (counts.succeeded, counts.failed) == (count, 0)
    wait_until(lambda: processes_of(data) == [])
