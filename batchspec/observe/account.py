"""Reads everything that the plan of a spec depends on, with concurrent requests."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace

from batchspec.account import Account
from batchspec.observe.disk import occupied, read_receipt, unwritable
from batchspec.observe.spool import Spool
from batchspec.plan import job_base, package_references
from batchspec.plan.metadata import (
    ORIGIN,
    SPEC,
    applied_to,
    from_elsewhere,
    scope_is_whole,
)
from batchspec.plan.observed import ContainerFacts, JobFacts, Observed, Origin, PoolFacts, Stream
from batchspec.plan.results import containers_written, input_containers
from batchspec.spec import Container, PoolKind, Record, Rows, Spec, read_rows


async def observe(
    spec: Spec,
    account: Account,
    spool: Spool,
    *,
    work: bool = True,
    tasks: bool = True,
    origin: Origin | None = None,
) -> Observed:
    """Everything that :func:`~batchspec.plan.build_plan` needs.

    The files must have been put into the spool before (:func:`~batchspec.observe.disk.scan`).
    Without ``work``, blobs and images are not read, and tasks only if ``tasks`` is true; there may
    be millions. ``origin`` is the user and machine of this client.

    Raises:
        ServiceError: the account refused, or could not be reached.
        SpecError: a file of rows cannot be read.
    """
    listed = input_containers(spec) if work else frozenset()
    written = _written(spec) - listed if work else frozenset()
    async with asyncio.TaskGroup() as group:
        containers = {
            key: group.create_task(_container(container, account, spool, key in listed))
            for key, container in spec.containers.items()
        }
        pool = group.create_task(_pool(spec, account, work=work))
        jobs = group.create_task(_jobs(spec, account, spool) if tasks else jobs_of(spec, account))
        schedule = group.create_task(account.job_schedules.get(spec.job.id))
        images = group.create_task(account.images.list()) if work else None
        # The embedded service has no quota.
        limited = work and account.names.target == "azure"
        refers = work and any(True for _ in package_references(spec))
        applications = group.create_task(account.applications.list()) if refers else None
        usage = group.create_task(account.quotas.get_usage()) if limited else None
    own = {ORIGIN: origin.id if origin is not None else ""}
    for key in sorted(written):
        # Written blobs matter only if tasks have run, of this run or of one from elsewhere.
        found = containers[key].result().metadata or {}
        if jobs.result() or from_elsewhere(applied_to(found, spec.name), own):
            await _blobs(spec.containers[key], account, spool)
    return Observed(
        account=account.names,
        now=account.now(),
        containers={key: task.result() for key, task in containers.items()},
        pool=pool.result(),
        jobs=jobs.result(),
        schedule=schedule.result(),
        tasks=spool.tasks() if tasks else None,
        images=images.result() if images is not None else (),
        receipt=read_receipt(spec, spool),
        rows=_rows(spec) if work else {},
        usage=usage.result() if usage is not None else None,
        longest_sas=account.longest_sas,
        occupied=occupied(spec) if work else frozenset(),
        unwritable=unwritable(spec) if work else {},
        origin=origin or Origin(),
        applications=applications.result() if applications is not None else None,
    )


def _rows(spec: Spec) -> dict[str, Stream[Record]]:
    """The rows of the files that stages create tasks from, by stage."""
    return {
        stage.name: read_rows(stage.for_each.path, stage.for_each.where)
        for stage in spec.stages
        if isinstance(stage.for_each, Rows)
    }


def _written(spec: Spec) -> frozenset[str]:
    """The containers that tasks write to, and those that results are downloaded from.

    What earlier jobs of a schedule have written does not matter to the next.
    """
    if spec.job.schedule is not None:
        return frozenset()
    ids = {container.id: key for key, container in spec.containers.items()}
    outputs = {
        ids[name] for stage in spec.stages for name in containers_written(stage.body) if name in ids
    }
    return frozenset(outputs | {result.container for result in spec.results})


async def _container(
    container: Container, account: Account, spool: Spool, listed: bool
) -> ContainerFacts:
    metadata = await account.containers.get_metadata(container.id)
    if metadata is not None and listed:
        await _blobs(container, account, spool)
    return ContainerFacts(metadata, spool.files(container.key), spool.blobs(container.key))


async def _blobs(container: Container, account: Account, spool: Spool) -> None:
    async for blob in account.blobs.list(container.id):
        spool.add_blob(container.key, blob)


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


async def _jobs(spec: Spec, account: Account, spool: Spool) -> tuple[JobFacts, ...]:
    """The jobs of this spec, oldest first; adds the tasks that count to the spool.

    Those are the tasks of the newest job that was created for a whole run, and of later jobs.
    """
    found = await jobs_of(spec, account)
    if spec.job.schedule is not None:
        # The tasks of an earlier job do not matter to the next one.
        return found
    for age, job in enumerate(counted_jobs(found)):
        async for task in account.tasks.list(job.id, missing_ok=True):
            spool.add_task(job.id, age, task)
    return found


def counted_jobs(jobs: tuple[JobFacts, ...]) -> tuple[JobFacts, ...]:
    """Those of the jobs of a spec whose tasks count, oldest first."""
    first = max((age for age, job in enumerate(jobs) if scope_is_whole(job)), default=0)
    return tuple(job for job in jobs[first:] if job.state != "deleting")


async def jobs_of(spec: Spec, account: Account) -> tuple[JobFacts, ...]:
    """The jobs of a spec, oldest first: the one it names, and later ones created for it.

    For a schedule: its newest job (there may be thousands), and a job with the schedule's own id.
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
    """Whether a job is the one that the spec names, or a later one created for it."""
    if job.id.lower() == spec.job.id.lower():
        return True
    later = re.fullmatch(re.escape(base) + r"-r\d+", job.id, re.IGNORECASE)
    return later is not None and job.metadata.get("batchspec:spec") == spec.name
