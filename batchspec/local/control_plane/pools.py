"""Operations on pools: they write what the data plane's operations write, to the same store."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from batchspec.local.api import Context, filtered
from batchspec.local.api.autoscale import start_autoscale, stop_autoscale
from batchspec.local.api.pools import (
    add_pool,
    check_containers,
    check_empty,
    check_packages,
    check_sizes,
    complete_pool,
    read_pool,
    start_resize,
)
from batchspec.local.api.resources import check_id, next_state
from batchspec.local.control_plane.arm import account_id
from batchspec.local.control_plane.pool_properties import (
    IDENTITY,
    SCALE,
    TAGS,
    PoolRequest,
    pool_etag,
    property_paths,
    read_request,
    write_pool,
)
from batchspec.local.fault_injection import QuotaKind
from batchspec.local.model import ALLOCATION, POOL, AllocationState, Pool, PoolState
from batchspec.local.wire import (
    Fault,
    FieldType,
    Reply,
    Request,
    bad_query,
    check_conditions,
    write_http_date,
)

RETRY_AFTER = "1"
"""Seconds between polls of a deletion; the real service asks for 15 (recorded)."""

_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_FILTER = {
    "name": FieldType.TEXT,
    "properties/allocationState": FieldType.WORD,
    "properties/allocationStateTransitionTime": FieldType.TIME,
    "properties/creationTime": FieldType.TIME,
    "properties/provisioningState": FieldType.WORD,
    "properties/provisioningStateTransitionTime": FieldType.TIME,
    "properties/lastModified": FieldType.TIME,
    "properties/vmSize": FieldType.WORD,
    "properties/interNodeCommunication": FieldType.WORD,
    "properties/scaleSettings/autoScale": FieldType.TEXT,
    "properties/scaleSettings/fixedScale": FieldType.TEXT,
}


def put_pool(context: Context, request: Request) -> Reply:
    """``PUT .../pools/{poolName}``: create the pool, or replace its properties."""
    name = check_id("poolName", request.parameters["poolName"])
    given = read_request(request, new=True)
    before = context.store.pools.get(name)
    if before is not None and before.state is PoolState.DELETING:
        raise Fault("PoolBeingDeleted")
    if before is not None and request.headers.get("if-none-match", "").strip() == "*":
        raise Fault("ConditionNotMet")
    if before is None and "if-match" in request.headers:
        raise Fault("ConditionNotMet")
    with property_paths(request.json()):
        _check(context, given)
        if before is not None:
            _check_match(request, before)
            settings = {**read_pool(given.settings), **given.additions}
            scale = {"targetDedicatedNodes": 0, "targetLowPriorityNodes": 0, **given.scale}
            return _reply(context, _change(context, before, settings, scale, request.now))
        if context.reached(QuotaKind.POOL_QUOTA, context.store.pools.count):
            raise Fault("PoolQuotaReached")
        with context.store.transaction():
            scale = {key: item for key, item in given.scale.items() if key in SCALE}
            body = {**given.settings, **scale, **given.additions}
            pool = add_pool(context, name, body, request.now)
    assert pool is not None
    return _reply(context, pool)


def update_pool(context: Context, request: Request) -> Reply:
    """``PATCH .../pools/{poolName}``: given properties replace stored ones."""
    given = read_request(request, new=False)
    pool = _find(context, request)
    _check_match(request, pool)
    with property_paths(request.json()):
        _check(context, given)
        replaced = {IDENTITY: given.identity, TAGS: given.tags}
        removed = {*given.removed, *(name for name, value in replaced.items() if value is not None)}
        kept = {name: value for name, value in pool.body.items() if name not in removed}
        settings = complete_pool({**kept, **given.settings, **given.additions})
        check_sizes(settings)
        return _reply(context, _change(context, pool, settings, given.scale, request.now))


def get_pool(context: Context, request: Request) -> Reply:
    """``GET .../pools/{poolName}``."""
    return _reply(context, _find(context, request))


def list_pools(context: Context, request: Request) -> Reply:
    """``GET .../pools``."""
    names = _selected(request)
    items = [write_pool(context, pool) for pool in context.store.pools.page()]
    shown, link = request.numbered_page(filtered(request, _FILTER, items))
    if names is not None:
        shown = [
            {**item, "properties": {k: v for k, v in item["properties"].items() if k in names}}
            for item in shown
        ]
    return Reply(200, {"value": list(shown), **({} if link is None else {"nextLink": link})})


def stop_resize(context: Context, request: Request) -> Reply:
    """``POST .../pools/{poolName}/stopResize``."""
    pool = _find(context, request)
    next_state(POOL, "update", pool.state)
    if pool.autoscale is not None:
        reason = "The specified pool has AutoScale enabled. AutoScale resize cannot be stopped"
        raise Fault("OperationInvalidForCurrentState", ("Reason", reason))  # recorded
    if next_state(ALLOCATION, "stop", pool.allocation) is AllocationState.STOPPING:
        pool = context.store.pools.stop_resize(pool, request.now)
    return _reply(context, pool)


def disable_auto_scale(context: Context, request: Request) -> Reply:
    """``POST .../pools/{poolName}/disableAutoScale``."""
    pool = _find(context, request)
    next_state(POOL, "update", pool.state)
    return _reply(context, stop_autoscale(context, pool, request.now))


def delete_pool(context: Context, request: Request) -> Reply:
    """``DELETE .../pools/{poolName}``: long-running; 204 if there is no pool."""
    pool = context.store.pools.get(request.parameters["poolName"])
    if pool is None:
        return Reply(204)
    next_state(POOL, "delete", pool.state)
    context.store.pools.delete(pool, request.now)
    return _pending(context, request, f"delete-{pool.id}")


def get_pool_operation(context: Context, request: Request) -> Reply:
    """``GET .../poolOperationResults/{operation}``: 202 while a pool is being deleted, then 200."""
    operation = request.parameters["operation"]
    verb, _, name = operation.partition("-")
    if verb != "delete" or not name:
        raise Fault("InvalidUri")
    pool = context.store.pools.get(name)
    if pool is not None and pool.state is PoolState.DELETING:
        return _pending(context, request, operation)
    return Reply(200)


def _pending(context: Context, request: Request, operation: str) -> Reply:
    place = f"{context.base_url}{account_id(context.account)}/poolOperationResults/{operation}"
    location = f"{place}?api-version={request.version}"
    return Reply(202, headers={"Location": location, "Retry-After": RETRY_AFTER})


def _find(context: Context, request: Request) -> Pool:
    pool = context.store.pools.get(request.parameters["poolName"])
    if pool is None:
        raise Fault("PoolNotFound")
    return pool


def _check_match(request: Request, pool: Pool) -> None:
    """Check ``If-Match``; other conditions do not exist at Resource Manager."""
    match = {name: value for name, value in request.headers.items() if name == "if-match"}
    check_conditions(match, pool.modified, reads=False)


def _check(context: Context, given: PoolRequest) -> None:
    check_sizes(given.settings) if "vmSize" in given.settings else None
    check_packages(context, given.settings)
    check_containers(context, given.settings)


def _change(
    context: Context,
    pool: Pool,
    settings: Mapping[str, Any],
    scale: Mapping[str, Any],
    now: datetime,
) -> Pool:
    """Set the settings of ``pool``, and scale it if ``scale`` differs from what it has.

    Raises:
        Fault: the pool is being deleted, has nodes although it must be empty, or is being resized.
    """
    next_state(POOL, "update", pool.state)
    names = [*settings, *(name for name in pool.body if name not in settings)]
    check_empty(context, pool, [n for n in names if settings.get(n) != pool.body.get(n)])
    with context.store.transaction():
        pool = context.store.pools.update(pool, dict(settings), now)
        if "enableAutoScale" in scale:
            kept = pool.autoscale or {}
            formula = {name: scale[name] for name in scale if name.startswith("autoScale")}
            if any(kept.get(name) != value for name, value in formula.items()) or not kept:
                pool = start_autoscale(context, pool, formula, now)
            return pool
        fixed = {name: scale[name] for name in _TARGETS if name in scale}
        if fixed and pool.autoscale is not None:
            pool = stop_autoscale(context, pool, now)
        if any(fixed[name] != found for name, found in _targets(pool).items() if name in fixed):
            pool = start_resize(context, pool, scale, now)
    return pool


def _targets(pool: Pool) -> dict[str, int]:
    return dict(zip(_TARGETS, (pool.target_dedicated, pool.target_spot), strict=True))


def _selected(request: Request) -> frozenset[str] | None:
    text = request.query.get("$select", "").strip()
    if not text:
        return None
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if not name.startswith("properties/") or name.count("/") != 1:
            reason = "Only top level properties under properties/ are valid for selection"
            raise bad_query("$select", text, reason)
    return frozenset(name.removeprefix("properties/") for name in names)


def _reply(context: Context, pool: Pool) -> Reply:
    headers = {"ETag": pool_etag(pool), "Last-Modified": write_http_date(pool.modified)}
    return Reply(200, write_pool(context, pool), headers=headers)
