"""Processes of tasks end with the service, for every way in which the service ends."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from azure.batch import BatchClient, models
from azure.core.credentials import AzureNamedKeyCredential

from batchspec import local
from batchspec.local.daemon import Home
from batchspec.local.process import Process, wait_free


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.fixture
def task(local_home: local.Endpoints) -> Process:
    """A running task that sleeps for ten minutes."""
    batch = client(local_home)
    batch.create_pool(
        models.BatchPoolCreateOptions(
            id="pool",
            vm_size="standard_d2s_v3",
            virtual_machine_configuration=models.VirtualMachineConfiguration(
                image_reference=models.BatchVmImageReference(
                    publisher="canonical", offer="ubuntu-24_04-lts", sku="server", version="latest"
                ),
                node_agent_sku_id="batch.node.ubuntu 24.04",
            ),
            target_dedicated_nodes=1,
        )
    )
    batch.create_job(
        models.BatchJobCreateOptions(id="job", pool_info=models.BatchPoolInfo(pool_id="pool"))
    )
    script = f"echo $$ > {pid_file(local_home)}.new; mv {pid_file(local_home)}.new "
    batch.create_task(
        "job",
        models.BatchTaskCreateOptions(
            id="sleeper",
            command_line=f"/bin/sh -c '{script} {pid_file(local_home)}; exec sleep 600'",
        ),
    )
    return sleeper(local_home)


def client(endpoints: local.Endpoints) -> BatchClient:
    return BatchClient(
        endpoints.batch_url,
        AzureNamedKeyCredential(endpoints.batch_account, endpoints.batch_key),
    )


def pid_file(endpoints: local.Endpoints) -> Path:
    return endpoints.data.parent / "pid"


def sleeper(endpoints: local.Endpoints) -> Process:
    """The process of the task; waits for its start."""
    until(pid_file(endpoints).exists)
    process = Process.of(int(pid_file(endpoints).read_text()))
    assert process
    pid_file(endpoints).unlink()
    return process


def runs(process: Process) -> bool:
    return Process.of(process.pid) == process


def test_stop_ends_the_tasks(local_home: local.Endpoints, task: Process) -> None:
    assert runs(task)
    local.stop(local_home.data)
    assert not runs(task)


def test_after_sigkill_tasks_end_and_run_again(local_home: local.Endpoints, task: Process) -> None:
    os.kill(local_home.pid, signal.SIGKILL)
    until(lambda: not runs(task))

    again = local.start(local_home.data)
    assert again.batch_url == local_home.batch_url
    second = sleeper(again)
    assert second != task
    found = client(again).get_task("job", "sleeper")
    assert found.execution_info
    assert found.execution_info.requeue_count == 1
    local.stop(local_home.data)
    assert not runs(second)


def test_stop_ends_orphaned_tasks(local_home: local.Endpoints, task: Process) -> None:
    # Kill all processes that would end the task: the service, the host and its supervisors.
    hosts = hosts_of(local_home)
    assert len(hosts) > 1
    for pid in [*hosts, local_home.pid]:
        os.kill(pid, signal.SIGSTOP)
    for pid in [*hosts, local_home.pid]:
        os.kill(pid, signal.SIGKILL)
    assert wait_free(Home(local_home.data).daemon_lock, 60)
    assert runs(task), "nothing is left to be ended"

    assert local.stop(local_home.data) is True
    until(lambda: not runs(task))


def hosts_of(endpoints: local.Endpoints) -> list[int]:
    """The task host of the daemon, and its supervisors, which are forks of the host."""
    found = parents_of_hosts()
    (host,) = (pid for pid, parent in found.items() if parent == endpoints.pid)
    return [host, *(pid for pid, parent in found.items() if parent == host)]


def parents_of_hosts() -> dict[int, int]:
    """All task hosts and supervisors on this machine, with their parents."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
            if b"from host import main" in (entry / "cmdline").read_bytes():
                stat = (entry / "stat").read_text()
                found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found
