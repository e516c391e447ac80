"""What a request may ask for that this service does not do, and what it only keeps.

What lives here: the two tables, and the refusal. ``docs/fidelity.md`` is made of them. Nothing is
taken in silence: a property is either done, or in ``KEPT`` (kept and shown, without effect on this
machine), or in ``ABSENT`` (refused with 501, by name).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchspec.local.wire.fault import absent

ABSENT: Mapping[str, Mapping[str, str]] = {
    "pool": {
        "mountConfiguration": "nothing can be mounted",
        "startTask/containerSettings": "tasks are processes, not containers",
        "virtualMachineConfiguration/containerConfiguration": (
            "tasks are processes, not containers"
        ),
        "virtualMachineConfiguration/extensions": "nodes take no extensions",
    },
    "job": {
        "jobManagerTask": "there are no job manager tasks",
        "jobPreparationTask/containerSettings": "tasks are processes, not containers",
        "jobReleaseTask/containerSettings": "tasks are processes, not containers",
        "poolInfo/autoPoolSpecification": "there are no auto pools",
        "networkConfiguration": "a job has no network of its own",
    },
    "task": {
        "containerSettings": "tasks are processes, not containers",
    },
}
"""By kind of resource: the property (a path), and why it is refused."""

KEPT: Mapping[str, Mapping[str, str]] = {
    "pool": {
        "taskSchedulingPolicy/jobDefaultOrder": (
            "jobs of one priority always run in the order of their creation"
        ),
        "vmSize": "nodes are directories and processes of this machine, whatever their size",
        "enableInterNodeCommunication": (
            "nodes share one machine and can always communicate; multi-instance tasks do ask for it"
        ),
        "networkConfiguration": "nodes share the network of this machine",
        "virtualMachineConfiguration": "nodes run the system of this machine",
        "upgradePolicy": "the system of this machine is not upgraded",
        "userAccounts": "processes run as the user who started the service",
        "startTask/userIdentity": "processes run as the user who started the service",
    },
    "job": {
        "allowTaskPreemption": "tasks are never preempted for others",
    },
    "task": {
        "userIdentity": "processes run as the user who started the service",
    },
}
"""By kind of resource: the property, and why it has no effect here."""


def refuse_absent(kind: str, body: Mapping[str, Any]) -> None:
    """Return when ``body`` asks for nothing that is absent. Empty and ``false`` ask for nothing.

    Raises:
        Fault: ``NotImplemented``, naming the property.
    """
    for path, why in ABSENT[kind].items():
        if any(_asked(body, path.split("/"))):
            raise absent(f"The property '{path}' of a {kind} ({why})")


def _asked(body: Mapping[str, Any], path: list[str]) -> Iterator[bool]:
    value = body.get(path[0])
    if len(path) == 1:
        yield value not in (None, False, [], {}, "none")
    elif isinstance(value, Mapping):
        yield from _asked(value, path[1:])
