"""Pools in the form of Resource Manager: requests to those of the data plane, and replies.

Names and places are those of :mod:`batchspec.property_rules`; defaults, checks and records are the
data plane's. Order and additions of a reply are those of recorded ones.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from batchspec.local.api import Context
from batchspec.local.api.pools import serialize_pool
from batchspec.local.control_plane.arm import PROVIDER, account_id
from batchspec.local.model import AllocationState, Pool, PoolState
from batchspec.local.wire import (
    Fault,
    Request,
    bad_body,
    bad_property,
    check_rules,
    etag_of,
    parse_body,
    properties,
    write_time,
)
from batchspec.property_rules import ForeignPropertyError, arm_names, arm_pool, batch_pool

IDENTITY = "identity"
TAGS = "resourceTags"
"""Where the settings of a pool have the tags: as in api-versions before 2025-06-01."""

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

    ``settings`` are without those of the scale. ``identity`` and ``tags`` are ``None`` if the
    request has none; an empty one removes. ``removed`` are the settings that an update removes.
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
        Fault: as on the data plane, with the names and paths of Resource Manager.
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
        raise bad_body("A property that must be an object is none.") from None


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
            raise bad_property("type", "None", "An identity of type None has no identities.")
        return {}
    if not ids:
        raise bad_property(
            "userAssignedIdentities", None, "An identity of type UserAssigned needs an identity."
        )
    for name in ids:
        if _IDENTITY_ID.fullmatch(name) is None:
            raise bad_property(
                "userAssignedIdentities", name, "It is not the id of a user-assigned identity."
            )
    return {"type": parsed["type"], "userAssignedIdentities": [_described(name) for name in ids]}


def _described(name: str) -> dict[str, str]:
    """An identity with the ids that Microsoft Entra ID would have given it."""
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
    """Within it, faults about a property get its name and its path in ``body``."""
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
    """The ETag of a pool, which is weak at Resource Manager."""
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
    """The last resize, which stays after its end. Recorded: no target of Spot nodes if it is 0."""
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
    """An error of a resize or an evaluation; its values are details of the form of an error."""
    shown = {"code": error["code"], "message": error["message"]}
    details = [{"code": each["name"], "message": each["value"]} for each in error.get("values", ())]
    return {**shown, **({"details": details} if details else {})}
