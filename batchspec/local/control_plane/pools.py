"""Pools of Resource Manager: operations, and requests and replies with the names of this API.

Operations use the defaults, checks, records and store of the data plane.
:mod:`batchspec.property_rules` converts names and places of properties. Recorded replies have the
same properties in the same order.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
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
    serialize_pool,
    start_resize,
)
from batchspec.local.api.resources import check_id, next_state
from batchspec.local.control_plane.arm import PROVIDER, account_id
from batchspec.local.fault_injection import QuotaKind
from batchspec.local.model import ALLOCATION, POOL, AllocationState, Pool, PoolState
from batchspec.local.wire import (
    Fault,
    FieldType,
    Reply,
    Request,
    bad_body,
    bad_property,
    bad_query,
    check_conditions,
    check_rules,
    etag_of,
    parse_body,
    properties,
    write_http_date,
    write_time,
)
from batchspec.property_rules import ForeignPropertyError, arm_names, arm_pool, batch_pool

IDENTITY = "identity"
TAGS = "resourceTags"
"""The property of the tags in the settings of a pool, as in api-versions before 2025-06-01."""

_READ_ONLY = frozenset(
    {
        "allocationState",
        "allocationStateTransitionTime",
        "autoScaleRun",
        "creationTime",
        "currentDedicatedNodes",
        "currentLowPriorityNodes",
        "lastModified",
        "provisioningState",
        "provisioningStateTransitionTime",
        "resizeOperationStatus",
    }
)
_RESOURCE = frozenset(
    {"id", "name", "type", "etag", "systemData", "properties", "identity", "tags"}
)
SCALE = (
    "enableAutoScale",
    "autoScaleFormula",
    "autoScaleEvaluationInterval",
    "targetDedicatedNodes",
    "targetLowPriorityNodes",
    "resizeTimeout",
)
_IDENTITY_ID = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft\.ManagedIdentity"
    r"/userAssignedIdentities/[^/]+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class PoolRequest:
    """A request that creates or changes a pool, in the form of the data plane.

    ``scale`` contains the settings of the scale, ``settings`` all others. ``identity`` and ``tags``
    are ``None`` if the request omits them; empty values remove them. ``removed`` are the settings
    that an update removes.
    """

    settings: Mapping[str, Any]
    scale: Mapping[str, Any]
    identity: Mapping[str, Any] | None
    tags: Mapping[str, str] | None
    removed: frozenset[str]

    @property
    def additions(self) -> dict[str, Any]:
        """Identity and tags as settings of a pool."""
        found = {IDENTITY: self.identity, TAGS: self.tags}
        return {name: value for name, value in found.items() if value}


def read_request(request: Request, *, new: bool) -> PoolRequest:
    """The request to create or replace a pool (``new``), or to update one.

    Raises:
        Fault: as in the data plane, with the names and paths of Resource Manager.
    """
    body = request.json() if request.body.strip() else {}
    if not isinstance(body, dict):
        raise bad_body("The request body must be an object.")
    for name in body.keys() - _RESOURCE:
        raise _unknown(name)
    with property_paths(body):
        given = _batch_pool(body)
        identity, tags = given.pop(IDENTITY, None), body.get("tags")
        scale = {name: given.pop(name) for name in SCALE if name in given}
        option = given.pop("nodeDeallocationOption", None)
        removed = frozenset({"startTask"} if given.get("startTask") == {} and not new else ())
        given = {name: value for name, value in given.items() if name not in removed}
        if new:
            model = "BatchPoolCreateOptions"
            given |= {"id": request.parameters["poolName"], **scale}
        else:
            model = "BatchPoolUpdateOptions"
        settings = parse_body(model, given)
        check_rules(model, settings)
        parsed = {**_parse_scale(scale), **_parse_scale({"nodeDeallocationOption": option})}
        return PoolRequest(
            {name: value for name, value in settings.items() if name not in (*SCALE, "id")},
            parsed,
            None if identity is None else _identity(identity),
            None if tags is None else _tags(tags),
            removed,
        )


def _batch_pool(body: Mapping[str, Any]) -> dict[str, Any]:
    given = {**body}
    if isinstance(given.get("properties"), dict):
        kept = given["properties"].items()
        given["properties"] = {name: value for name, value in kept if name not in _READ_ONLY}
    try:
        return batch_pool(given)
    except ForeignPropertyError as error:
        raise _unknown(error.name) from None
    except TypeError:
        raise bad_body("A property that must be an object has another type.") from None


def _unknown(name: str) -> Fault:
    return bad_body(
        f"The property '{name}' does not exist on type 'Pool'. "
        "Make sure to only use property names that are defined by the type."
    )


def _parse_scale(scale: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in scale.items() if value is not None}
    automatic = given.pop("enableAutoScale", None)
    found: dict[str, Any] = {}
    for model in ("BatchPoolEnableAutoScaleOptions", "BatchPoolResizeOptions"):
        known = properties(model)
        found |= parse_body(model, {key: given[key] for key in given.keys() & known.keys()})
    return found if automatic is None else {"enableAutoScale": True, **found}


def _identity(given: Mapping[str, Any]) -> dict[str, Any]:
    parsed = parse_body("BatchPoolIdentity", given)
    ids = [each["resourceId"] for each in parsed["userAssignedIdentities"]]
    if parsed["type"] == "None":
        if ids:
            raise bad_property("type", "None", "An identity of type None cannot have identities.")
        return {}
    if not ids:
        raise bad_property(
            "userAssignedIdentities", None, "An identity of type UserAssigned needs an identity."
        )
    for name in ids:
        if _IDENTITY_ID.fullmatch(name) is None:
            raise bad_property(
                "userAssignedIdentities", name, "The value is not the id of a managed identity."
            )
    return {"type": parsed["type"], "userAssignedIdentities": [_described(name) for name in ids]}


def _described(name: str) -> dict[str, str]:
    """An identity with ids instead of those that Microsoft Entra ID assigns."""
    made = {
        kind: str(uuid.uuid5(uuid.NAMESPACE_URL, f"{kind}:{name.lower()}"))
        for kind in ("clientId", "principalId")
    }
    return {"resourceId": name, **made}


def _tags(given: Any) -> dict[str, str]:
    if not isinstance(given, dict) or not all(isinstance(one, str) for one in given.values()):
        raise bad_property("tags", None, "The value must be an object of strings.")
    return given


@contextmanager
def property_paths(body: Mapping[str, Any]) -> Iterator[None]:
    """Within this context, faults about a property get its name and its path in ``body``."""
    try:
        yield
    except Fault as fault:
        values = dict(fault.values)
        name = values.get("PropertyName")
        if name is None:
            raise
        places = [
            (path, value)
            for path, value in _members(body, "")
            if path.rpartition(".")[2] in arm_names(name)
        ]
        wanted = values.get("PropertyValue")
        places.sort(key=lambda place: wanted is not None and str(place[1]) != wanted)
        if not places:
            raise
        path = places[0][0]
        renamed = (("PropertyName", path.rpartition(".")[2]), *fault.values[1:])
        raise Fault(fault.code, *renamed, ("PropertyPath", path)) from None


def _members(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, item in value.items():
            below = f"{path}.{name}" if path else name
            yield below, item
            yield from _members(item, below)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _members(item, f"{path}[{number}]")


def pool_etag(pool: Pool) -> str:
    """The ETag of a pool, which is weak in Resource Manager."""
    return f'W/"{etag_of(pool.modified)}"'


_ORDER = ("displayName", "vmSize", "interNodeCommunication", "taskSlotsPerNode")


def write_pool(context: Context, pool: Pool) -> dict[str, Any]:
    """A pool as a resource."""
    context.store.unread_resizes.read(pool)
    shown = serialize_pool(context, pool)
    known = properties("BatchPoolCreateOptions")
    account = account_id(context.account)
    settings = arm_pool({key: shown[key] for key in shown if key in known}, account)["properties"]
    name, size = settings.pop("displayName", None), settings.pop("vmSize")
    run = shown.get("autoScaleRun")
    found = {
        **({} if name is None else {"displayName": name}),
        "lastModified": shown["lastModified"],
        "creationTime": shown["creationTime"],
        "provisioningState": "Succeeded" if pool.state is PoolState.ACTIVE else "Deleting",
        "provisioningStateTransitionTime": shown["stateTransitionTime"],
        "allocationState": str(shown["allocationState"]).capitalize(),
        "allocationStateTransitionTime": shown["allocationStateTransitionTime"],
        "vmSize": size.upper(),  # recorded
        **settings,
        "resizeOperationStatus": _resize(pool, shown),
        "currentDedicatedNodes": shown["currentDedicatedNodes"],
        "currentLowPriorityNodes": shown["currentLowPriorityNodes"],
        **({} if run is None else {"autoScaleRun": _run(run)}),
    }
    resource: dict[str, Any] = {
        "id": f"{account}/pools/{pool.id}",
        "name": pool.id,
        "type": f"{PROVIDER}/batchAccounts/pools",
        "etag": pool_etag(pool),
        "properties": found,
    }
    if IDENTITY in pool.body:
        resource["identity"] = {
            "type": pool.body[IDENTITY]["type"],
            "userAssignedIdentities": {
                each["resourceId"]: {key: each[key] for key in ("principalId", "clientId")}
                for each in pool.body[IDENTITY]["userAssignedIdentities"]
            },
        }
    if TAGS in pool.body:
        resource["tags"] = pool.body[TAGS]
    return resource


_OPTIONS = ("Requeue", "Terminate", "TaskCompletion", "RetainedData")


def _resize(pool: Pool, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The last resize, in progress or ended. Recorded: the target of Spot nodes is omitted if 0."""
    option = next(word for word in _OPTIONS if word.lower() == pool.deallocation)
    steady = pool.allocation is AllocationState.STEADY
    since = min(pool.modified, pool.allocation_since) if steady else pool.allocation_since
    status: dict[str, Any] = {"targetDedicatedNodes": pool.target_dedicated}
    if pool.target_spot:
        status["targetLowPriorityNodes"] = pool.target_spot
    status |= {
        "nodeDeallocationOption": option,
        "resizeTimeout": pool.resize_timeout,
        "startTime": write_time(since),
    }
    if shown.get("resizeErrors"):
        status["errors"] = [_error(one) for one in shown["resizeErrors"]]
    return status


def _run(run: Mapping[str, Any]) -> dict[str, Any]:
    error = {"error": _error(run["error"])} if "error" in run else {}
    results = {"results": run["results"]} if "results" in run else {}
    return {"evaluationTime": run["timestamp"], **results, **error}


def _error(error: Mapping[str, Any]) -> dict[str, Any]:
    """An error of a resize or an evaluation; its values become details."""
    shown = {"code": error["code"], "message": error["message"]}
    details = [{"code": each["name"], "message": each["value"]} for each in error.get("values", ())]
    return {**shown, **({"details": details} if details else {})}


RETRY_AFTER = "1"
"""Seconds between polls of a deletion; Azure returns 15 (recorded)."""

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
    """``DELETE .../pools/{poolName}``: a long-running operation; 204 if the pool does not exist."""
    pool = context.store.pools.get(request.parameters["poolName"])
    if pool is None:
        return Reply(204)
    next_state(POOL, "delete", pool.state)
    context.store.pools.delete(pool, request.now)
    return _pending(context, request, f"delete-{pool.id}")


def get_pool_operation(context: Context, request: Request) -> Reply:
    """``GET .../poolOperationResults/{operation}``: 202 during the deletion of a pool, then 200."""
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
    """Check ``If-Match``; Resource Manager has no other conditions."""
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
    """Set the settings of ``pool``, and scale the pool if its scale differs from ``scale``.

    Raises:
        Fault: the pool is being deleted or resized, or has nodes although it must be empty.
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
