"""Limits of tasks: reading them from the environment, and enforcing them on real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from batchspec.local.agent import NoAutoStorage
from batchspec.local.agent.processes import Exited, Killed, Processes, Program
from batchspec.local.engine import Engine, NodeConfig
from batchspec.local.settings import Limits, Settings
from batchspec.local.startup import LocalError
from tests.local.engines import job, pool, processes_of, task, wait_until
from tests.local.running import Service, running

MIB = 1 << 20
HUNGRY = f"{sys.executable} -c \"x = b'x' * {200 * MIB}; import time; time.sleep(1000)\""
linux = pytest.mark.skipif(sys.platform != "linux", reason="what processes use is read in /proc")


@pytest.mark.parametrize(
    ("memory", "processes", "limits"),
    [
        ("", "", Limits()),
        ("1000", "7", Limits(1000, 7)),
        ("4G", "", Limits(4 << 30)),
        ("512m", "", Limits(512 << 20)),
    ],
)
def test_limits_are_read_from_the_environment(memory: str, processes: str, limits: Limits) -> None:
    environ = {
        "BATCHSPEC_LOCAL_TASK_MEMORY": memory,
        "BATCHSPEC_LOCAL_TASK_PROCESSES": processes,
    }
    assert Settings.read(environ).limits == limits


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("BATCHSPEC_LOCAL_TASK_MEMORY", "much"),
        ("BATCHSPEC_LOCAL_TASK_MEMORY", "0"),
        ("BATCHSPEC_LOCAL_TASK_MEMORY", "-1G"),
        ("BATCHSPEC_LOCAL_TASK_PROCESSES", "1K"),
    ],
)
def test_an_invalid_limit_is_reported_with_its_variable(name: str, text: str) -> None:
    with pytest.raises(LocalError) as caught:
        Settings.read({name: text})
    assert caught.value.code == "limit-unreadable"
    assert name in caught.value.summary
    assert text in caught.value.summary


@pytest.fixture
async def processes() -> AsyncIterator[Processes]:
    service = Processes({})
    yield service
    await service.close()


def shell(folder: Path, script: str, limits: Limits) -> Program:
    environment = {"PATH": "/usr/bin:/bin"}
    out, err = folder / "out", folder / "err"
    return Program(("/bin/sh", "-c", script), environment, folder, out, err, limits=limits)


@linux
async def test_the_processes_of_a_run_are_counted_together(
    processes: Processes, tmp_path: Path
) -> None:
    script = "for i in 1 2 3 4; do setsid sleep 1000 & done; wait"
    ending = await processes.run("a", shell(tmp_path, script, Limits(processes=4)))
    assert ending == Killed(9, "processes")
    assert processes_of(tmp_path) == []
    ending = await processes.run("b", shell(tmp_path, "sleep 0.2 & wait", Limits(processes=4)))
    assert ending == Exited(0)


@linux
async def test_the_memory_of_a_run_is_summed(processes: Processes, tmp_path: Path) -> None:
    script = f"{HUNGRY} & {HUNGRY} & wait"
    ending = await processes.run("a", shell(tmp_path, script, Limits(memory=300 * MIB)))
    assert ending == Killed(9, "memory")
    assert processes_of(tmp_path) == []


@pytest.fixture
def batch(tmp_path: Path) -> Iterator[Service]:
    def limited(store: Any, config: Any, url: str, clock: Any, ssh: Any) -> Engine:
        node_config = NodeConfig(config.account, url, limits=Limits(100 * MIB, 20))
        return Engine(store, config.data, node_config, NoAutoStorage(), clock=clock)

    with running(tmp_path / "batch", limited) as service:
        yield service
        assert service.violations == []


@linux
def test_a_task_that_exceeds_a_limit_fails_with_the_reason(batch: Service) -> None:
    batch.client.create_pool(pool())
    batch.client.create_job(job())
    batch.client.create_task("j", {"id": "t", "commandLine": HUNGRY})
    batch.client.create_task("j", task("u", "true"))
    wait_until(lambda: batch.client.get_job_task_counts("j").task_counts.completed == 2)
    info = batch.client.get_task("j", "t").execution_info
    assert (info.exit_code, info.failure_info.code) == (137, "FailureExitCode")
    (detail, *_) = info.failure_info.details
    assert detail.value == (
        f"The task was killed for more than {100 * MIB} bytes of memory, its limit"
    )
    assert batch.client.get_task("j", "u").execution_info.exit_code == 0
