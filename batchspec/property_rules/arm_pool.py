"""A pool in the form of Azure Resource Manager, with its names, paths and spellings.

:func:`arm_pool` converts to it, :func:`batch_pool` from it.

Both have the same properties (api-version 2025-06-01 of ``Microsoft.Batch``), except that only
Resource Manager attaches managed identities. Paths below are those of the Batch service; a list has
no segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]

_MACHINE = "virtualMachineConfiguration"
_NAT_POOLS = "networkConfiguration/endpointConfiguration/inboundNATPools"
_RENAMED: Mapping[str, str] = {
    f"{_MACHINE}/nodeAgentSKUId": "nodeAgentSkuId",
    f"{_MACHINE}/imageReference/virtualMachineImageId": "id",
    "networkConfiguration/dynamicVNetAssignmentScope": "dynamicVnetAssignmentScope",
    _NAT_POOLS: "inboundNatPools",
    "startTask/userIdentity/username": "userName",
    "mountConfiguration/cifsMountConfiguration/username": "userName",
    "applicationPackageReferences": "applicationPackages",
    "applicationPackageReferences/applicationId": "id",
}
"""The last segments that differ."""

_CACHING = ("None", "ReadOnly", "ReadWrite")
_DISKS = ("Standard_LRS", "Premium_LRS", "StandardSSD_LRS")
_ELEVATION = ("NonAdmin", "Admin")
_SPELLED: Mapping[str, tuple[str, ...]] = {
    f"{_MACHINE}/dataDisks/caching": _CACHING,
    f"{_MACHINE}/dataDisks/managedDisk/storageAccountType": _DISKS,
    f"{_MACHINE}/containerConfiguration/type": ("DockerCompatible", "CriCompatible"),
    f"{_MACHINE}/diskEncryptionConfiguration/targets": ("OsDisk", "TemporaryDisk"),
    f"{_MACHINE}/nodePlacementConfiguration/policy": ("Regional", "Zonal"),
    f"{_MACHINE}/osDisk/ephemeralOSDiskSettings/placement": ("CacheDisk",),
    f"{_MACHINE}/osDisk/caching": _CACHING,
    f"{_MACHINE}/osDisk/managedDisk/storageAccountType": _DISKS,
    f"{_MACHINE}/securityProfile/securityType": ("trustedLaunch", "confidentialVM"),
    f"{_NAT_POOLS}/protocol": ("TCP", "UDP"),
    f"{_NAT_POOLS}/networkSecurityGroupRules/access": ("Allow", "Deny"),
    "networkConfiguration/publicIPAddressConfiguration/provision": (
        "BatchManaged",
        "UserManaged",
        "NoPublicIPAddresses",
    ),
    "startTask/containerSettings/workingDirectory": (
        "TaskWorkingDirectory",
        "ContainerImageDefault",
    ),
    "startTask/userIdentity/autoUser/scope": ("Task", "Pool"),
    "startTask/userIdentity/autoUser/elevationLevel": _ELEVATION,
    "taskSchedulingPolicy/jobDefaultOrder": ("None", "CreationTime"),
    "taskSchedulingPolicy/nodeFillType": ("Spread", "Pack"),
    "userAccounts/elevationLevel": _ELEVATION,
    "userAccounts/windowsUserConfiguration/loginMode": ("Batch", "Interactive"),
}
"""The values of the enums that differ in case."""

_FIXED = ("targetDedicatedNodes", "targetLowPriorityNodes", "resizeTimeout")
_AUTO = {"autoScaleFormula": "formula", "autoScaleEvaluationInterval": "evaluationInterval"}
_MOVED = frozenset({"id", "identity", "enableAutoScale", _MACHINE, *_FIXED, *_AUTO})
"""The properties with another path; the paths of all others are equal."""


def arm_pool(body: Mapping[str, Any], account: str) -> Json:
    """The body of a request to Resource Manager that creates or changes a pool.

    Args:
        body: the body of Create Pool or Update Pool, or the properties of a resize. ``identity``
        has the form of the response of Get Pool. account: the resource id of the Batch account,
        with which the ids of its applications begin.
    """
    properties = {
        _name(key): _converted(value, key, account)
        for key, value in body.items()
        if key not in _MOVED
    }
    if "enableInterNodeCommunication" in properties:
        enabled = properties.pop("enableInterNodeCommunication")
        properties["interNodeCommunication"] = "Enabled" if enabled else "Disabled"
    if _MACHINE in body:
        machine = _converted(body[_MACHINE], _MACHINE, account)
        properties["deploymentConfiguration"] = {_MACHINE: machine}
    if scale := _scale_settings(body):
        properties["scaleSettings"] = scale
    found: Json = {"properties": properties}
    if "identity" in body:
        found["identity"] = _identity(body["identity"])
    return found


def _scale_settings(body: Mapping[str, Any]) -> Json:
    if body.get("enableAutoScale") is True or "autoScaleFormula" in body:
        return {"autoScale": {new: body[old] for old, new in _AUTO.items() if old in body}}
    fixed = {key: body[key] for key in _FIXED if key in body}
    return {"fixedScale": fixed} if fixed else {}


def _identity(identity: Mapping[str, Any]) -> Json:
    ids = [each["resourceId"] for each in identity.get("userAssignedIdentities", ())]
    if not ids:
        return {"type": "None"}
    return {"type": "UserAssigned", "userAssignedIdentities": {name: {} for name in ids}}


def _converted(value: Any, path: str, account: str) -> Any:
    match value:
        case Mapping():
            return {
                _name(f"{path}/{key}"): _converted(item, f"{path}/{key}", account)
                for key, item in value.items()
            }
        case list() | tuple():
            return [_converted(item, path, account) for item in value]
        case str() if path == "applicationPackageReferences/applicationId":
            return f"{account}/applications/{value}"
        case str():
            spelled = {known.lower(): known for known in _SPELLED.get(path, ())}
            return spelled.get(value.lower(), value)
    return value


def _name(path: str) -> str:
    return _RENAMED.get(path, path.rpartition("/")[2])


def arm_names(name: str) -> frozenset[str]:
    """The names in Resource Manager of properties that are ``name`` in the Batch service."""
    moved = {**_AUTO, "enableInterNodeCommunication": "interNodeCommunication"}
    renamed = {new for path, new in _RENAMED.items() if path.rpartition("/")[2] == name}
    return frozenset({name, *renamed, *({moved[name]} if name in moved else ())})


class ForeignPropertyError(ValueError):
    """A property that Resource Manager lacks or has under another name.

    ``name`` is the property.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


def batch_pool(body: Mapping[str, Any]) -> Json:
    """The body of Create Pool for a request to Resource Manager; see :func:`arm_pool`.

    ``identity`` has the form of the response of Get Pool. Values of enums keep their case, which
    the Batch service ignores. Only the structure of properties with another path is checked.

    Raises:
        ForeignPropertyError: a property has a name that only the Batch service uses.
        TypeError: a value with another path is not an object.
    """
    found: Json = {}
    for name, value in _mapping(body.get("properties", {})).items():
        if value is None:
            continue
        match name:
            case "deploymentConfiguration":
                for key, machine in _mapping(value).items():
                    if key != _MACHINE:
                        raise ForeignPropertyError(key)
                    found[key] = _restored(machine, key)
            case "scaleSettings":
                found |= _scale(_mapping(value))
            case "interNodeCommunication":
                words = {"enabled": True, "disabled": False}
                enabled = words.get(value.lower(), value) if isinstance(value, str) else value
                found["enableInterNodeCommunication"] = enabled
            case _:
                if name in _MOVED or name == "enableInterNodeCommunication":
                    raise ForeignPropertyError(name)
                key = _original("", name)
                found[key] = _restored(value, key)
    if body.get("identity") is not None:
        identity = _mapping(body["identity"])
        ids = _mapping(identity.get("userAssignedIdentities") or {})
        found["identity"] = {
            "type": identity.get("type"),
            "userAssignedIdentities": [{"resourceId": name} for name in ids],
        }
    return found


def _scale(settings: Mapping[str, Any]) -> Json:
    found: Json = {}
    for name, value in settings.items():
        match name:
            case "fixedScale":
                for key, item in _mapping(value).items():
                    if key not in {*_FIXED, "nodeDeallocationOption"}:
                        raise ForeignPropertyError(key)
                    found[key] = item
            case "autoScale":
                old = {new: key for key, new in _AUTO.items()}
                found["enableAutoScale"] = True
                for key, item in _mapping(value).items():
                    if key not in old:
                        raise ForeignPropertyError(key)
                    found[old[key]] = item
            case _:
                raise ForeignPropertyError(name)
    return found


def _restored(value: Any, path: str) -> Any:
    match value:
        case Mapping():
            return {
                (key := _original(path, name)): _restored(item, f"{path}/{key}")
                for name, item in value.items()
            }
        case list() | tuple():
            return [_restored(item, path) for item in value]
        case str() if path == "applicationPackageReferences/applicationId":
            return value.rpartition("/applications/")[2]
    return value


def _original(parent: str, name: str) -> str:
    """The name of the Batch service for the property ``name`` of Resource Manager."""
    prefix = f"{parent}/" if parent else ""
    if prefix + name in _RENAMED:
        raise ForeignPropertyError(name)
    return _ORIGINAL.get((parent, name), name)


_ORIGINAL: Mapping[tuple[str, str], str] = {
    (path.rpartition("/")[0], new): path.rpartition("/")[2] for path, new in _RENAMED.items()
}


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError("not an object")
    return value
