"""Reads the account: the facts of a plan, users of packages, and an inventory of all specs.

The inventory lists the resources that batchspec created; their metadata contains the name of the
spec. A resource is in use while an open job or an active job schedule needs it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum

from batchspec.account import Account, ContainerProperties, find_pool_user, read_capacity
from batchspec.frozen import frozen
from batchspec.observe.results import occupied, read_receipt, unwritable
from batchspec.observe.spool import Spool, Working, silent
from batchspec.plan import OPEN, job_base, package_references
from batchspec.plan.capacity import Capacity
from batchspec.plan.metadata import (
    ORIGIN,
    OWNER,
    SPEC,
    applied_to,
    containers_written,
    from_elsewhere,
    input_containers,
    scope_is_whole,
)
from batchspec.plan.observed import (
    Blob,
    ContainerFacts,
    JobFacts,
    Observed,
    Origin,
    PackageFacts,
    PoolFacts,
    ScheduleFacts,
    Stream,
)
from batchspec.spec import Container, Package, PoolKind, Record, Rows, Spec, Value, read_rows

_REPORTED = 500
"""After how many blobs or tasks their number is reported."""


async def observe(
    spec: Spec,
    account: Account,
    spool: Spool,
    *,
    work: bool = True,
    pool_user: bool = False,
    origin: Origin | None = None,
    working: Working = silent,
) -> Observed:
    """Everything that :func:`~batchspec.plan.build_plan` needs.

    :func:`~batchspec.observe.local_files.scan` must have added the files to the spool before.
    Without ``work``, blobs and images are not read. With ``pool_user``, jobs of other specs on the
    pool are read. ``origin`` is the user and machine of this client. ``working`` receives the
    progress.

    Raises:
        ServiceError: the account refused, or could not be reached.
        SpecError: a file of rows cannot be read.
    """
    listed = input_containers(spec) if work else frozenset()
    written = _written(spec) - listed if work else frozenset()
    async with asyncio.TaskGroup() as group:
        containers = {
            key: group.create_task(
                _container(container, account, spool, working, listed=key in listed)
            )
            for key, container in spec.containers.items()
        }
        pool = group.create_task(_pool(spec, account, work=work))
        user = group.create_task(_pool_user(spec, account, pool)) if pool_user else None
        jobs = group.create_task(_jobs(spec, account, spool, working))
        schedule = group.create_task(account.job_schedules.get(spec.job.id))
        images = group.create_task(account.images.list()) if work else None
        # The embedded service has no quota.
        limited = work and account.names.target == "azure"
        refers = work and any(True for _ in package_references(spec))
        applications = group.create_task(account.applications.list()) if refers else None
        usage = group.create_task(account.quotas.get_usage()) if limited else None
        capacity = group.create_task(_capacity(spec, account, pool)) if limited else None
        uploaded = work and bool(spec.packages)
        packages = (
            group.create_task(packages_of(spec, account, spool, working)) if uploaded else None
        )
    former = await former_pools(spec, account, jobs.result())
    own = {ORIGIN: origin.id if origin is not None else ""}
    for key in sorted(written):
        # Written blobs matter only if tasks of this run, or of a run from elsewhere, have run.
        found = containers[key].result().metadata or {}
        if jobs.result() or from_elsewhere(applied_to(found, spec.name), own):
            await _blobs(spec.containers[key], account, spool, working)
    return Observed(
        account=account.names,
        now=account.now(),
        containers={key: task.result() for key, task in containers.items()},
        pool=pool.result(),
        pool_user=user.result() if user is not None else None,
        former_pools=former,
        jobs=jobs.result(),
        schedule=schedule.result(),
        tasks=spool.tasks(),
        images=images.result() if images is not None else (),
        receipt=read_receipt(spec, spool),
        rows=_rows(spec) if work else {},
        usage=usage.result() if usage is not None else None,
        capacity=capacity.result() if capacity is not None else None,
        longest_sas=account.longest_sas,
        occupied=occupied(spec) if work else {},
        unwritable=unwritable(spec) if work else {},
        origin=origin or Origin(),
        applications=applications.result() if applications is not None else None,
        packages=packages.result() if packages is not None else {},
    )


async def _capacity(
    spec: Spec, account: Account, pool: Awaitable[PoolFacts | None]
) -> Capacity | None:
    """Quotas and VM sizes if the spec may create nodes: its pool is new or has another size."""
    if spec.pool.kind is PoolKind.EXISTING:
        return None
    facts = await pool
    if facts is not None and _sizes(facts.properties) == _sizes(spec.pool.properties):
        return None
    return await read_capacity(account)


_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")


def _sizes(properties: Record) -> tuple[str, ...]:
    """The properties that determine the number and size of nodes; the case does not matter."""
    scales = properties.get("enableAutoScale") is True
    keys = ("vmSize", *(("autoScaleFormula",) if scales else _TARGETS))
    return tuple(str(properties.get(key) or "").lower() for key in keys)


def _rows(spec: Spec) -> dict[str, Stream[Record]]:
    """The rows of the files that stages create tasks from, by stage."""
    return {
        stage.name: read_rows(stage.for_each.path, stage.for_each.where)
        for stage in spec.stages
        if isinstance(stage.for_each, Rows)
    }


def _written(spec: Spec) -> frozenset[str]:
    """The containers to which tasks write, and those from which results are downloaded.

    There are none for a schedule: outputs of earlier jobs do not matter to the next job.
    """
    if spec.job.schedule is not None:
        return frozenset()
    ids = {container.id: key for key, container in spec.containers.items()}
    outputs = {
        ids[name] for stage in spec.stages for name in containers_written(stage.body) if name in ids
    }
    return frozenset(outputs | {result.container for result in spec.results})


async def _container(
    container: Container, account: Account, spool: Spool, working: Working, *, listed: bool
) -> ContainerFacts:
    metadata = await account.containers.get_metadata(container.id)
    key = container.key
    facts = ContainerFacts(metadata, spool.files(key), spool.blobs(key))
    if metadata is None or not listed:
        return facts
    archived, first = await _blobs(container, account, spool, working)
    return replace(facts, archived=archived, first_archived=first)


async def _blobs(
    container: Container, account: Account, spool: Spool, working: Working
) -> tuple[int, str]:
    """Add the blobs of a container to the spool.

    Returns:
        The number of archived blobs, and the name of the first.
    """
    found = archived = 0
    first = ""
    batch: list[Blob] = []
    async for blob in account.blobs.list(container.id):
        batch.append(blob)
        if blob.archived:
            first = first or blob.name
            archived += 1
        if len(batch) == _REPORTED:
            spool.add_blobs(container.key, batch)
            found += len(batch)
            batch.clear()
            working(f"listing blobs of {container.id}", f"{found:,}")
    spool.add_blobs(container.key, batch)
    return archived, first


async def _pool(spec: Spec, account: Account, *, work: bool) -> PoolFacts | None:
    """The pool; with the states of its nodes if a change of its start task restarts them."""
    if spec.pool.kind is PoolKind.JOB:
        # The service names an auto pool; it belongs to the job.
        return None
    facts = await account.pools.get(spec.pool.id)
    if facts is None or not work or facts.metadata.get(SPEC) != spec.name:
        return facts
    if not isinstance(facts.properties.get("startTask"), Record):
        return facts
    return replace(facts, node_states=await account.pools.get_node_counts(facts.id))


async def former_pools(
    spec: Spec, account: Account, jobs: tuple[JobFacts, ...]
) -> tuple[PoolFacts, ...]:
    """The pools that this spec created under other ids, and that its jobs ran on."""
    own = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id.lower()
    names = dict.fromkeys(_pool_of(job) for job in jobs if job.metadata.get(SPEC) == spec.name)
    found = [await account.pools.get(name) for name in names if name not in {"", own}]
    return tuple(
        pool
        for pool in found
        if pool is not None and pool.metadata.get(SPEC) == spec.name and pool.state != "deleting"
    )


async def _pool_user(
    spec: Spec, account: Account, pool: Awaitable[PoolFacts | None]
) -> JobFacts | None:
    """A job of another spec with open tasks on the pool, if this spec created the pool."""
    facts = await pool
    if facts is None or facts.metadata.get(SPEC) != spec.name:
        return None
    return await find_pool_user(account, facts.id, spec.name)


async def _jobs(
    spec: Spec, account: Account, spool: Spool, working: Working
) -> tuple[JobFacts, ...]:
    """The jobs of this spec, oldest first; adds the tasks that count to the spool.

    The tasks of the newest job that was created for a whole run count, and those of later jobs.
    """
    found = await jobs_of(spec, account)
    if spec.job.schedule is not None:
        # The tasks of an earlier job do not matter to the next one.
        return found
    listed = 0
    for age, job in enumerate(counted_jobs(found)):
        async for task in account.tasks.list(job.id, missing_ok=True):
            spool.add_task(job.id, age, task)
            listed += 1
            if listed % _REPORTED == 0:
                working(f"reading the tasks of {job.id}", f"{listed:,}")
    return found


def counted_jobs(jobs: tuple[JobFacts, ...]) -> tuple[JobFacts, ...]:
    """Those of the jobs of a spec whose tasks count, oldest first."""
    first = max((age for age, job in enumerate(jobs) if scope_is_whole(job)), default=0)
    return tuple(job for job in jobs[first:] if job.state != "deleting")


async def jobs_of(spec: Spec, account: Account) -> tuple[JobFacts, ...]:
    """The jobs of a spec, oldest first: the job that it names, and later jobs of its run.

    For a schedule: its newest job (there may be thousands), and a job with the id of the schedule.
    """
    base = job_base(spec)
    if spec.job.schedule is not None:
        return await _scheduled(spec.job.id, account)
    found = [job async for job in account.jobs.list(base) if _is_job_of(job, spec, base)]
    return tuple(sorted(found, key=lambda job: job.created))


async def _scheduled(schedule_id: str, account: Account) -> tuple[JobFacts, ...]:
    schedule, named = (
        await account.job_schedules.get(schedule_id),
        await account.jobs.get(schedule_id),
    )
    recent = schedule.recent_job if schedule is not None else None
    newest = await account.jobs.get(recent) if recent is not None else None
    return tuple(job for job in (named, newest) if job is not None)


def _is_job_of(job: JobFacts, spec: Spec, base: str) -> bool:
    """Whether a job is the job that the spec names, or a later job of the run."""
    if job.id.lower() == spec.job.id.lower():
        return True
    later = re.fullmatch(re.escape(base) + r"-r\d+", job.id, re.IGNORECASE)
    return later is not None and job.metadata.get("batchspec:spec") == spec.name


class Kind(StrEnum):
    """The kind of a resource."""

    POOL = "pool"
    SCHEDULE = "schedule"
    JOB = "job"
    CONTAINER = "container"


@frozen
class OwnedResource:
    """A resource that a spec created.

    ``since`` is when it was created; for a container, when it was last changed. ``nodes`` and
    ``wanted`` are the present and the target number of nodes of a pool, ``pool`` its facts.
    ``used``: an open job needs it. ``orphan``: it is billed or counts against a quota, and no job
    can use it.
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
    pool: PoolFacts | None = None


async def owned_resources(account: Account) -> tuple[OwnedResource, ...]:
    """The pools, schedules, jobs and containers that batchspec created, by spec.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    async with asyncio.TaskGroup() as group:
        pools = group.create_task(_pools(account))
        jobs = group.create_task(_all_jobs(account))
        schedules = group.create_task(_schedules(account))
        containers = group.create_task(_containers(account))
    as_jobs = [*_as_jobs(schedules.result())]
    found = _owned(pools.result(), jobs.result(), as_jobs, containers.result())
    order = list(Kind)
    return tuple(sorted(found, key=lambda o: (o.spec, order.index(o.kind), o.id.lower())))


async def _pools(account: Account) -> list[PoolFacts]:
    return [pool async for pool in account.pools.list()]


async def _all_jobs(account: Account) -> list[JobFacts]:
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
    specs = {job.metadata[SPEC] for job in active if SPEC in job.metadata}
    run_on = {_pool_of(job) for job in active}
    existing = {pool.id.lower() for pool in pools if pool.state != "deleting"}
    for pool in pools:
        spec = pool.metadata.get(SPEC)
        if spec is not None:
            used = spec in specs or pool.id.lower() in run_on
            orphan = not used and pool.state != "deleting"
            nodes, wanted = pool.dedicated + pool.spot, pool.target_dedicated + pool.target_spot
            since = _moment(pool.properties.get("creationTime"))
            yield OwnedResource(
                Kind.POOL, pool.id, spec, pool.state, since, used, orphan, nodes, wanted, pool
            )
    made = [(Kind.SCHEDULE, job) for job in schedules] + [(Kind.JOB, job) for job in jobs]
    for kind, job in made:
        spec = job.metadata.get(SPEC)
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


async def packages_of(
    spec: Spec, account: Account, spool: Spool, working: Working
) -> dict[str, PackageFacts]:
    """The packages by name.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """
    found = {}
    for name, package in spec.packages.items():
        working(f"reading package {name}")
        files = spool.files(package.source.key)
        stored = await account.applications.get_package(name, package.version)
        found[name] = PackageFacts(files, _content(package, spool), stored)
    return found


def _content(package: Package, spool: Spool) -> str:
    """A digest of the paths, contents and modes of the files, or of the content of an archive."""
    digest = hashlib.sha256(b"archive" if package.is_archive else b"files")
    for file in spool.files(package.source.key):
        name = b"" if package.is_archive else os.fsencode(file.blob)
        mode = b"x" if not package.is_archive and os.access(file.path, os.X_OK) else b"-"
        digest.update(b"%d:%s%s%s" % (len(name), name, mode, file.md5))
    return digest.hexdigest()


async def package_users(account: Account, name: str, version: str) -> AsyncIterator[str]:
    """The pools, open jobs and their tasks that refer to a version of an application package.

    A reference without a version refers to the default version, and is included.

    Raises:
        ServiceError: the account refused, or could not be reached.
    """

    def refers(body: Value) -> bool:
        return any(_is_reference(each, name, version) for each in _references(body))

    async for pool in account.pools.list():
        if pool.state != "deleting" and refers(pool.properties):
            yield f"pool {pool.id}"
    async for job in account.jobs.list():
        if job.state not in OPEN:
            continue
        if refers(job.properties):
            yield f"job {job.id}"
            continue
        async for task in account.tasks.list_bodies(job.id):
            if task.get("state") != "completed" and refers(task):
                yield f"task {task['id']} of job {job.id}"
                break


def _references(body: Value) -> Iterator[Record]:
    """Each reference to an application package in a body, including those of its tasks."""
    if isinstance(body, Record):
        for key, value in body.items():
            if key == "applicationPackageReferences" and isinstance(value, tuple):
                yield from (each for each in value if isinstance(each, Record))
            else:
                yield from _references(value)


def _is_reference(reference: Record, name: str, version: str) -> bool:
    # Clients may refer to an application by its resource id.
    application = str(reference.get("applicationId", "")).rpartition("/")[2]
    found = reference.get("version")
    same = found is None or str(found).lower() == version.lower()
    return same and application.lower() == name.lower()
