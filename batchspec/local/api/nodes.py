"""Operations on compute nodes, and how a node is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.context import Context
from batchspec.local.api.find import find_node, find_pool
from batchspec.local.api.listing import NODES, POOL_IDS, read_page, write_page
from batchspec.local.api.secrets import without_secrets
from batchspec.local.api.task_form import write_execution
from batchspec.local.model.layout import node_address
from batchspec.local.model.life import NodeState
from batchspec.local.model.record import Node, Pool, Task
from batchspec.local.wire.reply import Reply, one
from batchspec.local.wire.request import Request, pick
from batchspec.local.wire.times import write_time

MAX_COUNTS = 10
ADDRESS = "127.0.0.1"
"""Where the ports of every node are: they are all this machine."""
SSH = 22
_UNBOOTED = frozenset({NodeState.CREATING, NodeState.STARTING})
_COUNTED: Mapping[str, NodeState] = {
    "creating": NodeState.CREATING,
    "idle": NodeState.IDLE,
    "leavingPool": NodeState.LEAVING_POOL,
    "offline": NodeState.OFFLINE,
    "preempted": NodeState.PREEMPTED,
    "rebooting": NodeState.REBOOTING,
    "reimaging": NodeState.REIMAGING,
    "running": NodeState.RUNNING,
    "starting": NodeState.STARTING,
    "startTaskFailed": NodeState.START_TASK_FAILED,
    "unusable": NodeState.UNUSABLE,
    "unknown": NodeState.UNKNOWN,
    "upgradingOS": NodeState.UPGRADING_OS,
    "waitingForStartTask": NodeState.WAITING_FOR_START_TASK,
}
_COUNTED_NEWER: Mapping[str, NodeState] = {
    "deallocated": NodeState.DEALLOCATED,
    "deallocating": NodeState.DEALLOCATING,
}


def list_nodes(context: Context, request: Request) -> Reply:
    """``GET /pools/{poolId}/nodes``."""
    pool = find_pool(context, request)
    page = read_page(request, NODES)
    return write_page(
        request,
        page,
        context.store.nodes.page(pool.id, page),
        lambda node: write_node(context, pool, node),
        lambda node: node.id.lower(),
        model="BatchNode",
        metadata="nodes",
    )


def get_node(context: Context, request: Request) -> Reply:
    """``GET /pools/{poolId}/nodes/{nodeId}``; a node has no ETag."""
    names = request.select("BatchNode")
    pool = find_pool(context, request)
    node = find_node(context, request)
    return one(pick(write_node(context, pool, node), names), "nodes/@Element")


def list_pool_node_counts(context: Context, request: Request) -> Reply:
    """``GET /nodecounts``: nodes by state for each pool, ten pools a page."""
    page = read_page(request, POOL_IDS, MAX_COUNTS)
    return write_page(
        request,
        page,
        context.store.pools.page(page),
        lambda pool: _counts(context, pool, older=request.older),
        lambda pool: pool.id.lower(),
        model="BatchPoolNodeCounts",
        metadata="poolnodecounts",
    )


def write_node(context: Context, pool: Pool, node: Node) -> dict[str, Any]:
    """A node as the service shows it."""
    url = f"{context.base_url}/pools/{node.pool_id}/nodes/{node.id}"
    shown: dict[str, Any] = {
        "id": node.id,
        "url": url,
        "state": node.state,
        "schedulingState": node.scheduling,
        "stateTransitionTime": write_time(node.state_since),
    }
    booted = None if node.state in _UNBOOTED else node.booted
    if booted is not None:
        shown["lastBootTime"] = write_time(booted)
    shown |= {
        "allocationTime": write_time(node.allocated),
        "ipAddress": node_address(node.seq),
        "affinityId": f"TVM:{node.id}",
        "vmSize": pool.body["vmSize"],
        "totalTasksRun": node.total_run,
        "totalTasksSucceeded": node.total_succeeded,
        "runningTasksCount": node.running_tasks,
        "runningTaskSlotsCount": node.running_slots,
    }
    recent = context.store.tasks.recent(node.pool_id, node.id)
    if recent:
        shown["recentTasks"] = [_recent(context, task) for task in reversed(recent)]
    if "startTask" in pool.body:
        shown["startTask"] = without_secrets(pool.body["startTask"])
        if node.start_task_info is not None:
            shown["startTaskInfo"] = node.start_task_info
    if node.errors:
        shown["errors"] = node.errors
    shown["isDedicated"] = node.dedicated
    shown["endpointConfiguration"] = {"inboundEndpoints": _endpoints(pool)}
    if booted is not None:
        shown["nodeAgentInfo"] = {
            "lastUpdateTime": write_time(booted),
            "version": context.version,
        }
    image = pool.body["virtualMachineConfiguration"]["imageReference"]
    return {
        **shown,
        "virtualMachineInfo": {
            "imageReference": {**image, "exactVersion": image.get("version", "latest")}
        },
    }


def _endpoints(pool: Pool) -> list[dict[str, Any]]:
    """How a node is reached: it is this machine, so its ports are the machine's own.

    Those of the pool's endpoint configuration, and that of SSH, whether or not something listens.
    """
    network = pool.body.get("networkConfiguration", {}).get("endpointConfiguration", {})
    ports = [
        (f"{nat['name']}.0", nat["protocol"], nat["backendPort"])
        for nat in network.get("inboundNATPools", ())
    ]
    ports.append(("SSHRule.0", "tcp", SSH))
    return [
        {
            "name": name,
            "protocol": protocol,
            "publicIPAddress": ADDRESS,
            "publicFQDN": "localhost",
            "frontendPort": port,
            "backendPort": port,
        }
        for name, protocol, port in ports
    ]


def _recent(context: Context, task: Task) -> dict[str, Any]:
    return {
        "taskUrl": f"{context.base_url}/jobs/{task.job_id}/tasks/{task.id}",
        "jobId": task.job_id,
        "taskId": task.id,
        "taskState": task.state,
        "executionInfo": write_execution(task),
    }


def _counts(context: Context, pool: Pool, *, older: bool) -> dict[str, Any]:
    counts = context.store.nodes.counts(pool.id)
    names = _COUNTED if older else {**_COUNTED, **_COUNTED_NEWER}

    def count(*, dedicated: bool) -> dict[str, int]:
        by_state = {name: counts.get((state, dedicated), 0) for name, state in names.items()}
        return {**by_state, "total": sum(by_state.values())}

    return {
        "poolId": pool.id,
        "dedicated": count(dedicated=True),
        "lowPriority": count(dedicated=False),
    }
