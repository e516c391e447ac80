"""Pools between their wire form and their record: defaults in, service-owned fields out.

The order of properties and the defaults are those of recorded replies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from batchspec.local.api.context import Context
from batchspec.local.api.gaps import refuse_absent
from batchspec.local.api.images import PUBLISHERS
from batchspec.local.api.secrets import without_secrets
from batchspec.local.api.task_settings import fill_start_task, in_order
from batchspec.local.model.machine import is_windows
from batchspec.local.model.record import Pool
from batchspec.local.wire.fault import Fault, bad_property
from batchspec.local.wire.times import etag_of, ticks_of, write_time

DEFAULT_RESIZE_TIMEOUT = "PT15M"
_MINUTE = 60 * 10_000_000
MAX_SLOTS = 256
_OF_THE_SERVICE = (
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
_GALLERY = (
    "/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/"
    "Microsoft.Compute/galleries/{galleryName}/images/{galleryImageName}"
)
_GALLERY_REASON = (
    f"The specified resource id must be of the format {_GALLERY}/versions/"
    f"{{galleryImageVersionName}} or {_GALLERY}"
)
_GALLERY_IMAGE = re.compile(
    re.sub(r"\{\w+\}", "[^/]+", _GALLERY) + "(/versions/[^/]+)?", re.IGNORECASE
)
_RULE: Mapping[str, Any] = {"sourcePortRanges": ["*"]}
_ONLY_OLDER = ("certificateReferences", "targetNodeCommunicationMode", "resourceTags")


def read_pool(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a new pool: what of a create body is kept, complete.

    Raises:
        Fault: a rule of pools is broken, or something is asked for that this service has not.
    """
    if "cloudServiceConfiguration" in given:
        raise Fault("CloudServiceConfigurationRetired")
    refuse_absent("pool", given)
    if "virtualMachineConfiguration" not in given:
        raise Fault("MissingRequiredProperty", ("PropertyName", "virtualMachineConfiguration"))
    return complete_pool({k: v for k, v in given.items() if k not in _OF_THE_SERVICE})


def complete_pool(body: Mapping[str, Any]) -> dict[str, Any]:
    """Pool settings with all defaults, in the service's order.

    Raises:
        Fault: a rule of pools is broken.
    """
    slots = body.get("taskSlotsPerNode", 1)
    if not 1 <= slots <= MAX_SLOTS:
        raise bad_property(
            "taskSlotsPerNode", str(slots), f"The value must be from 1 to {MAX_SLOTS}."
        )
    filled = {
        **body,
        "vmSize": body["vmSize"].lower(),
        "enableInterNodeCommunication": body.get("enableInterNodeCommunication", False),
        "taskSlotsPerNode": slots,
        "taskSchedulingPolicy": {
            "nodeFillType": "Spread",
            **body.get("taskSchedulingPolicy", {}),
        },
        "virtualMachineConfiguration": _machine(body["virtualMachineConfiguration"]),
    }
    if "startTask" in body:
        filled["startTask"] = fill_start_task(body["startTask"])
    if "networkConfiguration" in body:
        filled["networkConfiguration"] = _network(body["networkConfiguration"])
    if "userAccounts" in body:
        windows = is_windows(filled)
        filled["userAccounts"] = [_account(one, windows=windows) for one in body["userAccounts"]]
    return in_order(filled, ("displayName", "vmSize"))


def _machine(given: Mapping[str, Any]) -> dict[str, Any]:
    image = dict(given["imageReference"])
    custom = image.get("virtualMachineImageId")
    if custom is not None and _GALLERY_IMAGE.fullmatch(custom) is None:
        raise bad_property("virtualMachineImageId", custom, _GALLERY_REASON)
    if "virtualMachineImageId" not in image and "publisher" in image:
        _check_image(image)
        image.setdefault("version", "latest")
    machine = {**given, "imageReference": image}
    if "dataDisks" in machine:
        machine["dataDisks"] = [{"caching": "none", **disk} for disk in machine["dataDisks"]]
    if "osDisk" in machine:
        machine["osDisk"] = {"ephemeralOSDiskSettings": {}, **machine["osDisk"]}
    return in_order(machine, _MACHINE)


def _check_image(image: Mapping[str, Any]) -> None:
    """Refuse what can only be a slip: an image of nobody who publishes any for Batch.

    Raises:
        Fault: ``InvalidPropertyValue``, in the recorded words.
    """
    if image["publisher"].lower() not in PUBLISHERS:
        named = " ".join(f"{name} {image.get(name, '')}" for name in ("publisher", "offer", "sku"))
        raise bad_property(
            "imageReference", None, f"The specified imageReference with {named} is not supported."
        )


def _network(given: Mapping[str, Any]) -> dict[str, Any]:
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


def read_target(given: Mapping[str, Any], name: str, default: int) -> int:
    """A target number of nodes.

    Raises:
        Fault: it is negative.
    """
    target: int = given.get(name, default)
    if target < 0:
        raise bad_property(name, str(target), "The value cannot be negative.")
    return target


def read_resize_timeout(given: Mapping[str, Any]) -> str:
    """The resize timeout: at least 5 minutes, at most 168 hours, by default 15 minutes.

    Raises:
        Fault: it is out of those bounds.
    """
    text: str = given.get("resizeTimeout", DEFAULT_RESIZE_TIMEOUT)
    if not 5 * _MINUTE <= ticks_of(text) <= 168 * 60 * _MINUTE:
        raise bad_property(
            "resizeTimeout", text, "The value must be between 5 minutes and 168 hours."
        )
    return text


def write_pool(context: Context, pool: Pool, *, older: bool) -> dict[str, Any]:
    """A pool as the service shows it."""
    body = pool.body
    dedicated, spot = context.store.nodes.sizes(pool.id)
    shown: dict[str, Any] = {"id": pool.id}
    if "displayName" in body:
        shown["displayName"] = body["displayName"]
    shown |= {
        "url": f"{context.base_url}/pools/{pool.id}",
        "eTag": etag_of(pool.modified),
        "lastModified": write_time(pool.modified),
        "creationTime": write_time(pool.created),
        "state": pool.state,
        "stateTransitionTime": write_time(pool.state_since),
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
    if not older:
        rest = {name: value for name, value in rest.items() if name not in _ONLY_OLDER}
    rest = in_order(without_secrets(rest), order)
    if older:
        # Recorded since November 2024: there even when there are none, which is always.
        rest = {"certificateReferences": [], **rest}
    return shown | _with_disks(rest, older=older)


def _with_disks(body: Mapping[str, Any], *, older: bool) -> dict[str, Any]:
    """The kind of storage of a data disk moved into ``managedDisk`` in the newest api-version."""
    machine = body["virtualMachineConfiguration"]
    if "dataDisks" not in machine:
        return dict(body)
    kind = "storageAccountType"
    disks = [
        {kind: "standard_lrs", **disk} if older else {k: v for k, v in disk.items() if k != kind}
        for disk in machine["dataDisks"]
    ]
    return {**body, "virtualMachineConfiguration": {**machine, "dataDisks": disks}}
