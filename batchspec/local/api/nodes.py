"""Compute nodes: operations, node users, JSON.

Operations write the intent to the store, and the engine carries it out. Users sign in to the SSH
server of their node with the accounts in the store, which keeps passwords as salted hashes.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

from batchspec.local.agent import (
    ADDRESS,
    LOG_NAME,
    SSH_PORT,
    USERS,
    WITHOUT_LOGIN,
    SshServers,
    hash_password,
    read_public_key,
    users_of,
)
from batchspec.local.api.pools import DEFAULT_RESIZE_TIMEOUT
from batchspec.local.api.resources import (
    NODE_COLUMNS,
    POOL_COUNT_COLUMNS,
    Context,
    find_node,
    find_pool,
    next_state,
    page_reply,
    read_page,
)
from batchspec.local.api.tasks import serialize_execution
from batchspec.local.model import (
    ALLOCATION,
    NODE,
    POOL,
    Node,
    NodeState,
    Pool,
    Task,
    Wire,
    node_address,
)
from batchspec.local.wire import (
    Fault,
    Reply,
    Request,
    bad_property,
    created_reply,
    empty_reply,
    list_reply,
    read_time,
    resource_reply,
    without_secrets,
    write_time,
)

MAX_COUNTS = 10
_SSH_BACKEND = 22
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
    "deallocated": NodeState.DEALLOCATED,
    "deallocating": NodeState.DEALLOCATING,
}


def list_nodes(context: Context, request: Request) -> Reply:
    """``GET /pools/{poolId}/nodes``."""
    pool = find_pool(context, request)
    page = read_page(request, NODE_COLUMNS)
    return page_reply(
        request,
        page,
        context.store.nodes.page(pool.id, page),
        lambda node: serialize_node(context, pool, node),
        lambda node: node.id.lower(),
        model="BatchNode",
        metadata="nodes",
    )


def get_node(context: Context, request: Request) -> Reply:
    """``GET /pools/{poolId}/nodes/{nodeId}``; a node has no ETag."""
    pool = find_pool(context, request)
    node = find_node(context, request)
    shown = serialize_node(context, pool, node)
    return resource_reply(request, "BatchNode", shown, "nodes/@Element")


def list_pool_node_counts(context: Context, request: Request) -> Reply:
    """``GET /nodecounts``: nodes by state for each pool, ten pools per page."""
    page = read_page(request, POOL_COUNT_COLUMNS, MAX_COUNTS)
    return page_reply(
        request,
        page,
        context.store.pools.page(page),
        lambda pool: _counts(context, pool),
        lambda pool: pool.id.lower(),
        model="BatchPoolNodeCounts",
        metadata="poolnodecounts",
    )


def serialize_node(context: Context, pool: Pool, node: Node) -> dict[str, Any]:
    """A node as JSON."""
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
        "vmSize": _vm_size(pool),
        "totalTasksRun": node.total_run,
        "totalTasksSucceeded": node.total_succeeded,
        "runningTasksCount": node.running_tasks,
        "runningTaskSlotsCount": node.running_slots,
    }
    recent = context.store.tasks.recent(node.pool_id, node.id)
    if recent:
        shown["recentTasks"] = [_recent_task(context, task) for task in reversed(recent)]
    if "startTask" in pool.body:
        shown["startTask"] = without_secrets(pool.body["startTask"])
        if node.start_task_info is not None:
            shown["startTaskInfo"] = node.start_task_info
    if node.errors:
        shown["errors"] = node.errors
    shown["isDedicated"] = node.dedicated
    addresses = pool.body.get("networkConfiguration", {}).get("publicIPAddressConfiguration", {})
    if addresses.get("provision") != "nopublicipaddresses":
        shown["publicIPAddress"] = ADDRESS
    shown["endpointConfiguration"] = {"inboundEndpoints": _endpoints(pool, node)}
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


def _vm_size(pool: Pool) -> str:
    """The size of the nodes; from a profile, the size with the lowest rank, or else the first."""
    sizes = pool.body.get("vmSkuProfile", {}).get("vmSizes", ())
    first = min(sizes, key=lambda size: size.get("rank", 0), default=None)
    name: str = pool.body["vmSize"] if first is None else first["name"].lower()
    return name


def _endpoints(pool: Pool, node: Node) -> list[dict[str, Any]]:
    """The endpoints of a node: ports of this machine.

    They are the ports in the pool's endpoint configuration, even if no process listens on them, and
    the port of the node's SSH server, 22 until the server has started.
    """
    network = pool.body.get("networkConfiguration", {}).get("endpointConfiguration", {})
    ports = [
        (f"{nat['name']}.0", nat["protocol"], nat["backendPort"], nat["backendPort"])
        for nat in network.get("inboundNATPools", ())
    ]
    ports.append(("SSHRule.0", "tcp", node.detail.get(SSH_PORT, _SSH_BACKEND), _SSH_BACKEND))
    return [
        {
            "name": name,
            "protocol": protocol,
            "publicIPAddress": ADDRESS,
            "publicFQDN": "localhost",
            "frontendPort": frontend,
            "backendPort": backend,
        }
        for name, protocol, frontend, backend in ports
    ]


def _recent_task(context: Context, task: Task) -> dict[str, Any]:
    return {
        "taskUrl": f"{context.base_url}/jobs/{task.job_id}/tasks/{task.id}",
        "jobId": task.job_id,
        "taskId": task.id,
        "taskState": task.state,
        "executionInfo": serialize_execution(task),
    }


def _counts(context: Context, pool: Pool) -> dict[str, Any]:
    counts = context.store.nodes.counts(pool.id)

    def count(*, dedicated: bool) -> dict[str, int]:
        by_state = {name: counts.get((state, dedicated), 0) for name, state in _COUNTED.items()}
        return {**by_state, "total": sum(by_state.values())}

    return {
        "poolId": pool.id,
        "dedicated": count(dedicated=True),
        "lowPriority": count(dedicated=False),
    }


MAX_REMOVED = 100


def remove_nodes(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/removenodes``: a resize that removes the given nodes."""
    given = request.parse_body("BatchNodeRemoveOptions")
    ids = dict.fromkeys(name.lower() for name in given["nodeList"])
    if not 1 <= len(given["nodeList"]) <= MAX_REMOVED:
        raise bad_property("nodeList", None, f"The list must contain 1 to {MAX_REMOVED} nodes.")
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    if pool.autoscale is not None:
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", "The pool is scaled automatically; disable autoscale to remove nodes."),
        )
    next_state(ALLOCATION, "resize", pool.allocation)
    nodes = [context.store.nodes.get(pool.id, name) for name in ids]
    found = [node for node in nodes if node is not None]
    if len(found) < len(nodes):
        raise Fault("NodeNotFound")
    option = given.get("nodeDeallocationOption", "requeue")
    dedicated = sum(node.dedicated for node in found)
    with context.store.transaction():
        pool = context.store.pools.resize(
            pool,
            request.now,
            target_dedicated=max(0, pool.target_dedicated - dedicated),
            target_spot=max(0, pool.target_spot - len(found) + dedicated),
            timeout=given.get("resizeTimeout", DEFAULT_RESIZE_TIMEOUT),
            deallocation=option,
        )
        for node in found:
            context.store.nodes.set_intent(node, "remove", option)
    context.store.unread_resizes.add(pool, request.now)
    return empty_reply(202, request.url, pool.modified)


def reboot_node(context: Context, request: Request) -> Reply:
    """``POST .../reboot``: the start task runs again."""
    given = request.parse_optional_body("BatchNodeRebootOptions")
    return _request_action(context, request, "reboot", given.get("nodeRebootOption", "requeue"))


def reimage_node(context: Context, request: Request) -> Reply:
    """``POST .../reimage``: the engine deletes the node's directories and creates them again."""
    given = request.parse_optional_body("BatchNodeReimageOptions")
    return _request_action(context, request, "reimage", given.get("nodeReimageOption", "requeue"))


def deallocate_node(context: Context, request: Request) -> Reply:
    """``POST .../deallocate``: the node stays deallocated until it is started."""
    given = request.parse_optional_body("BatchNodeDeallocateOptions")
    return _request_action(
        context, request, "deallocate", given.get("nodeDeallocateOption", "requeue")
    )


def start_node(context: Context, request: Request) -> Reply:
    """``POST .../start``: start a deallocated node."""
    return _request_action(context, request, "start", None)


def disable_node_scheduling(context: Context, request: Request) -> Reply:
    """``POST .../disablescheduling``: tasks stop starting; the option applies to running tasks."""
    given = request.parse_optional_body("BatchNodeDisableSchedulingOptions")
    return _set_scheduling(
        context, request, "disabled", given.get("nodeDisableSchedulingOption", "requeue")
    )


def enable_node_scheduling(context: Context, request: Request) -> Reply:
    """``POST .../enablescheduling``."""
    return _set_scheduling(context, request, "enabled", None)


def get_node_remote_login_settings(context: Context, request: Request) -> Reply:
    """``GET .../remoteloginsettings``: start the node's SSH server and return its port."""
    node = find_node(context, request)
    if node.state in WITHOUT_LOGIN:
        raise _no_login(f"The node is {node.state}.")
    if not SshServers.is_installed():
        raise _no_login("No SSH server is installed: pip install 'batchspec[local]'")
    try:
        port = _open_ssh(context, node, request.now)
    except OSError as error:
        raise _no_login(f"The SSH server cannot listen: {error.strerror}.") from error
    return resource_reply(
        request,
        "BatchNodeRemoteLoginSettings",
        {"remoteLoginIPAddress": ADDRESS, "remoteLoginPort": port},
        "Microsoft.Azure.Batch.Protocol.Entities.ComputeNodeGetRemoteLoginSettingsResult",
    )


def _no_login(reason: str) -> Fault:
    return Fault("OperationNotValidOnNode", ("Reason", reason))


def _open_ssh(context: Context, node: Node, now: datetime) -> int:
    """Start the SSH server of a node, unless it is running, and store its port.

    Raises:
        OSError: the server cannot listen.
    """
    last = node.detail.get(SSH_PORT, 0)
    port = context.ssh.open(node.pool_id, node.id, last)
    if port != last:
        context.store.nodes.update(node, node.state, now, detail={**node.detail, SSH_PORT: port})
    return port


def upload_node_logs(context: Context, request: Request) -> Reply:
    """``POST .../uploadbatchservicelogs``: the engine uploads the log of the node's agent.

    The reply does not wait for the upload and does not report a failed upload: recordings have
    replies 200 for containers that do not exist.
    """
    given = request.parse_body("UploadBatchServiceLogsOptions")
    node = _find_ready_node(context, request)
    token = f"{zlib.crc32(context.account.encode()):016X}"
    directory = f"{context.account}-{token}/{node.pool_id}/{node.id}/{request.id}"
    context.store.log_uploads.add(
        node,
        given["containerUrl"],
        f"{directory}/{LOG_NAME}",
        identity="identityReference" in given,
    )
    return resource_reply(
        request,
        "UploadBatchServiceLogsResult",
        {"virtualDirectoryName": directory, "numberOfFilesUploaded": 1},
        "Microsoft.Azure.Batch.Protocol.Entities.UploadBatchServiceLogsResult",
    )


def list_node_extensions(context: Context, request: Request) -> Reply:
    """``GET .../extensions``: the pool's extensions, which do not run here and show as failed."""
    limit = request.max_results()
    found = _extensions(context, request)[:limit]
    return list_reply(request, "BatchNodeVMExtension", found, "extensions", None)


def get_node_extension(context: Context, request: Request) -> Reply:
    """``GET .../extensions/{extensionName}``."""
    name = request.parameters["extensionName"]
    for found in _extensions(context, request):
        if found["vmExtension"]["name"].lower() == name.lower():
            return resource_reply(request, "BatchNodeVMExtension", found, "extensions/@Element")
    raise Fault("VMExtensionNotFound")


def _extensions(context: Context, request: Request) -> list[dict[str, Any]]:
    node = find_node(context, request)
    pool = find_pool(context, request)
    machine = without_secrets(pool.body["virtualMachineConfiguration"])
    status = {
        "code": "ProvisioningState/failed",
        "level": "Error",
        "displayStatus": "Provisioning failed",
        "message": "This service runs no extensions: its nodes are not virtual machines.",
        "time": write_time(node.allocated),
    }
    return [
        {
            "provisioningState": "Failed",
            "vmExtension": extension,
            "instanceView": {"name": extension["name"], "statuses": [status]},
        }
        for extension in machine.get("extensions", ())
    ]


def _request_action(context: Context, request: Request, verb: str, option: str | None) -> Reply:
    node = find_node(context, request)
    if node.intent == "remove":
        raise Fault("OperationInvalidForCurrentState")
    state: NodeState = next_state(NODE, verb, node.state)
    context.store.nodes.set_intent(node, verb, option, state=state, now=request.now)
    return empty_reply(202, request.url)


def _set_scheduling(
    context: Context, request: Request, scheduling: str, option: str | None
) -> Reply:
    node = find_node(context, request)
    if node.scheduling == scheduling:
        raise Fault("NodeAlreadyInTargetSchedulingState")
    context.store.nodes.set_scheduling(node, scheduling, option)
    return empty_reply(200, request.url)


_LIFETIME = timedelta(days=1)
_LONGEST = 64


def create_node_user(context: Context, request: Request) -> Reply:
    """``POST .../users``: the account expires after one day unless ``expiryTime`` is given."""
    given = request.parse_body("BatchNodeUserCreateOptions")
    name: str = given["name"]
    if not 1 <= len(name) <= _LONGEST:
        raise bad_property("name", name[:256], f"The value must have 1 to {_LONGEST} characters.")
    node = _find_ready_node(context, request)
    users = users_of(node, request.now)
    if name in users:
        raise Fault("NodeUserExists")
    _save_users(context, node, {**users, name: _account(given, request.now)}, request.now)
    return created_reply(f"{request.url}/{quote(name, safe='')}", None)


def replace_node_user(context: Context, request: Request) -> Reply:
    """``PUT .../users/{userName}``: properties not in the request get the default of a new user."""
    given = request.parse_body("BatchNodeUserReplaceOptions")
    node, users, name = _find_user(context, request)
    _save_users(context, node, {**users, name: _account(given, request.now)}, request.now)
    return empty_reply(200, request.url)


def delete_node_user(context: Context, request: Request) -> Reply:
    """``DELETE .../users/{userName}``."""
    node, users, name = _find_user(context, request)
    _save_users(
        context, node, {user: kept for user, kept in users.items() if user != name}, request.now
    )
    return empty_reply(200, None)


def _find_ready_node(context: Context, request: Request) -> Node:
    node = find_node(context, request)
    next_state(NODE, "users", node.state)
    return node


def _find_user(context: Context, request: Request) -> tuple[Node, dict[str, Wire], str]:
    node = _find_ready_node(context, request)
    users, name = users_of(node, request.now), request.parameters["userName"]
    if name not in users:
        raise Fault("NodeUserNotFound")
    return node, users, name


def _account(given: Mapping[str, Any], now: datetime) -> Wire:
    """The stored properties of a user: time of expiry, hash of the password, public key, `isAdmin`.

    Raises:
        Fault: the time has passed, or the public key is invalid. No recording shows whether Azure
            refuses an invalid key; no user could sign in with it.
    """
    if "sshPublicKey" in given and read_public_key(given["sshPublicKey"]) is None:
        reason = (
            "The value must be a public key in the encoding of OpenSSH, not the path of a file."
        )
        raise bad_property("sshPublicKey", given["sshPublicKey"][:256], reason)
    stored = {
        "expires": _expiry(given, now),
        "password": hash_password(given.get("password", "")),
        "public_key": given.get("sshPublicKey"),
        "admin": given.get("isAdmin"),
    }
    return {name: value for name, value in stored.items() if value is not None}


def _expiry(given: Mapping[str, Any], now: datetime) -> str:
    if "expiryTime" not in given:
        return write_time(now + _LIFETIME)
    expiry: str = given["expiryTime"]
    if read_time(expiry) <= now:
        raise bad_property("expiryTime", expiry, "The value must be in the future.")
    return expiry


def _save_users(context: Context, node: Node, users: Mapping[str, Wire], now: datetime) -> None:
    context.store.nodes.update(node, node.state, now, detail={**node.detail, USERS: users})
