"""Properties that this service refuses, and properties that it stores without effect.

``docs/compatibility.md`` is generated from the two tables. No property is ignored silently: it is
implemented, or listed in ``WITHOUT_EFFECT`` (stored and returned, with no effect on this machine),
or listed in ``REFUSED`` (refused with 501 and its name).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchspec.local.wire import not_implemented

_IDENTITY = "nodes have no managed identity; specify a user name and a password"
_SYSTEM = "nodes run the operating system of this machine"
_NETWORK = "nodes share the network of this machine"
_USER = "processes run as the user who started the service"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "pool": {
        "mountConfiguration": "nodes are directories; file systems cannot be mounted in them",
        "startTask/containerSettings/registry/identityReference": _IDENTITY,
        "virtualMachineConfiguration/containerConfiguration/containerRegistries/"
        "identityReference": _IDENTITY,
        "virtualMachineConfiguration/extensions": "nodes are not virtual machines",
    },
    "job": {
        "jobManagerTask/containerSettings/registry/identityReference": _IDENTITY,
        "jobPreparationTask/containerSettings/registry/identityReference": _IDENTITY,
        "jobReleaseTask/containerSettings/registry/identityReference": _IDENTITY,
    },
    "task": {
        "containerSettings/registry/identityReference": _IDENTITY,
    },
}
"""By resource type: the path of each refused property, and the reason."""

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
            "there is one node agent; the name only shows whether the image is a Windows image"
        ),
        "virtualMachineConfiguration/windowsConfiguration": "there are no Windows nodes",
        "virtualMachineConfiguration/dataDisks": (
            "no disk is attached; a start task that formats and mounts one fails"
        ),
        "virtualMachineConfiguration/licenseType": _SYSTEM,
        "virtualMachineConfiguration/diskEncryptionConfiguration": (
            "files are in the data folder; its disk is encrypted or not"
        ),
        "virtualMachineConfiguration/nodePlacementConfiguration": "all nodes are on this machine",
        "virtualMachineConfiguration/osDisk": _SYSTEM,
        "virtualMachineConfiguration/securityProfile": _SYSTEM,
        "virtualMachineConfiguration/serviceArtifactReference": _SYSTEM,
        "virtualMachineConfiguration/containerConfiguration/type": (
            "the container engine of this machine is used"
        ),
        "virtualMachineConfiguration/containerConfiguration/containerImageNames": (
            "an image is pulled when the first task needs it, not when a node starts"
        ),
        "upgradePolicy": "the operating system of this machine is not upgraded",
        "userAccounts": _USER,
        "startTask/userIdentity": _USER,
    },
    "job": {
        "allowTaskPreemption": "tasks are never preempted",
        "networkConfiguration": _NETWORK,
        "jobManagerTask/userIdentity": _USER,
        "jobPreparationTask/userIdentity": _USER,
        "jobReleaseTask/userIdentity": _USER,
    },
    "task": {
        "userIdentity": _USER,
    },
}
"""By resource type: the path of each property without effect, and the reason."""


def refuse_unsupported(kind: str, body: Mapping[str, Any]) -> None:
    """Check that ``body`` sets no property of :data:`REFUSED`; empty values and ``false`` pass.

    Raises:
        Fault: ``NotImplemented`` with the name of the property.
    """
    for path, why in REFUSED[kind].items():
        if any(_asked(body, path.split("/"))):
            raise not_implemented(f"The property '{path}' of a {kind} ({why})")


def _asked(body: Mapping[str, Any], path: list[str]) -> Iterator[bool]:
    value = body.get(path[0])
    if len(path) == 1:
        yield value not in (None, False, [], {}, "none")
        return
    for item in value if isinstance(value, list) else (value,):
        if isinstance(item, Mapping):
            yield from _asked(item, path[1:])
