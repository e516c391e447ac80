"""Properties that this service refuses, and properties that it stores without effect.

``docs/compatibility.md`` is generated from the two tables. No property is ignored silently: it is
implemented, or listed in ``WITHOUT_EFFECT`` (stored and returned, with no effect on this machine),
or listed in ``REFUSED`` (refused with 501 and its name).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchspec.local.wire import not_implemented

_IDENTITY = "no registry knows the identities of nodes; name a user and a password"
_SYSTEM = "nodes run the system of this machine"
_NETWORK = "nodes share the network of this machine"
_USER = "processes run as the user who started the service"

REFUSED: Mapping[str, Mapping[str, str]] = {
    "pool": {
        "mountConfiguration": "nodes are directories, and nothing is mounted in them",
        "startTask/containerSettings/registry/identityReference": _IDENTITY,
        "virtualMachineConfiguration/containerConfiguration/containerRegistries/"
        "identityReference": _IDENTITY,
        "virtualMachineConfiguration/extensions": (
            "nodes are no virtual machines that could be extended"
        ),
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
"""By kind of resource: the property (a path), and why it is refused."""

WITHOUT_EFFECT: Mapping[str, Mapping[str, str]] = {
    "pool": {
        "taskSchedulingPolicy/jobDefaultOrder": (
            "jobs of one priority always run in the order of their creation"
        ),
        "vmSize": "nodes are directories and processes of this machine, whatever their size",
        "enableInterNodeCommunication": (
            "nodes share one machine and can always communicate; multi-instance tasks do ask for it"
        ),
        "networkConfiguration/subnetId": _NETWORK,
        "networkConfiguration/dynamicVNetAssignmentScope": _NETWORK,
        "networkConfiguration/endpointConfiguration": (
            "a port that a process listens on is open on this machine, and shown as it is"
        ),
        "networkConfiguration/publicIPAddressConfiguration": "nodes have loopback addresses alone",
        "networkConfiguration/enableAcceleratedNetworking": _NETWORK,
        "virtualMachineConfiguration/imageReference": f"{_SYSTEM}, whatever image is named",
        "virtualMachineConfiguration/nodeAgentSKUId": (
            "there is one agent; the name only tells whether the image is one of Windows"
        ),
        "virtualMachineConfiguration/windowsConfiguration": "there are no Windows nodes",
        "virtualMachineConfiguration/dataDisks": (
            "no disk is attached; one that a start task formats and mounts is not there"
        ),
        "virtualMachineConfiguration/licenseType": _SYSTEM,
        "virtualMachineConfiguration/diskEncryptionConfiguration": (
            "files lie in the data folder, on a disk that is as encrypted as it is"
        ),
        "virtualMachineConfiguration/nodePlacementConfiguration": "all nodes are on this machine",
        "virtualMachineConfiguration/osDisk": _SYSTEM,
        "virtualMachineConfiguration/securityProfile": _SYSTEM,
        "virtualMachineConfiguration/serviceArtifactReference": _SYSTEM,
        "virtualMachineConfiguration/containerConfiguration/type": (
            "whatever engine this machine has is used"
        ),
        "virtualMachineConfiguration/containerConfiguration/containerImageNames": (
            "an image is fetched when the first task needs it, not when a node comes up"
        ),
        "upgradePolicy": "the system of this machine is not upgraded",
        "userAccounts": _USER,
        "startTask/userIdentity": _USER,
    },
    "job": {
        "allowTaskPreemption": "tasks are never preempted for others",
        "networkConfiguration": _NETWORK,
        "jobManagerTask/userIdentity": _USER,
        "jobPreparationTask/userIdentity": _USER,
        "jobReleaseTask/userIdentity": _USER,
    },
    "task": {
        "userIdentity": _USER,
    },
}
"""By kind of resource: the property, and why it has no effect here."""


def refuse_unsupported(kind: str, body: Mapping[str, Any]) -> None:
    """Return when ``body`` asks for nothing that is absent. Empty and ``false`` ask for nothing.

    Raises:
        Fault: ``NotImplemented``, naming the property.
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
