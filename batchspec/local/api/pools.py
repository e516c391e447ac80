"""Pools: operations, validation, defaults, JSON.

Recorded replies have the same defaults and the same order of properties.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from batchspec.catalog.images import PUBLISHERS
from batchspec.local.agent import NoContainerEngineError
from batchspec.local.api.account import check_certificates, check_references
from batchspec.local.api.autoscale import read_autoscale
from batchspec.local.api.resources import (
    POOL_COLUMNS,
    Context,
    check_id,
    common_properties,
    find_pool,
    next_state,
    page_reply,
    pool_stats,
    read_page,
)
from batchspec.local.api.settings import complete_start_task, in_order
from batchspec.local.fault_injection import QuotaKind
from batchspec.local.model import (
    ALLOCATION,
    POOL,
    AllocationState,
    Pool,
    PoolState,
    is_windows,
)
from batchspec.local.wire import (
    Fault,
    Reply,
    Request,
    bad_property,
    created_reply,
    empty_reply,
    not_implemented,
    resource_reply,
    version_headers,
    without_secrets,
    write_time,
)

REPLACED = ("startTask", "applicationPackageReferences", "metadata")
WHILE_EMPTY = (
    "displayName",
    "vmSize",
    "enableInterNodeCommunication",
    "virtualMachineConfiguration",
    "taskSlotsPerNode",
    "taskSchedulingPolicy",
    "networkConfiguration",
    "userAccounts",
    "mountConfiguration",
    "upgradePolicy",
    "vmSkuProfile",
)
"""Properties that "can be updated only when the pool is empty" according to the REST reference."""


def create_pool(context: Context, request: Request) -> Reply:
    """``POST /pools``: the engine resizes the new pool to its targets."""
    given = request.parse_body("BatchPoolCreateOptions")
    check_sizes(given)
    check_packages(context, given)
    check_containers(context, given)
    pool_id = check_id("id", given["id"])
    before = context.store.pools.get(pool_id)
    if before is not None:
        raise Fault("PoolBeingDeleted" if before.state is PoolState.DELETING else "PoolExists")
    if context.reached(QuotaKind.POOL_QUOTA, context.store.pools.count):
        raise Fault("PoolQuotaReached")
    pool = add_pool(context, pool_id, given, request.now)
    if pool is None:
        raise Fault("PoolExists")
    return created_reply(f"{context.base_url}/pools/{pool.id}", pool.modified)


def add_pool(
    context: Context, pool_id: str, given: Mapping[str, Any], now: datetime
) -> Pool | None:
    """Create a pool from a validated request body; ``None`` if the id exists.

    Raises:
        Fault: a setting is invalid.
    """
    autoscale = read_autoscale(given)
    with context.store.transaction():
        pool = context.store.pools.add(
            pool_id,
            read_pool(given),
            now,
            target_dedicated=given.get("targetDedicatedNodes", 0),
            target_spot=given.get("targetLowPriorityNodes", 0),
            resize_timeout=given.get("resizeTimeout", DEFAULT_RESIZE_TIMEOUT),
            autoscale=autoscale,
        )
        if pool is not None and autoscale is not None:
            context.store.autoscale.start(pool, now)
    return pool


def list_pools(context: Context, request: Request) -> Reply:
    """``GET /pools``."""
    page = read_page(request, POOL_COLUMNS)
    stats = request.expands_stats()
    return page_reply(
        request,
        page,
        context.store.pools.page(page),
        lambda pool: _show(context, request, pool, stats=stats),
        lambda pool: pool.id.lower(),
        model="BatchPool",
        metadata="pools",
    )


def get_pool(context: Context, request: Request) -> Reply:
    """``GET /pools/{poolId}``."""
    stats = request.expands_stats()
    pool = find_pool(context, request)
    shown = _show(context, request, pool, stats=stats)
    return resource_reply(request, "BatchPool", shown, "pools/@Element", pool.modified)


def pool_exists(context: Context, request: Request) -> Reply:
    """``HEAD /pools/{poolId}``."""
    return Reply(200, headers=version_headers(find_pool(context, request).modified))


def update_pool(context: Context, request: Request) -> Reply:
    """``PATCH /pools/{poolId}``: properties of the request replace stored ones."""
    given = request.parse_body("BatchPoolUpdateOptions")
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    check_empty(context, pool, given)
    check_packages(context, given)
    body = {**pool.body, **_keep_placement(pool, given)}
    check_sizes(body)
    changed = context.store.pools.update(pool, complete_pool(body), request.now)
    return empty_reply(200, request.url, changed.modified)


def replace_pool_properties(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/updateproperties``: properties not in the request are removed."""
    given = request.parse_body("BatchPoolReplaceOptions")
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    check_packages(context, given)
    kept = {name: value for name, value in pool.body.items() if name not in REPLACED}
    changed = context.store.pools.update(pool, complete_pool({**kept, **given}), request.now)
    return empty_reply(204, request.url, changed.modified)


def resize_pool(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/resize``."""
    given = request.parse_body("BatchPoolResizeOptions")
    if not {"targetDedicatedNodes", "targetLowPriorityNodes"} & given.keys():
        raise bad_property(
            "targetDedicatedNodes",
            None,
            "At least one of targetDedicatedNodes and targetLowPriorityNodes must be specified.",
        )
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    if pool.autoscale is not None:
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", "The pool is scaled automatically; disable autoscale to resize it."),
        )
    changed = start_resize(context, pool, given, request.now)
    return empty_reply(202, request.url, changed.modified)


def start_resize(context: Context, pool: Pool, given: Mapping[str, Any], now: datetime) -> Pool:
    """Resize ``pool`` to the targets in ``given``; missing targets stay.

    Raises:
        Fault: the pool is being resized.
    """
    next_state(ALLOCATION, "resize", pool.allocation)
    changed = context.store.pools.resize(
        pool,
        now,
        target_dedicated=given.get("targetDedicatedNodes", pool.target_dedicated),
        target_spot=given.get("targetLowPriorityNodes", pool.target_spot),
        timeout=given.get("resizeTimeout", DEFAULT_RESIZE_TIMEOUT),
        deallocation=given.get("nodeDeallocationOption", "requeue"),
    )
    context.store.unread_resizes.add(changed, now)
    return changed


def stop_pool_resize(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/stopresize``."""
    pool = find_pool(context, request)
    next_state(POOL, "update", pool.state)
    if next_state(ALLOCATION, "stop", pool.allocation) is AllocationState.STOPPING:
        pool = context.store.pools.stop_resize(pool, request.now)
    return empty_reply(202, request.url, pool.modified)


def delete_pool(context: Context, request: Request) -> Reply:
    """``DELETE /pools/{poolId}``: the pool is ``deleting`` until its nodes are removed."""
    pool = find_pool(context, request)
    next_state(POOL, "delete", pool.state)
    context.store.pools.delete(pool, request.now)
    return empty_reply(202, None)


def check_empty(context: Context, pool: Pool, names: Iterable[str]) -> None:
    """Check that properties of ``WHILE_EMPTY`` change only in an empty pool (contract 2).

    ``names`` are the properties that change.

    Raises:
        Fault: the pool has nodes, or is resizing.
    """
    fixed = [name for name in names if name in WHILE_EMPTY]
    moves = pool.allocation is not AllocationState.STEADY
    if fixed and (moves or context.store.nodes.sizes(pool.id) != (0, 0)):
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", f"The property {fixed[0]} can be updated only when the pool is empty."),
        )


_KEPT = ("placement", "resiliencyPolicy")
"""Properties of a machine that stay if an update omits them (description of 2026-10-01)."""


def _keep_placement(pool: Pool, given: Mapping[str, Any]) -> Mapping[str, Any]:
    machine = given.get("virtualMachineConfiguration")
    if machine is None:
        return given
    before = pool.body["virtualMachineConfiguration"]
    kept = {name: before[name] for name in _KEPT if name in before}
    return {**given, "virtualMachineConfiguration": {**kept, **machine}}


def check_sizes(given: Mapping[str, Any]) -> None:
    """Check ``vmSkuProfile`` and the placement in zones (description of 2026-10-01).

    Raises:
        Fault: ``InvalidPropertyValue`` or ``MissingRequiredProperty``.
    """
    profile, size = given.get("vmSkuProfile"), given.get("vmSize")
    if (profile is not None) != (str(size).lower() == MIX):
        raise bad_property(
            "vmSize",
            size,
            "The size Mix requires vmSkuProfile, and vmSkuProfile requires the size Mix.",
        )
    if profile is not None:
        _check_profile(profile)
    machine = given.get("virtualMachineConfiguration", {})
    if "placement" in machine and "nodePlacementConfiguration" in machine:
        raise bad_property(
            "placement", None, "The value cannot be combined with nodePlacementConfiguration."
        )
    if "resiliencyPolicy" in machine and "placement" not in machine:
        raise bad_property(
            "resiliencyPolicy", None, "The value requires placement with the policy Auto."
        )


def _check_profile(profile: Mapping[str, Any]) -> None:
    sizes = profile.get("vmSizes", ())
    if not 1 <= len(sizes) <= MAX_SIZES:
        raise bad_property("vmSizes", None, f"The list must contain 1 to {MAX_SIZES} sizes.")
    ranked = profile.get("allocationStrategy") == "prioritized"
    for size in sizes:
        if ("rank" in size) != ranked:
            raise bad_property(
                "rank",
                None,
                "The sizes must have a rank if the strategy is prioritized, and otherwise "
                "cannot have one.",
            )


def check_packages(context: Context, given: Mapping[str, Any]) -> None:
    check_references(context, given.get("applicationPackageReferences", ()), needs_default=True)
    check_certificates(context, given)


def _show(context: Context, request: Request, pool: Pool, *, stats: bool) -> dict[str, Any]:
    context.store.unread_resizes.read(pool)
    shown = serialize_pool(context, pool)
    return shown | pool_stats(context, pool, request.now) if stats else shown


DEFAULT_RESIZE_TIMEOUT = "PT15M"
MIX = "mix"
"""The ``vmSize`` of a pool whose nodes have the sizes of ``vmSkuProfile``, in lower case."""
MAX_SIZES = 5
_SERVICE_PROPERTIES = (
    "id",
    "resizeTimeout",
    "targetDedicatedNodes",
    "targetLowPriorityNodes",
    "enableAutoScale",
    "autoScaleFormula",
    "autoScaleEvaluationInterval",
)
_MACHINE = (
    "imageReference",
    "osDisk",
    "nodeAgentSKUId",
    "securityProfile",
    "diskEncryptionConfiguration",
    "windowsConfiguration",
    "nodePlacementConfiguration",
    "dataDisks",
)
_RULE: Mapping[str, Any] = {"sourcePortRanges": ["*"]}


def read_pool(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new pool with all defaults, from a request body.

    Raises:
        Fault: a setting is invalid or not supported.
    """
    if "cloudServiceConfiguration" in given:
        raise Fault("CloudServiceConfigurationRetired")
    if "virtualMachineConfiguration" not in given:
        raise Fault("MissingRequiredProperty", ("PropertyName", "virtualMachineConfiguration"))
    return complete_pool({k: v for k, v in given.items() if k not in _SERVICE_PROPERTIES})


def complete_pool(body: Mapping[str, Any]) -> dict[str, Any]:
    """Pool settings with all defaults, in the service's order.

    Raises:
        Fault: a setting is invalid.
    """
    filled = {
        **body,
        "vmSize": body["vmSize"].lower(),
        "enableInterNodeCommunication": body.get("enableInterNodeCommunication", False),
        "taskSlotsPerNode": body.get("taskSlotsPerNode", 1),
        "taskSchedulingPolicy": {
            "nodeFillType": "Spread",
            "jobDefaultOrder": "none",
            **body.get("taskSchedulingPolicy", {}),
        },
        "virtualMachineConfiguration": _machine(body["virtualMachineConfiguration"]),
    }
    if "startTask" in body:
        filled["startTask"] = complete_start_task(body["startTask"])
    if "networkConfiguration" in body:
        filled["networkConfiguration"] = _network(body["networkConfiguration"])
    if "userAccounts" in body:
        windows = is_windows(filled)
        filled["userAccounts"] = [_account(one, windows=windows) for one in body["userAccounts"]]
    return in_order(filled, ("displayName", "vmSize"))


def _machine(given: Mapping[str, Any]) -> dict[str, Any]:
    image = dict(given["imageReference"])
    _check_subscription("virtualMachineImageId", image)
    if not image.keys() & _IMAGE_IDS:
        _check_image(image)
        image.setdefault("version", "latest")
    machine = {**given, "imageReference": image}
    if "dataDisks" in machine:
        machine["dataDisks"] = [{"caching": "none", **disk} for disk in machine["dataDisks"]]
    if "osDisk" in machine:
        defaults = {"ephemeralOSDiskSettings": {}, "caching": "None"}  # recorded
        machine["osDisk"] = {**defaults, **machine["osDisk"]}
    return in_order(machine, _MACHINE)


_IMAGE = ("publisher", "offer", "sku")
_IMAGE_IDS = frozenset({"virtualMachineImageId", "sharedGalleryImageId", "communityGalleryImageId"})


def _check_image(image: Mapping[str, Any]) -> None:
    """Reject an incomplete image, and an image whose publisher has no images for Batch.

    Raises:
        Fault: ``InvalidPropertyValue`` with the recorded message.
    """
    complete = all(image.get(name) for name in _IMAGE)
    if not complete or image["publisher"].lower() not in PUBLISHERS:
        named = " ".join(f"{name} {image.get(name, '')}" for name in _IMAGE)
        raise bad_property(
            "imageReference", None, f"The specified imageReference with {named} is not supported."
        )


_NO_SUBSCRIPTION = "/subscriptions/00000000-0000-0000-0000-000000000000/"


def _check_subscription(name: str, settings: Mapping[str, Any]) -> None:
    """Reject a resource of the subscription with the id zero, which does not exist.

    Raises:
        Fault: ``InvalidPropertyValue`` with the recorded message.
    """
    value = settings.get(name, "")
    if value.lower().startswith(_NO_SUBSCRIPTION):
        raise bad_property(
            name,
            value,
            f"The specified {name} is in a different subscription and cannot be used with the "
            "current Batch account",
        )


def _network(given: Mapping[str, Any]) -> dict[str, Any]:
    _check_subscription("subnetId", given)
    network = {"dynamicVNetAssignmentScope": "none", **given}
    endpoints = network.get("endpointConfiguration")
    if endpoints:
        pools = [
            {**pool, "networkSecurityGroupRules": [{**_RULE, **rule} for rule in rules]}
            if (rules := pool.get("networkSecurityGroupRules"))
            else pool
            for pool in endpoints["inboundNATPools"]
        ]
        network["endpointConfiguration"] = {**endpoints, "inboundNATPools": pools}
    return network


def _account(given: Mapping[str, Any], *, windows: bool) -> dict[str, Any]:
    account = {"elevationLevel": "nonadmin", **given}
    if windows:
        login = account.get("windowsUserConfiguration", {})
        account["windowsUserConfiguration"] = {"loginMode": "batch", **login}
    return account


def serialize_pool(context: Context, pool: Pool) -> dict[str, Any]:
    """A pool as JSON."""
    body = pool.body
    dedicated, spot = context.store.nodes.sizes(pool.id)
    shown = common_properties(pool, f"{context.base_url}/pools/{pool.id}")
    shown |= {
        "allocationState": pool.allocation,
        "allocationStateTransitionTime": write_time(pool.allocation_since),
        "vmSize": body["vmSize"],
        "resizeTimeout": pool.resize_timeout,
        "currentDedicatedNodes": dedicated,
        "targetDedicatedNodes": pool.target_dedicated,
        "currentLowPriorityNodes": spot,
        "targetLowPriorityNodes": pool.target_spot,
    }
    if pool.resize_errors:
        shown["resizeErrors"] = pool.resize_errors
    shown["enableAutoScale"] = pool.autoscale is not None
    shown |= pool.autoscale or {}
    order = (
        "enableInterNodeCommunication",
        "startTask",
        "userAccounts",
        "certificateReferences",
        "metadata",
        "taskSlotsPerNode",
        "taskSchedulingPolicy",
        "virtualMachineConfiguration",
    )
    rest = {name: value for name, value in body.items() if name not in shown}
    return shown | in_order(without_secrets(rest), order)


CONFIGURATION = "virtualMachineConfiguration/containerConfiguration"


def check_containers(context: Context, pool: Mapping[str, Any]) -> None:
    """Check that a container engine is available if the pool settings need one.

    Raises:
        Fault: ``NotImplemented``, with the messages of the engines.
    """
    machine = pool.get("virtualMachineConfiguration", {})
    if "containerConfiguration" not in machine:
        return
    try:
        context.containers.check()
    except NoContainerEngineError as error:
        why = f"no container engine answers: {error}"
        raise not_implemented(f"The property '{CONFIGURATION}' of a pool ({why})") from None
