"""Settings of pools, jobs and tasks: the defaults of all kinds of tasks, properties without effect.

``docs/compatibility.md`` is generated from the table. Each property is implemented, or listed in
``WITHOUT_EFFECT``: it is stored and returned, and has no effect on this machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from batchspec.local.api.resources import Context, check_id
from batchspec.local.model import PREPARATION, RELEASE, Preparation
from batchspec.local.wire import UNLIMITED, bad_property

DEFAULT_RETENTION = "P7D"
_IDENTITY: Mapping[str, Any] = {"autoUser": {"scope": "pool", "elevationLevel": "nonadmin"}}


def check_resource_files(resource_files: Sequence[Mapping[str, Any]]) -> None:
    """Check the URLs of resource files.

    Raises:
        Fault: ``InvalidPropertyValue``, as recorded.
    """
    for resource in resource_files:
        url = resource.get("httpUrl")
        if url is not None and not _is_url(url):
            raise bad_property("httpUrl", url, "The specified HttpUrl is not a valid URI")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def complete_identity(identity: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The user identity of a task with defaults: the non-admin auto-user of the pool."""
    if not identity:
        return _IDENTITY
    if "username" in identity:
        return identity
    return {"autoUser": {**_IDENTITY["autoUser"], **identity.get("autoUser", {})}}


def complete_constraints(constraints: Mapping[str, Any] | None, max_retries: int) -> dict[str, Any]:
    """The constraints of a task with defaults; ``max_retries`` is inherited from the job."""
    given = constraints or {}
    return {
        "maxWallClockTime": given.get("maxWallClockTime", UNLIMITED),
        "retentionTime": given.get("retentionTime", DEFAULT_RETENTION),
        "maxTaskRetryCount": given.get("maxTaskRetryCount", max_retries),
    }


def complete_start_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """A start task with defaults, in the service's order.

    Raises:
        Fault: a setting is invalid.
    """
    check_resource_files(task.get("resourceFiles", ()))
    return in_order(
        {
            **task,
            "userIdentity": complete_identity(task.get("userIdentity")),
            "maxTaskRetryCount": task.get("maxTaskRetryCount", 0),
            "waitForSuccess": task.get("waitForSuccess", True),
        },
        (
            "commandLine",
            "containerSettings",
            "resourceFiles",
            "environmentSettings",
            "userIdentity",
            "maxTaskRetryCount",
            "waitForSuccess",
        ),
    )


def in_order(body: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """``body`` in the service's order: ``names`` first, without empty lists."""
    ordered = {name: body[name] for name in names if name in body}
    ordered |= {name: value for name, value in body.items() if name not in ordered}
    return {name: value for name, value in ordered.items() if value != []}


_FIRST = ("id", "displayName", "commandLine", "resourceFiles", "outputFiles", "environmentSettings")


def complete_job_manager(body: Mapping[str, Any], max_retries: int) -> dict[str, Any]:
    """The job manager task of job settings ``body`` with defaults; empty for other jobs.

    ``max_retries`` is the retry count of the job, which the task inherits.

    Raises:
        Fault: a setting is invalid.
    """
    given = body.get("jobManagerTask")
    if given is None:
        return {}
    check_resource_files(given.get("resourceFiles", ()))
    slots = given.get("requiredSlots", 1)
    complete = {
        **given,
        "id": check_id("id", given["id"]),
        "constraints": complete_constraints(given.get("constraints"), max_retries),
        "requiredSlots": slots,
        "userIdentity": complete_identity(given.get("userIdentity")),
        "runExclusive": given.get("runExclusive", True),
        "allowLowPriorityNode": given.get("allowLowPriorityNode", True),
        "killJobOnCompletion": given.get("killJobOnCompletion", True),
    }
    return {"jobManagerTask": in_order(complete, _FIRST)}


MAX_RELEASE = "PT15M"
"""Default and maximum of a job release task's ``maxWallClockTime``."""


def complete_preparation_and_release(body: Mapping[str, Any]) -> dict[str, Any]:
    """The preparation and release task in job settings ``body``, with defaults.

    Raises:
        Fault: a setting is invalid.
    """
    preparation, release = body.get("jobPreparationTask"), body.get("jobReleaseTask")
    filled = {}
    if preparation is not None:
        filled["jobPreparationTask"] = _preparation(preparation)
    if release is not None:
        filled["jobReleaseTask"] = _release(release)
    return filled


def _preparation(given: Mapping[str, Any]) -> dict[str, Any]:
    check_resource_files(given.get("resourceFiles", ()))
    return in_order(
        {
            **given,
            "id": check_id("id", given.get("id", PREPARATION)),
            "userIdentity": complete_identity(given.get("userIdentity")),
            "constraints": complete_constraints(given.get("constraints"), 0),
            "waitForSuccess": given.get("waitForSuccess", True),
            "rerunOnNodeRebootAfterSuccess": given.get("rerunOnNodeRebootAfterSuccess", True),
        },
        ("id", "commandLine"),
    )


def _release(given: Mapping[str, Any]) -> dict[str, Any]:
    check_resource_files(given.get("resourceFiles", ()))
    return in_order(
        {
            **given,
            "id": check_id("id", given.get("id", RELEASE)),
            "userIdentity": complete_identity(given.get("userIdentity")),
            "maxWallClockTime": given.get("maxWallClockTime", MAX_RELEASE),
            "retentionTime": given.get("retentionTime", DEFAULT_RETENTION),
        },
        ("id", "commandLine"),
    )


def serialize_preparation(context: Context, preparation: Preparation) -> dict[str, Any]:
    """The status of the preparation and release task of a job on one node, as JSON."""
    node = f"{context.base_url}/pools/{preparation.pool_id}/nodes/{preparation.node_id}"

    def located(info: Mapping[str, Any]) -> dict[str, Any]:
        return {**info, "taskRootDirectoryUrl": f"{node}/files/{info['taskRootDirectory']}"}

    shown = {
        "poolId": preparation.pool_id,
        "nodeId": preparation.node_id,
        "nodeUrl": node,
        "jobPreparationTaskExecutionInfo": located(preparation.info),
    }
    if preparation.release is not None:
        shown["jobReleaseTaskExecutionInfo"] = located(preparation.release)
    return shown


_NO_IDENTITY = "nodes have no managed identity: images are pulled without signing in"
_SYSTEM = "nodes run the operating system of this machine"
_NETWORK = "nodes share the network of this machine"
_MOUNT = "file systems are mounted as folders; see `docs/local.md`"
_USER = "processes run as the user who started the service, unless the service runs as root"

WITHOUT_EFFECT: Mapping[str, Mapping[str, str]] = {
    "pool": {
        "taskSchedulingPolicy/jobDefaultOrder": (
            "jobs of equal priority always run in the order of their creation"
        ),
        "vmSize": "nodes are directories and processes of this machine for every size",
        "enableInterNodeCommunication": (
            "nodes share one machine and can always communicate; multi-instance tasks require it"
        ),
        "networkConfiguration/subnetId": _NETWORK,
        "networkConfiguration/dynamicVNetAssignmentScope": _NETWORK,
        "networkConfiguration/endpointConfiguration": (
            "a port that a process listens on is open on this machine under the same number"
        ),
        "networkConfiguration/publicIPAddressConfiguration": "nodes have only loopback addresses",
        "networkConfiguration/enableAcceleratedNetworking": _NETWORK,
        "virtualMachineConfiguration/imageReference": f"{_SYSTEM} for every image",
        "virtualMachineConfiguration/nodeAgentSKUId": (
            "all nodes have the same agent; the name only shows whether the image is for Windows"
        ),
        "virtualMachineConfiguration/windowsConfiguration": "there are no Windows nodes",
        "virtualMachineConfiguration/dataDisks": (
            "no disk is attached; a start task that formats and mounts one fails"
        ),
        "virtualMachineConfiguration/licenseType": _SYSTEM,
        "virtualMachineConfiguration/diskEncryptionConfiguration": (
            "the encryption of files depends on the disk of the data folder"
        ),
        "virtualMachineConfiguration/nodePlacementConfiguration": "all nodes are on this machine",
        "virtualMachineConfiguration/osDisk": _SYSTEM,
        "virtualMachineConfiguration/securityProfile": _SYSTEM,
        "virtualMachineConfiguration/serviceArtifactReference": _SYSTEM,
        "virtualMachineConfiguration/extensions": (
            "nodes are not virtual machines; an extension of a node is shown as failed"
        ),
        "virtualMachineConfiguration/containerConfiguration/containerRegistries/"
        "identityReference": _NO_IDENTITY,
        "startTask/containerSettings/registry/identityReference": _NO_IDENTITY,
        "virtualMachineConfiguration/containerConfiguration/type": (
            "the container engine of this machine is used"
        ),
        "virtualMachineConfiguration/containerConfiguration/containerImageNames": (
            "an image is pulled when the first task needs it, not when a node starts"
        ),
        "mountConfiguration/azureBlobFileSystemConfiguration/blobfuseOptions": (
            "some have an effect on FUSE file systems; see `docs/local.md`"
        ),
        "mountConfiguration/nfsMountConfiguration/mountOptions": _MOUNT,
        "upgradePolicy": "the operating system of this machine is not upgraded",
        "userAccounts": _USER,
        "startTask/userIdentity": _USER,
    },
    "job": {
        "allowTaskPreemption": "tasks are never preempted",
        "networkConfiguration": _NETWORK,
        "jobManagerTask/containerSettings/registry/identityReference": _NO_IDENTITY,
        "jobPreparationTask/containerSettings/registry/identityReference": _NO_IDENTITY,
        "jobReleaseTask/containerSettings/registry/identityReference": _NO_IDENTITY,
        "jobManagerTask/userIdentity": _USER,
        "jobPreparationTask/userIdentity": _USER,
        "jobReleaseTask/userIdentity": _USER,
    },
    "task": {
        "containerSettings/registry/identityReference": _NO_IDENTITY,
        "userIdentity": _USER,
    },
}
"""By resource type: the path of each property without effect, and the reason."""
