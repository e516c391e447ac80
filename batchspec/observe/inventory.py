"""The resources in an account that batchspec created, and which of them are not used.

They are recognised by the name of the spec in their metadata. A resource is in use while an open
job or an active job schedule needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from batchspec.account import Account, ContainerProperties
from batchspec.plan import OPEN
from batchspec.plan.metadata import OWNER
from batchspec.plan.observed import JobFacts, PoolFacts, ScheduleFacts
from batchspec.spec import Record

_SPEC = "batchspec:spec"


class Kind(StrEnum):
    """The kind of a resource."""

    POOL = "pool"
    SCHEDULE = "schedule"
    JOB = "job"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class OwnedResource:
    """A resource that a spec created.

    ``since`` is when it was created (a container: last changed). ``nodes`` and ``wanted`` are the
    present and the target number of nodes of a pool. ``used``: an open job needs it. ``orphan``: it
    is billed or counts against a quota, and no job can use it.
    """

    kind: Kind
    id: str
    spec: str
    state: str
    since: datetime | None
    used: bool
    orphan: bool
    nodes: int = 0
    wanted: int = 0


async def owned_resources(account: Account) -> tuple[OwnedResource, ...]:
    """The pools, schedules, jobs and containers that batchspec created, by spec.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    async with asyncio.TaskGroup() as group:
        pools = group.create_task(_pools(account))
        jobs = group.create_task(_jobs(account))
        schedules = group.create_task(_schedules(account))
        containers = group.create_task(_containers(account))
    as_jobs = [*_as_jobs(schedules.result())]
    found = _owned(pools.result(), jobs.result(), as_jobs, containers.result())
    order = list(Kind)
    return tuple(sorted(found, key=lambda o: (o.spec, order.index(o.kind), o.id.lower())))


async def _pools(account: Account) -> list[PoolFacts]:
    return [pool async for pool in account.pools.list()]


async def _jobs(account: Account) -> list[JobFacts]:
    # All jobs, because a job without a spec may use the pool of a spec.
    return [job async for job in account.jobs.list()]


async def _schedules(account: Account) -> list[ScheduleFacts]:
    return [schedule async for schedule in account.job_schedules.list()]


async def _containers(account: Account) -> list[ContainerProperties]:
    return [seen async for seen in account.containers.list() if OWNER in seen.metadata]


def _as_jobs(schedules: Iterable[ScheduleFacts]) -> Iterator[JobFacts]:
    """Each schedule in the form of the job that it creates, which names its pool."""
    for schedule in schedules:
        jobs = schedule.properties.get("jobSpecification")
        body = jobs if isinstance(jobs, Record) else Record()
        yield JobFacts(schedule.id, schedule.state, schedule.created, body, schedule.metadata)


def _owned(
    pools: Sequence[PoolFacts],
    jobs: Sequence[JobFacts],
    schedules: Sequence[JobFacts],
    containers: Sequence[ContainerProperties],
) -> Iterator[OwnedResource]:
    active = [job for job in (*schedules, *jobs) if job.state in OPEN]
    specs = {job.metadata[_SPEC] for job in active if _SPEC in job.metadata}
    run_on = {_pool_of(job) for job in active}
    existing = {pool.id.lower() for pool in pools if pool.state != "deleting"}
    for pool in pools:
        spec = pool.metadata.get(_SPEC)
        if spec is not None:
            used = spec in specs or pool.id.lower() in run_on
            orphan = not used and pool.state != "deleting"
            nodes, wanted = pool.dedicated + pool.spot, pool.target_dedicated + pool.target_spot
            since = _moment(pool.properties.get("creationTime"))
            yield OwnedResource(
                Kind.POOL, pool.id, spec, pool.state, since, used, orphan, nodes, wanted
            )
    made = [(Kind.SCHEDULE, job) for job in schedules] + [(Kind.JOB, job) for job in jobs]
    for kind, job in made:
        spec = job.metadata.get(_SPEC)
        if spec is not None:
            used, needs = job.state in OPEN, _pool_of(job)
            # Its tasks never run, and it counts against the quota of active jobs.
            orphan = used and bool(needs) and needs not in existing
            yield OwnedResource(kind, job.id, spec, job.state, job.created, used, orphan)
    for container in containers:
        spec = container.metadata[OWNER]
        used = spec in specs
        yield OwnedResource(
            Kind.CONTAINER, container.name, spec, "", container.modified, used, orphan=not used
        )


def _pool_of(job: JobFacts) -> str:
    """The pool that a job runs on, in lower case; empty for an auto pool."""
    info = job.properties.get("poolInfo")
    pool = info.get("poolId") if isinstance(info, Record) else None
    return pool.lower() if isinstance(pool, str) else ""


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
