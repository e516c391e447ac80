"""The interface of a Batch account and its Storage account: :class:`Account`.

An account consists of resources, each a Protocol named like its operation group in the REST
reference: ``account.pools.get(pool_id)``, ``account.tasks.list(job_id)``. ``observe`` reads an
account, ``apply`` changes it, ``cloud`` implements it, and tests have an account in memory.

In and out: frozen values. :func:`read_capacity` and :func:`find_pool_user` combine facts of several
resources. Not here: requests, SDK types, and decisions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

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
from batchspec.diagnostics import BatchspecError, Diagnostic, Severity
from batchspec.plan.capacity import AccountResource, Capacity, VmSize
from batchspec.plan.metadata import SPEC
from batchspec.plan.observed import JobFacts, PoolFacts

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


LONGEST = 30.0
"""How many seconds a command waits for quotas. They are optional."""


async def read_capacity(account: Account, *, always: bool = False) -> Capacity:
    """The quotas of the account, the VM sizes of its region, and its pools.

    Without permission to read the account, no error is raised: ``problem`` is the reason why its
    quotas are not known. Without ``always``, quotas are read only if a plan reads them
    (:attr:`~batchspec.account.resources.ControlPlane.in_plans`).

    Raises:
        ServiceError: the pools cannot be listed.
    """
    if not (always or account.control_plane.in_plans):
        return Capacity(problem=_NOT_READ)
    reading = asyncio.create_task(_read(account))
    try:
        pools = await _pools(account)
        resource, sizes, problem = await reading
    finally:
        reading.cancel()
    return Capacity(resource, sizes, pools, problem)


async def find_pool_user(account: Account, pool: str, spec: str) -> JobFacts | None:
    """An active job with open tasks on a pool that does not belong to ``spec``.

    Raises:
        ServiceError: the jobs or the counts of their tasks cannot be read.
    """
    async for job in account.jobs.list_active():
        if job.pool.lower() != pool.lower() or job.metadata.get(SPEC) == spec:
            continue
        counts = await account.jobs.get_task_counts(job.id)
        if counts.active + counts.running:
            return job
    return None


async def _pools(account: Account) -> tuple[PoolFacts, ...]:
    return tuple([pool async for pool in account.pools.list()])


_Read = tuple[AccountResource | None, Mapping[str, VmSize] | None, Diagnostic | None]


async def _read(account: Account) -> _Read:
    """The account, the VM sizes of its region, and the reason if one of them is not known."""
    from batchspec.plan import region_of  # noqa: PLC0415 - imports the estimate of costs

    plane, region = account.control_plane, region_of(account.names)
    resource: AccountResource | None = None
    try:
        async with asyncio.timeout(LONGEST):
            if not region:
                resource = await plane.get_account()
                return resource, await plane.list_vm_sizes(resource.region), None
            # The host of the public cloud contains the region, so both are read at the same time.
            read, listed = await asyncio.gather(
                plane.get_account(), plane.list_vm_sizes(region), return_exceptions=True
            )
    except BatchspecError as error:
        return resource, None, error.problems[0]
    except TimeoutError:
        return resource, None, _SLOW
    errors = [each for each in (read, listed) if isinstance(each, BaseException)]
    unexpected = [each for each in errors if not isinstance(each, BatchspecError)]
    if unexpected:
        raise unexpected[0]
    known = [each.problems[0] for each in errors if isinstance(each, BatchspecError)]
    return (
        None if isinstance(read, BaseException) else read,
        None if isinstance(listed, BaseException) else listed,
        known[0] if known else None,
    )


_NOT_READ = Diagnostic(
    "account-not-read",
    "AZURE_SUBSCRIPTION_ID is not set",
    fix="Set AZURE_SUBSCRIPTION_ID to the subscription of the account, and run `az login` with an"
    " identity that has the role 'Azure Batch Account Reader' or 'Azure Batch Data Contributor' on"
    " it.",
    severity=Severity.NOTE,
)
_SLOW = Diagnostic(
    "account-not-read",
    f"Azure Resource Manager did not answer within {LONGEST:.0f} seconds",
    fix="Run the command again.",
    severity=Severity.NOTE,
)
