"""Operations on pools."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchspec.local.api.applications import check_references
from batchspec.local.api.autoscale import read_autoscale
from batchspec.local.api.containers import check_containers
from batchspec.local.api.context import Context
from batchspec.local.api.find import ask, check_id, find_pool
from batchspec.local.api.gaps import refuse_absent
from batchspec.local.api.listing import POOLS, read_page, write_page
from batchspec.local.api.pool_form import (
    complete_pool,
    read_pool,
    read_resize_timeout,
    read_target,
    write_pool,
)
from batchspec.local.api.statistics import pool_stats
from batchspec.local.model.life import ALLOCATION, POOL, AllocationState
from batchspec.local.model.record import Pool
from batchspec.local.wire.fault import Fault, bad_property
from batchspec.local.wire.reply import Reply, created, done, one, versioned
from batchspec.local.wire.request import Request, pick

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
)
"""What "can be updated only when the pool is empty", says the reference of each of these."""


def create_pool(context: Context, request: Request) -> Reply:
    """``POST /pools``: a pool that resizes to its targets."""
    given = request.shape("BatchPoolCreateOptions")
    _check_packages(context, given)
    check_containers(context, given)
    pool = add_pool(context, check_id("id", given["id"]), given, request.now)
    if pool is None:
        raise Fault("PoolExists")
    return created(f"{context.base_url}/pools/{pool.id}", pool.modified)


def add_pool(
    context: Context, pool_id: str, given: Mapping[str, Any], now: datetime
) -> Pool | None:
    """Make a pool of a create body that has the right shape; ``None`` if the id is taken.

    Raises:
        Fault: a rule of pools is broken.
    """
    autoscale = read_autoscale(given)
    with context.store.transaction():
        pool = context.store.pools.add(
            pool_id,
            read_pool(given),
            now,
            target_dedicated=read_target(given, "targetDedicatedNodes", 0),
            target_spot=read_target(given, "targetLowPriorityNodes", 0),
            resize_timeout=read_resize_timeout(given),
            autoscale=autoscale,
        )
        if pool is not None and autoscale is not None:
            context.store.scaling.start(pool, now)
    return pool


def list_pools(context: Context, request: Request) -> Reply:
    """``GET /pools``."""
    page = read_page(request, POOLS)
    stats = request.expands_stats()
    return write_page(
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
    names, stats = request.select("BatchPool"), request.expands_stats()
    pool = find_pool(context, request)
    shown = pick(_show(context, request, pool, stats=stats), names)
    return one(shown, "pools/@Element", pool.modified)


def pool_exists(context: Context, request: Request) -> Reply:
    """``HEAD /pools/{poolId}``."""
    return Reply(200, headers=versioned(find_pool(context, request).modified))


def update_pool(context: Context, request: Request) -> Reply:
    """``PATCH /pools/{poolId}``: what is given replaces what is there, much of it while empty."""
    given = request.shape("BatchPoolUpdateOptions")
    pool = find_pool(context, request)
    ask(POOL, "update", pool.state)
    _check_empty(context, pool, given)
    refuse_absent("pool", given)
    _check_packages(context, given)
    changed = context.store.pools.update(pool, complete_pool({**pool.body, **given}), request.now)
    return done(200, request.url, changed.modified)


def replace_pool_properties(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/updateproperties``: what is not given is removed."""
    given = request.shape("BatchPoolReplaceOptions")
    pool = find_pool(context, request)
    ask(POOL, "update", pool.state)
    refuse_absent("pool", given)
    _check_packages(context, given)
    kept = {name: value for name, value in pool.body.items() if name not in REPLACED}
    if request.older:
        kept["targetNodeCommunicationMode"] = "default"
    changed = context.store.pools.update(pool, complete_pool({**kept, **given}), request.now)
    return done(204, request.url, changed.modified)


def resize_pool(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/resize``."""
    given = request.shape("BatchPoolResizeOptions")
    timeout = read_resize_timeout(given)
    if not {"targetDedicatedNodes", "targetLowPriorityNodes"} & given.keys():
        raise bad_property(
            "targetDedicatedNodes",
            None,
            "At least one of targetDedicatedNodes and targetLowPriorityNodes must be specified.",
        )
    pool = find_pool(context, request)
    ask(POOL, "update", pool.state)
    if pool.autoscale is not None:
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", "The pool is scaled automatically; disable autoscale to resize it."),
        )
    ask(ALLOCATION, "resize", pool.allocation)
    changed = context.store.pools.resize(
        pool,
        request.now,
        target_dedicated=read_target(given, "targetDedicatedNodes", pool.target_dedicated),
        target_spot=read_target(given, "targetLowPriorityNodes", pool.target_spot),
        timeout=timeout,
        deallocation=given.get("nodeDeallocationOption", "requeue"),
    )
    return done(202, request.url, changed.modified)


def stop_pool_resize(context: Context, request: Request) -> Reply:
    """``POST /pools/{poolId}/stopresize``."""
    pool = find_pool(context, request)
    ask(POOL, "update", pool.state)
    if ask(ALLOCATION, "stop", pool.allocation) is AllocationState.STOPPING:
        pool = context.store.pools.stop(pool, request.now)
    return done(202, request.url, pool.modified)


def delete_pool(context: Context, request: Request) -> Reply:
    """``DELETE /pools/{poolId}``: the pool is ``deleting`` until its nodes are gone."""
    pool = find_pool(context, request)
    ask(POOL, "delete", pool.state)
    context.store.pools.delete(pool, request.now)
    return done(202, None)


def _check_empty(context: Context, pool: Pool, given: Mapping[str, Any]) -> None:
    """See that what is given of ``WHILE_EMPTY`` is given to a pool without nodes (contract 2).

    Raises:
        Fault: the pool has nodes, or is about to.
    """
    fixed = [name for name in given if name in WHILE_EMPTY]
    moves = pool.allocation is not AllocationState.STEADY
    if fixed and (moves or context.store.nodes.sizes(pool.id) != (0, 0)):
        raise Fault(
            "OperationInvalidForCurrentState",
            ("Reason", f"The property {fixed[0]} can be updated only when the pool is empty."),
        )


def _check_packages(context: Context, given: Mapping[str, Any]) -> None:
    check_references(context, given.get("applicationPackageReferences", ()), needs_default=True)


def _show(context: Context, request: Request, pool: Pool, *, stats: bool) -> dict[str, Any]:
    shown = write_pool(context, pool, older=request.older)
    return shown | pool_stats(context, pool, request.now) if stats else shown
