"""A service with its engine, for tests: real processes, near-zero delays."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from batchspec.local.agent import StorageAccess
from batchspec.local.engine import Engine, NodeConfig
from batchspec.local.service import EngineFactory, default_engine
from tests.local.running import Service, running

PATIENCE = 30.0
WAIT = "while [ ! -e $AZ_BATCH_NODE_SHARED_DIR/go ]; do sleep 0.01; done"
"""A script that runs until :func:`release_tasks`."""


def engine_with(storage_access: StorageAccess) -> EngineFactory:
    """A factory of engines whose nodes have ``storage_access``."""
    return lambda store, config, url, clock, _: Engine(
        store, config.data, NodeConfig(config.account, url), storage_access, clock=clock
    )


@contextmanager
def running_with_engine(data: Path, **config: Any) -> Iterator[Service]:
    """A service with its engine on ``data``."""
    with running(data, default_engine, **config) as service:
        yield service


def pool(pool_id: str = "p", nodes: int = 1, **more: Any) -> dict[str, Any]:
    """The JSON of a pool."""
    return {
        "id": pool_id,
        "vmSize": "standard_d2s_v3",
        "targetDedicatedNodes": nodes,
        "virtualMachineConfiguration": {
            "imageReference": {
                "publisher": "canonical",
                "offer": "0001-com-ubuntu-server-jammy",
                "sku": "22_04-lts",
            },
            "nodeAgentSKUId": "batch.node.ubuntu 22.04",
        },
        **more,
    }


def job(job_id: str = "j", pool_id: str = "p", **more: Any) -> dict[str, Any]:
    """The JSON of a job."""
    return {"id": job_id, "poolInfo": {"poolId": pool_id}, **more}


def task(task_id: str, script: str, **more: Any) -> dict[str, Any]:
    """The JSON of a task whose command is a shell script without single quotes."""
    assert "'" not in script
    return {"id": task_id, "commandLine": f"/bin/sh -c '{script}'", **more}


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.005)


def release_tasks(service: Service) -> None:
    """End all scripts that :data:`WAIT`, on all nodes."""
    for shared in (service.data / "nodes").glob("*/*/shared"):
        (shared / "go").touch()


def processes_of(folder: Path, name: str = "") -> list[str]:
    """The command lines with ``name`` of processes whose working directory is in ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if not (entry / "cwd").readlink().is_relative_to(folder):
                continue
            line = (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if line and name in line:
            found.append(line)
    return found
