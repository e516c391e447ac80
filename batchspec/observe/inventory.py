"""Everything in an account that batchspec made, whoever ran it, and what of it nobody uses.

Pools and jobs carry the name of their spec in their metadata, and so do containers; that is how
they are known. A thing is in use while a job is open that needs it, or a schedule makes such jobs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from batchspec.observe.ports import ContainerSeen, Inventory
from batchspec.plan.metadata import OWNER
from batchspec.plan.observed import JobFacts, PoolFacts, ScheduleFacts
from batchspec.plan.task_sets import OPEN
from batchspec.spec import Record

_SPEC = "batchspec:spec"


class Kind(StrEnum):
    """What a thing is."""

    POOL = "pool"
    SCHEDULE = "schedule"
    JOB = "job"
    CONTAINER = "container"


@dataclass(frozen=True, slots=True)
class OwnedResource:
    """A thing that the spec of that name made.

    ``since`` is when it was made (of a container: last changed). ``nodes`` are those there are now
    of a pool, ``wanted`` those it is to have. ``used`` says that an open job needs it; an
    ``orphan`` costs something, now or by and by, and nothing will come of it.
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


async def owned_resources(account: Inventory) -> tuple[OwnedResource, ...]:
    """What batchspec made in the account, by spec: pools, schedules, jobs, containers.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    async with asyncio.TaskGroup() as group:
        pools = group.create_task(_pools(account))
        jobs = group.create_task(_jobs(account))
        schedules = group.create_task(_schedules(account))
        containers = group.create_task(_containers(account))
    makers = [*_as_jobs(schedules.result())]
    found = _owned(pools.result(), jobs.result(), makers, containers.result())
    order = list(Kind)
    return tuple(sorted(found, key=lambda o: (o.spec, order.index(o.kind), o.id.lower())))


async def _pools(account: Inventory) -> list[PoolFacts]:
    return [pool async for pool in account.pools()]


async def _jobs(account: Inventory) -> list[JobFacts]:
    # All of them: a pool of ours may be used by a job that is not.
    return [job async for job in account.jobs("")]


async def _schedules(account: Inventory) -> list[ScheduleFacts]:
    return [schedule async for schedule in account.schedules()]


async def _containers(account: Inventory) -> list[ContainerSeen]:
    return [seen async for seen in account.containers() if OWNER in seen.metadata]


def _as_jobs(schedules: Iterable[ScheduleFacts]) -> Iterator[JobFacts]:
    """Each schedule as the job that it makes: that is what it needs, and when it needs it."""
    for schedule in schedules:
        jobs = schedule.properties.get("jobSpecification")
        body = jobs if isinstance(jobs, Record) else Record()
        yield JobFacts(schedule.id, schedule.state, schedule.created, body, schedule.metadata)


def _owned(
    pools: Sequence[PoolFacts],
    jobs: Sequence[JobFacts],
    schedules: Sequence[JobFacts],
    containers: Sequence[ContainerSeen],
) -> Iterator[OwnedResource]:
    active = [job for job in (*schedules, *jobs) if job.state in OPEN]
    specs = {job.metadata[_SPEC] for job in active if _SPEC in job.metadata}
    run_on = {_pool_of(job) for job in active}
    there = {pool.id.lower() for pool in pools if pool.state != "deleting"}
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
            # Its tasks will never run, and it counts against the quota.
            orphan = used and bool(needs) and needs not in there
            yield OwnedResource(kind, job.id, spec, job.state, job.created, used, orphan)
    for container in containers:
        spec = container.metadata[OWNER]
        used = spec in specs
        yield OwnedResource(
            Kind.CONTAINER, container.name, spec, "", container.modified, used, orphan=not used
        )


def _pool_of(job: JobFacts) -> str:
    """The pool that a job runs on, in lower case; empty where the service makes one for it."""
    info = job.properties.get("poolInfo")
    pool = info.get("poolId") if isinstance(info, Record) else None
    return pool.lower() if isinstance(pool, str) else ""


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None
