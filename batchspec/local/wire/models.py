"""The wire models of each api-version, and the differences between them as one table.

The models of :data:`NEWEST_VERSION` are in ``models.json``. The table contains the differences of
all other versions (properties, enum values, operations). The reader of requests
(:mod:`batchspec.local.wire.body`) and the writer of replies apply it, so that operations use only
the newest names. :data:`OPERATIONS` lists the operations that some versions do not have.

Evidence: the models of azure-batch 4.1.3 to 15.1.0, one release for each version, which
``tests/interop`` compares with the table; ``rec`` marks recorded behaviour. 2026-10-01 follows its
API description; no SDK sends it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from batchspec.local.wire.fault import Fault, bad_query

NEWEST_VERSION = "2025-06-01"
"""The version of ``models.json``, of azure-batch 15.1 and of batchspec."""

VERSIONS = (
    "2018-03-01.6.1",
    "2018-08-01.7.0",
    "2018-12-01.8.0",
    "2019-06-01.9.0",
    "2019-08-01.10.0",
    "2020-03-01.11.0",
    "2020-09-01.12.0",
    "2021-06-01.14.0",
    "2022-01-01.15.0",
    "2022-06-01.15.0",  # rec: no SDK sends it; replies are the same as in 2022-01-01.15.0
    "2022-10-01.16.0",
    "2023-05-01.17.0",
    "2023-11-01.18.0",
    "2024-02-01.19.0",
    "2024-07-01.20.0",
    NEWEST_VERSION,
    "2026-10-01",
)
"""The versions that the service accepts, oldest first."""

_NUMBER: Mapping[str, int] = {version: number for number, version in enumerate(VERSIONS)}


def is_retiring(version: str) -> bool:
    """Whether Azure Batch will retire this known version.

    Azure/Batch#140 announced this in May 2026 for all versions before 2025-06-01, without a date.
    """
    return _NUMBER[version] < _NUMBER[NEWEST_VERSION]


def in_versions(version: str, since: str, until: str) -> bool:
    """Whether ``version`` is in a range that includes both ends; an empty end is open."""
    number = _NUMBER[version]
    first = _NUMBER[since] if since else 0
    last = _NUMBER[until] if until else len(VERSIONS)
    return first <= number <= last


def check_version(query: Mapping[str, str]) -> str:
    """The ``api-version`` of a request.

    Raises:
        Fault: it is missing or not supported.
    """
    version = query.get("api-version")
    if version is None:
        raise Fault("MissingRequiredQueryParameter", ("QueryParameterName", "api-version"))
    if version not in _NUMBER:
        raise bad_query("api-version", version, "The specified api version string is invalid")
    return version


@dataclass(frozen=True, slots=True)
class Added:
    """Properties ``names`` that ``models`` have since a version; both are separated by spaces.

    ``type``, in the notation of ``models.json``, is given for properties that are not in it.
    """

    since: str
    models: str
    names: str
    type: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """Properties ``names`` of ``models.json`` that ``models`` no longer have since a version."""

    since: str
    models: str
    names: str


@dataclass(frozen=True, slots=True)
class Former:
    """A property that ``models`` have up to a version, or have with another ``type``.

    ``path`` is the location of the value in the newest version, if any. ``default`` is the value in
    a reply if the resource has none. ``unset`` is the meaning of a request without the property.
    """

    until: str
    models: str
    name: str
    type: str
    path: str = ""
    default: Any = None
    unset: Any = None
    since: str = ""


@dataclass(frozen=True, slots=True)
class Values:
    """Enum values that exist since, or until, a version only."""

    enum: str
    values: str
    since: str = ""
    until: str = ""


@dataclass(frozen=True, slots=True)
class EnumSpelling:
    """The spelling of enum values in replies up to a version."""

    until: str
    enum: str
    words: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class UnwrappedReply:
    """Up to a version, a reply contains only the value of one property of ``model``."""

    until: str
    model: str
    name: str
    metadata: str


Difference = Added | Removed | Former | Values | EnumSpelling | UnwrappedReply

_POOLS = "BatchPool BatchPoolCreateOptions BatchPoolSpecification"
_JOBS = "BatchJob BatchJobCreateOptions BatchJobSpecification"
_CHANGES = "BatchPoolUpdateOptions BatchPoolReplaceOptions"
_OPTIONS = (
    "BatchNodeDeallocationOption",
    "BatchNodeDeallocateOption",
    "BatchNodeRebootKind",
    "BatchNodeReimageOption",
)

DIFFERENCES: tuple[Difference, ...] = (
    # The description has maps of strings, but extensions accept all types of values.
    Former(VERSIONS[-1], "VMExtension", "settings", "{any}"),
    Former(VERSIONS[-1], "VMExtension", "protectedSettings", "{any}"),
    Former("2018-03-01.6.1", "BatchTaskCounts", "validationStatus", "-string", default="validated"),
    # 2018-08-01.7.0
    Added("2018-08-01.7.0", "BatchNode", "nodeAgentInfo"),
    # The spelling of results changed after 2018-08 (rec).
    EnumSpelling("2018-08-01.7.0", "BatchTaskExecutionResult",
            {"success": "Success", "failure": "Failure"}),
    # 2018-12-01.8.0
    Added("2018-12-01.8.0", _JOBS, "networkConfiguration"),
    Added("2018-12-01.8.0", "NetworkConfiguration", "dynamicVNetAssignmentScope"),
    Added("2018-12-01.8.0", "ResourceFile",
          "autoStorageContainerName storageContainerUrl httpUrl blobPrefix"),
    Added("2018-12-01.8.0", "UserAccount", "windowsUserConfiguration"),
    Former("2018-08-01.7.0", "ResourceFile", "blobSource", "string!", path="httpUrl"),
    Former("2018-08-01.7.0", "ResourceFile", "filePath", "string!"),
    Former("2018-08-01.7.0", "VirtualMachineConfiguration", "osDisk", "@BatchOsDisk"),
    Former("2018-08-01.7.0", "BatchOsDisk", "caching", "#CachingType"),
    # 2019-06-01.9.0
    Added("2019-06-01.9.0", "NetworkSecurityGroupRule", "sourcePortRanges"),
    Added("2019-06-01.9.0", "BatchTaskContainerSettings", "workingDirectory"),
    # 2019-08-01.10.0
    Added("2019-08-01.10.0", _POOLS, "mountConfiguration"),
    Former("2019-08-01.10.0", "NetworkConfiguration", "publicIPs", "[string]",
           path="publicIPAddressConfiguration/ipAddressIds", since="2019-08-01.10.0"),
    # 2020-03-01.11.0
    Added("2020-03-01.11.0", "NetworkConfiguration", "publicIPAddressConfiguration"),
    Added("2020-03-01.11.0", "VirtualMachineConfiguration", "diskEncryptionConfiguration"),
    # 2020-09-01.12.0
    Added("2020-09-01.12.0", _POOLS, "taskSlotsPerNode"),
    Former("2020-03-01.11.0", _POOLS, "maxTasksPerNode", "int", path="taskSlotsPerNode"),
    Added("2020-09-01.12.0", "BatchTask BatchTaskCreateOptions BatchJobManagerTask",
          "requiredSlots"),
    Added("2020-09-01.12.0", "BatchNode", "runningTaskSlotsCount"),
    Added("2020-09-01.12.0", "BatchTaskCountsResult", "taskSlotCounts"),
    UnwrappedReply("2020-03-01.11.0", "BatchTaskCountsResult", "taskCounts", "taskcounts/@Element"),
    # 2021-06-01.14.0
    Added("2021-06-01.14.0", f"{_JOBS} BatchJobUpdateOptions", "maxParallelTasks"),
    Added("2021-06-01.14.0", "BatchPool", "identity"),
    Added("2021-06-01.14.0", "BatchNode", "virtualMachineInfo"),
    Added("2021-06-01.14.0",
          "AzureBlobFileSystemConfiguration ContainerRegistryReference ResourceFile "
          "OutputFileBlobContainerDestination UploadBatchServiceLogsOptions", "identityReference"),
    Added("2021-06-01.14.0", "BatchVmImageReference", "exactVersion"),
    Added("2021-06-01.14.0", "VirtualMachineConfiguration",
          "nodePlacementConfiguration extensions osDisk"),
    Added("2021-06-01.14.0", "BatchOsDisk", "ephemeralOSDiskSettings"),
    Former("2020-09-01.12.0", "ContainerRegistryReference", "username", "string!"),
    Former("2020-09-01.12.0", "ContainerRegistryReference", "password", "string!"),
    # 2022-01-01.15.0
    Added("2022-01-01.15.0", f"{_JOBS} BatchJobUpdateOptions", "allowTaskPreemption"),
    Added("2022-01-01.15.0", "OutputFileBlobContainerDestination", "uploadHeaders"),
    # 2023-05-01.17.0
    Added("2023-05-01.17.0", "NetworkConfiguration", "enableAcceleratedNetworking"),
    Added("2023-05-01.17.0", "VMExtension", "enableAutomaticUpgrade"),
    Values("ContainerType", "criCompatible", since="2023-05-01.17.0"),
    # 2023-11-01.18.0
    Added("2023-11-01.18.0", "BatchOsDisk", "caching managedDisk diskSizeGB "
          "writeAcceleratorEnabled"),
    Added("2023-11-01.18.0", "VirtualMachineConfiguration",
          "securityProfile serviceArtifactReference"),
    Added("2023-11-01.18.0", "VirtualMachineInfo", "scaleSetVmResourceId"),
    Values("StorageAccountType", "standardssd_lrs", since="2023-11-01.18.0"),
    # 2024-02-01.19.0
    Added("2024-02-01.19.0", _POOLS, "upgradePolicy"),
    Added("2024-02-01.19.0", "BatchNodeCounts", "upgradingOS"),
    # 2024-07-01.20.0
    Former("2024-02-01.19.0", _POOLS, "cloudServiceConfiguration", "any"),
    Former("2024-02-01.19.0", _POOLS, "applicationLicenses", "[string]"),
    Added("2024-07-01.20.0", "BatchJobNetworkConfiguration", "skipWithdrawFromVNet"),
    Added("2024-07-01.20.0", "BatchJobUpdateOptions", "networkConfiguration"),
    Added("2024-07-01.20.0", "BatchNodeCounts", "deallocated deallocating"),
    Added("2024-07-01.20.0", "BatchTaskContainerSettings", "containerHostBatchBindMounts"),
    Added("2024-07-01.20.0", "BatchVmImageReference",
          "sharedGalleryImageId communityGalleryImageId"),
    Added("2024-07-01.20.0", "ManagedDisk", "securityProfile"),
    Added("2024-07-01.20.0", "BatchPoolUpdateOptions",
          "displayName vmSize enableInterNodeCommunication virtualMachineConfiguration "
          "taskSlotsPerNode taskSchedulingPolicy networkConfiguration userAccounts "
          "mountConfiguration upgradePolicy"),
    Values("SecurityTypes", "confidentialvm", since="2024-07-01.20.0"),
    # 2025-06-01
    # rec: since November 2024 a pool of a virtual machine has an empty list of certificates.
    Former("2024-07-01.20.0", "BatchPool", "certificateReferences",
           "[@CertificateReference]", default=()),
    Former("2024-07-01.20.0", f"BatchPoolCreateOptions BatchPoolSpecification BatchNode {_CHANGES}",
           "certificateReferences", "[@CertificateReference]"),
    Former("2024-07-01.20.0", f"{_POOLS} BatchPoolUpdateOptions", "targetNodeCommunicationMode",
           "#BatchNodeCommunicationMode", since="2022-10-01.16.0"),
    # rec: the replacement of a pool's properties resets the mode.
    Former("2024-07-01.20.0", "BatchPoolReplaceOptions", "targetNodeCommunicationMode",
           "#BatchNodeCommunicationMode", unset="default", since="2022-10-01.16.0"),
    Former("2024-07-01.20.0", "BatchPool", "currentNodeCommunicationMode",
           "-#BatchNodeCommunicationMode", since="2022-10-01.16.0"),
    Former("2024-07-01.20.0", _POOLS, "resourceTags", "{string}", since="2023-11-01.18.0"),
    Former("2024-07-01.20.0", "BatchPoolUpdateOptions", "resourceTags", "{string}",
           since="2024-07-01.20.0"),
    # rec, January 2025: the service still accepts and returns the retired setting.
    Former("2024-07-01.20.0", "BatchTask BatchTaskCreateOptions BatchJobManagerTask",
           "authenticationTokenSettings", "any"),
    Former("2024-07-01.20.0", "DataDisk", "storageAccountType", "#StorageAccountType",
           path="managedDisk/storageAccountType", default="standard_lrs"),
    Added(NEWEST_VERSION, "DataDisk", "managedDisk"),
    Added(NEWEST_VERSION, "BatchNode", "ipv6Address"),
    Added(NEWEST_VERSION, "BatchNodeRemoteLoginSettings",
          "ipv6RemoteLoginIPAddress ipv6RemoteLoginPort"),
    Added(NEWEST_VERSION, "BatchPublicIpAddressConfiguration", "ipFamilies ipTags"),
    Added(NEWEST_VERSION, "BatchTaskSchedulingPolicy", "jobDefaultOrder"),
    Added(NEWEST_VERSION, "DiskEncryptionConfiguration", "customerManagedKey"),
    Added(NEWEST_VERSION, "ManagedDisk", "diskEncryptionSet"),
    Added(NEWEST_VERSION, "SecurityProfile", "proxyAgentSettings"),
    Values("SecurityEncryptionTypes", "DiskWithVMGuestState", since=NEWEST_VERSION),
    # 2026-10-01
    Removed("2026-10-01", "BatchPoolStatistics", "usageStats"),
    Added("2026-10-01", "BatchNode", "publicIPAddress publicIPv6Address", "-string"),
    Added("2026-10-01", "BatchPool BatchPoolCreateOptions BatchPoolUpdateOptions", "vmSkuProfile",
          "@VirtualMachineSkuProfile"),
    Added("2026-10-01", "VirtualMachineConfiguration", "hardwareProfile", "@HardwareProfile"),
    Added("2026-10-01", "VirtualMachineConfiguration", "placement", "@Placement"),
    Added("2026-10-01", "VirtualMachineConfiguration", "resiliencyPolicy", "@ResiliencyPolicy"),
    *(Values(option, "retaineddata", until=NEWEST_VERSION) for option in _OPTIONS),
)  # fmt: skip
"""The differences of each version from ``models.json``, oldest first."""

OTHER_MODELS: Mapping[str, Mapping[str, str]] = {
    "NodeAgentSku": {
        "id": "string!",
        "verifiedImageReferences": "[@BatchVmImageReference]",
        "osType": "#OSType",
    },
    "Certificate": {
        "thumbprint": "-string",
        "thumbprintAlgorithm": "-string",
        "url": "-string",
        "state": "-string",
        "stateTransitionTime": "-datetime",
        "previousState": "-string",
        "previousStateTransitionTime": "-datetime",
        "publicData": "-string",
        "deleteCertificateError": "-any",
    },
    "CertificateReference": {
        "thumbprint": "string!",
        "thumbprintAlgorithm": "string!",
        "storeLocation": "string",
        "storeName": "string",
        "visibility": "[string]",
    },
    "CertificateAddParameter": {
        "thumbprint": "string!",
        "thumbprintAlgorithm": "string!",
        "data": "string!",
        "certificateFormat": "#CertificateFormat",
        "password": "string",
    },
    "VirtualMachineSkuProfile": {
        "vmSizes": "[@VirtualMachineSkuProfileVmSize]",
        "allocationStrategy": "#VirtualMachineSkuAllocationStrategy",
    },
    "VirtualMachineSkuProfileVmSize": {"name": "string!", "rank": "int"},
    "HardwareProfile": {"vmSizeProperties": "@VMSizeProperties"},
    "VMSizeProperties": {"vCPUsAvailable": "int", "vCPUsPerCore": "int"},
    "Placement": {"zonePlacementPolicy": "#ZonePlacementPolicyType!"},
    "ResiliencyPolicy": {"zoneAllocationPolicy": "@ZoneAllocationPolicy!"},
    "ZoneAllocationPolicy": {
        "maxZoneCount": "int",
        "maxInstancePercentPerZonePolicy": "@MaxInstancePercentPerZonePolicy",
    },
    "MaxInstancePercentPerZonePolicy": {"enabled": "bool", "value": "int!"},
}
"""Models that ``models.json`` does not have, in its notation."""

OTHER_ENUMS: Mapping[str, tuple[str, ...]] = {
    "BatchNodeCommunicationMode": ("default", "classic", "simplified"),
    "CertificateFormat": ("pfx", "cer"),
    "VirtualMachineSkuAllocationStrategy": ("lowestPrice", "capacityOptimized", "prioritized"),
    "ZonePlacementPolicyType": ("Auto",),
}
"""Enums that ``models.json`` does not have."""

OPERATIONS: Mapping[str, tuple[str, str]] = {
    "list_node_agent_skus": ("", "2018-12-01.8.0"),
    "list_supported_images": ("2019-06-01.9.0", ""),
    "upgrade_pool_os": ("", "2018-08-01.7.0"),
    "get_node_extension": ("2021-06-01.14.0", ""),
    "list_node_extensions": ("2021-06-01.14.0", ""),
    "get_all_job_lifetime_statistics": ("", "2022-10-01.16.0"),
    "get_all_pool_lifetime_statistics": ("", "2022-10-01.16.0"),
    "get_remote_desktop_file": ("", "2024-02-01.19.0"),
    "start_node": ("2024-07-01.20.0", ""),
    "deallocate_node": ("2024-07-01.20.0", ""),
    "create_certificate": ("", "2024-07-01.20.0"),
    "list_certificates": ("", "2024-07-01.20.0"),
    "get_certificate": ("", "2024-07-01.20.0"),
    "delete_certificate": ("", "2024-07-01.20.0"),
    "cancel_certificate_deletion": ("", "2024-07-01.20.0"),
    "list_pool_usage_metrics": ("", NEWEST_VERSION),
}
"""First and last version of each operation that some versions do not have; an empty end is open."""


Writer = Callable[[Any], Any]
"""Converts a value from the names of the newest version to the names of another version."""


@cache
def _table() -> Mapping[str, Mapping[str, Any]]:
    text = files("batchspec.local.wire").joinpath("models.json").read_text(encoding="utf-8")
    table: Mapping[str, Mapping[str, Any]] = json.loads(text)
    return table


@cache
def model_names() -> frozenset[str]:
    """The names of all wire models."""
    return frozenset(_table()["models"]) | frozenset(OTHER_MODELS)


@cache
def properties(model: str, version: str = NEWEST_VERSION) -> Mapping[str, str]:
    """Name and type (in the notation of ``models.json``) of each property of a model."""
    shape = dict(_newest(model))
    for row in DIFFERENCES:
        if not isinstance(row, Added | Removed | Former) or model not in row.models.split():
            continue
        match row:
            case Added(since, _, names, kind):
                if not in_versions(version, since, ""):
                    for name in names.split():
                        shape.pop(name, None)
                elif kind:
                    shape |= dict.fromkeys(names.split(), kind)
            case Removed(since, _, names) if in_versions(version, since, ""):
                for name in names.split():
                    shape.pop(name, None)
    return shape | {row.name: row.type for row in formers(model, version)}


@cache
def all_properties(model: str) -> Mapping[str, str]:
    """The properties that a model has in any version, with their newest types."""
    others = {
        name: row.type
        for row in DIFFERENCES
        if isinstance(row, Added) and row.type and model in row.models.split()
        for name in row.names.split()
    }
    former = {
        row.name: row.type
        for row in DIFFERENCES
        if isinstance(row, Former) and model in row.models.split()
    }
    return former | others | dict(_newest(model))


@cache
def formers(model: str, version: str) -> tuple[Former, ...]:
    """The rows of properties that later versions of the model removed, renamed or changed."""
    return tuple(
        row
        for row in DIFFERENCES
        if isinstance(row, Former)
        and model in row.models.split()
        and in_versions(version, row.since, row.until)
    )


@cache
def former_names(version: str) -> Mapping[str, str]:
    """The names in ``version`` of properties that were renamed later."""
    return {
        row.path: row.name
        for row in DIFFERENCES
        if isinstance(row, Former) and row.path and in_versions(version, row.since, row.until)
    }


@cache
def enum_values(enum: str, version: str) -> tuple[str, ...]:
    """The values of an enum in ``version``."""
    missing = {
        value
        for row in DIFFERENCES
        if isinstance(row, Values)
        and row.enum == enum
        and not in_versions(version, row.since, row.until)
        for value in row.values.split()
    }
    words = OTHER_ENUMS.get(enum) or tuple(_table()["enums"][enum])
    return tuple(word for word in words if word not in missing)


def _newest(model: str) -> Mapping[str, str]:
    found: Mapping[str, str] = OTHER_MODELS.get(model) or _table()["models"][model]
    return found


def write_model(model: str, version: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
    """``body``, a ``model`` in the newest names, with the names and properties of ``version``."""
    writer = _model_writer(model, version)
    written: Mapping[str, Any] = body if writer is None else writer(body)
    return written


@cache
def unwrapped(model: str, version: str) -> UnwrappedReply | None:
    """The row of a reply that contains only one property of ``model`` in ``version``."""
    for row in DIFFERENCES:
        if (
            isinstance(row, UnwrappedReply)
            and row.model == model
            and in_versions(version, "", row.until)
        ):
            return row
    return None


@cache
def _model_writer(model: str, version: str) -> Writer | None:
    """The writer of a model; ``None`` if ``version`` has the newest form."""
    shape = properties(model, version)
    dropped = all_properties(model).keys() - shape.keys()
    children = {
        name: writer
        for name, kind in shape.items()
        if (writer := _writer(kind.strip("-!"), version)) is not None
    }
    added = [row for row in formers(model, version) if row.path or row.default is not None]
    if not dropped and not children and not added:
        return None

    def write(body: Mapping[str, Any]) -> Mapping[str, Any]:
        if not added and dropped.isdisjoint(body) and children.keys().isdisjoint(body):
            return body
        out = {
            name: children[name](value) if name in children else value
            for name, value in body.items()
            if name not in dropped
        }
        for row in added:
            if row.name not in out:
                value = _at(body, row.path) if row.path else None
                value = row.default if value is None else value
                if value is not None:
                    out[row.name] = value
        return out

    return write


@cache
def _writer(kind: str, version: str) -> Writer | None:
    if kind.startswith("@"):
        return _model_writer(kind[1:], version)
    if kind.startswith("#"):
        return _speller(kind[1:], version)
    if kind.startswith("["):
        item = _writer(kind[1:-1], version)
        return None if item is None else lambda values: [item(value) for value in values]
    return None


def _speller(enum: str, version: str) -> Writer | None:
    for row in DIFFERENCES:
        if (
            isinstance(row, EnumSpelling)
            and row.enum == enum
            and in_versions(version, "", row.until)
        ):
            words = row.words
            return lambda value: words.get(value, value)
    return None


def _at(body: Any, path: str) -> Any:
    for name in path.split("/"):
        body = body.get(name) if isinstance(body, Mapping) else None
    return body


def put_at(body: dict[str, Any], path: str, value: Any) -> None:
    """Set the property of ``body`` at ``path``; missing objects on the path are created."""
    *parents, last = path.split("/")
    for name in parents:
        body = body.setdefault(name, {})
    body[last] = value


def write_list(
    model: str, version: str, items: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """As :func:`write_model` for each of ``items``."""
    writer = _model_writer(model, version)
    return items if writer is None else [writer(item) for item in items]
