"""The interface of a Batch account and its Storage account: :class:`Account`.

An account consists of resources, each a Protocol named like its operation group in the REST
reference: ``account.pools.get(pool_id)``, ``account.tasks.list(job_id)``. ``observe`` reads an
account, ``apply`` changes it, ``cloud`` implements it, and tests have an account in memory.

In and out: frozen values. :func:`read_capacity` and :func:`find_pool_user` combine what several
resources know. Not here: requests, SDK types, and decisions.
"""

from __future__ import annotations

from batchspec.account.capacity import find_pool_user, read_capacity
from batchspec.account.facts import (
    ContainerProperties,
    FilePart,
    NodeFacts,
    NodeFile,
    NodeRecord,
    PreparationFacts,
    TaskAdded,
    TaskCounts,
    TaskDetails,
    TaskRecord,
    TaskSince,
    TaskTimes,
    TaskWaiting,
)
from batchspec.account.resources import (
    Account,
    Applications,
    Blobs,
    Containers,
    ControlPlane,
    Images,
    Jobs,
    JobSchedules,
    Nodes,
    PoolChanges,
    Pools,
    Quotas,
    Tasks,
)

__all__ = [
    "Account",
    "Applications",
    "Blobs",
    "ContainerProperties",
    "Containers",
    "ControlPlane",
    "FilePart",
    "Images",
    "JobSchedules",
    "Jobs",
    "NodeFacts",
    "NodeFile",
    "NodeRecord",
    "Nodes",
    "PoolChanges",
    "Pools",
    "PreparationFacts",
    "Quotas",
    "TaskAdded",
    "TaskCounts",
    "TaskDetails",
    "TaskRecord",
    "TaskSince",
    "TaskTimes",
    "TaskWaiting",
    "Tasks",
    "find_pool_user",
    "read_capacity",
]
