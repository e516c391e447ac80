"""Acts as the engine: writes a node and the runs of tasks directly to the store."""

from __future__ import annotations

from datetime import UTC, datetime

from batchspec.local.model import Node, NodeState, Task
from tests.local.running import Service

NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


def idle_node(service: Service, slots: int = 4) -> Node:
    """An idle node."""
    pool = service.store.pools.add(
        "p",
        {"vmSize": "standard_d2s_v3"},
        NOW,
        target_dedicated=1,
        target_spot=0,
        resize_timeout="PT15M",
    )
    assert pool is not None
    service.store.nodes.add(pool, ["tvmps_a_d"], NOW, dedicated=True, slots=slots)
    node = service.store.nodes.get("p", "tvmps_a_d")
    assert node is not None
    node = service.store.nodes.update(node, NodeState.STARTING, NOW)
    return service.store.nodes.update(node, NodeState.IDLE, NOW)


def start(service: Service, node: Node, task_id: str) -> Task:
    """Start the task on the node."""
    task = service.store.tasks.get("j", task_id)
    assert task is not None
    run = service.store.runs.begin(task, node, f"workitems/j/job-1/{task_id}", NOW)
    assert run is not None
    return run


def finish(service: Service, run: Task, exit_code: int = 0) -> None:
    """End the run with ``exit_code``."""
    failure = {"category": "UserError", "code": "FailureExitCode"} if exit_code else None
    service.store.runs.finish(
        run,
        NOW,
        started=NOW,
        ended=NOW,
        exit_code=exit_code,
        failure=failure,
        satisfies=not exit_code,
        retain_until=None,
    )
