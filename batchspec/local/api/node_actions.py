"""What can be asked of a compute node. The engine does it; here it is checked and noted."""

from __future__ import annotations

from batchspec.local.api.context import Context
from batchspec.local.api.find import ask, find_node, find_pool
from batchspec.local.api.nodes import ADDRESS, SSH
from batchspec.local.api.pool_form import read_resize_timeout
from batchspec.local.model.life import ALLOCATION, NODE, POOL, NodeState
from batchspec.local.wire.fault import Fault, bad_property
from batchspec.local.wire.reply import Reply, done, many, one
from batchspec.local.wire.request import Request

MAX_REMOVED = 100


def remove_nodes(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/removenodes``: a resize that takes away these nodes."""
    given = request.shape("BatchNodeRemoveOptions")
    ids = dict.fromkeys(name.lower() for name in given["nodeList"])
    if not 1 <= len(given["nodeList"]) <= MAX_REMOVED:
        raise bad_property("nodeList", None, f"The list must have 1 to {MAX_REMOVED} nodes.")
    pool = find_pool(context, request)
    ask(POOL, "update", pool.state)
    if pool.autoscale is not None:
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", "The pool is scaled automatically; disable autoscale to remove nodes."),
        )
    ask(ALLOCATION, "resize", pool.allocation)
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
            timeout=read_resize_timeout(given),
            deallocation=option,
        )
        for node in found:
            context.store.nodes.ask(node, "remove", option)
    return done(202, request.url, pool.modified)


def reboot_node(context: Context, request: Request) -> Reply:
    """``POST .../reboot``: the start task runs again."""
    given = request.optional_shape("BatchNodeRebootOptions")
    return _ask(context, request, "reboot", given.get("nodeRebootOption", "requeue"))


def reimage_node(context: Context, request: Request) -> Reply:
    """``POST .../reimage``: the node's directories are made anew."""
    given = request.optional_shape("BatchNodeReimageOptions")
    return _ask(context, request, "reimage", given.get("nodeReimageOption", "requeue"))


def deallocate_node(context: Context, request: Request) -> Reply:
    """``POST .../deallocate``: the node rests until it is started."""
    given = request.optional_shape("BatchNodeDeallocateOptions")
    return _ask(context, request, "deallocate", given.get("nodeDeallocateOption", "requeue"))


def start_node(context: Context, request: Request) -> Reply:
    """``POST .../start``: a deallocated node comes back."""
    return _ask(context, request, "start", None)


def disable_node_scheduling(context: Context, request: Request) -> Reply:
    """``POST .../disablescheduling``: no task is started there; the option rules the running."""
    given = request.optional_shape("BatchNodeDisableSchedulingOptions")
    return _schedule(
        context, request, "disabled", given.get("nodeDisableSchedulingOption", "requeue")
    )


def enable_node_scheduling(context: Context, request: Request) -> Reply:
    """``POST .../enablescheduling``."""
    return _schedule(context, request, "enabled", None)


def get_node_remote_login_settings(context: Context, request: Request) -> Reply:
    """``GET .../remoteloginsettings``: a node is this machine, reached by the machine's own SSH."""
    find_node(context, request)
    return one(
        {"remoteLoginIPAddress": ADDRESS, "remoteLoginPort": SSH},
        "Microsoft.Azure.Batch.Protocol.Entities.ComputeNodeGetRemoteLoginSettingsResult",
    )


def list_node_extensions(context: Context, request: Request) -> Reply:
    """``GET .../extensions``: nodes take none, so there are none."""
    request.max_results()
    find_node(context, request)
    return many([], "extensions", None)


def get_node_extension(context: Context, request: Request) -> Reply:
    """``GET .../extensions/{extensionName}``: there is none."""
    find_node(context, request)
    raise Fault("VMExtensionNotFound")


def _ask(context: Context, request: Request, verb: str, option: str | None) -> Reply:
    node = find_node(context, request)
    if node.intent == "remove":
        raise Fault("OperationInvalidForCurrentState")
    state: NodeState = ask(NODE, verb, node.state)
    context.store.nodes.ask(node, verb, option, state=state, now=request.now)
    return done(202, request.url)


def _schedule(context: Context, request: Request, scheduling: str, option: str | None) -> Reply:
    node = find_node(context, request)
    if node.scheduling == scheduling:
        raise Fault("NodeAlreadyInTargetSchedulingState")
    context.store.nodes.set_scheduling(node, scheduling, option)
    return done(200, request.url)
