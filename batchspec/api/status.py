"""The present state of a run, read from the account."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import timedelta

from batchspec.api.account import Notices, open_target
from batchspec.api.loading import load_spec
from batchspec.api.options import RunOptions
from batchspec.api.session import Files, open_session
from batchspec.apply.monitor import (
    Cause,
    Health,
    Watched,
    cause_of_deleted_pool,
    find_causes,
    poll_in_detail,
)
from batchspec.cloud import AccountClient
from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.observe import jobs_of, pool_of, stored_failures
from batchspec.plan import StageCounts, count_stages, find_missing_outputs, read_recorded
from batchspec.plan.failures import AT_LIMIT
from batchspec.plan.metadata import kept_before, left_before
from batchspec.render import Status
from batchspec.spec import PoolKind, Spec

_CREATE_AGAIN = (
    "Clean-up of the last run or another client deleted it. `batchspec apply` creates it again and "
    "runs the tasks that are left."
)
"""What to do about the pool of an open job that does not exist, if no failure of it is stored."""


async def read_status(options: RunOptions, notices: Notices) -> Status:
    """The present state of the run of a spec: pool, nodes, job, task counts, time left.

    Raises:
        SpecError: the spec is wrong.
        UsageError: the file is a saved plan, or the environment does not name the account.
        ServiceError: a service refused a request or could not be reached.
    """
    spec = load_spec(options, on_loaded=notices.loaded)
    async with open_target(options.target, options.environ, notices) as cloud:
        found = await _status(spec, cloud)
    if _has_succeeded(found):
        found = replace(found, missing=await _missing_outputs(options, notices))
    return found


def _has_succeeded(found: Status) -> bool:
    """Whether the job has ended and every task of the run has succeeded."""
    tasks = found.tasks
    over = found.job_state == "completed" and tasks is not None and tasks.succeeded > 0
    return over and tasks is not None and tasks.succeeded >= max(tasks.total, found.total)


async def _missing_outputs(options: RunOptions, notices: Notices) -> Sequence[Diagnostic]:
    """The outputs of the finished run that are missing; none without the files of the spec.

    Nothing is known of the outputs if tasks have changed.
    """
    async with open_session(options, notices, files=Files.OPTIONAL) as session:
        if not session.files or session.spec.job.schedule is not None:
            return ()
        try:
            missing = find_missing_outputs(session.spec, session.observed)
        except SpecError:
            # `plan` shows these errors.
            return ()
    return tuple(missing)


async def _status(spec: Spec, cloud: AccountClient) -> Status:
    """The newest job of the spec, its schedule and its pool."""
    schedule = await cloud.job_schedules.get(spec.job.id)
    jobs = await jobs_of(spec, cloud)
    pool_id = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    watched = Watched(pool_id, jobs[-1].id if jobs else "", spec.job.limit)
    health = await poll_in_detail(cloud, watched)
    job, pool = health.job, health.pool
    rate = left = limit = None
    counts = health.counts
    stages: dict[str, StageCounts] = {}
    total = 0
    if job is not None:
        seconds = ((job.ended or health.at) - job.created) / timedelta(seconds=1)
        rate = counts.completed / seconds if seconds > 0 and counts.completed else None
        open_tasks = counts.active + counts.running
        # While no task runs, the rate says nothing about the time left.
        left = open_tasks / rate if rate and counts.running else None
        if job.ended is None:
            limit = max(health.left, 0.0)
        # Tasks that succeeded in earlier jobs are part of the run; tasks of earlier versions are
        # not.
        totals = read_recorded(job, spec)
        counts = counts.without(sum(stage.superseded for stage in totals))
        absent, failed = left_before(job)
        counts = replace(
            counts,
            succeeded=counts.succeeded + kept_before(job),
            failed=counts.failed + failed,
        )
        total = counts.total + absent - failed
        if totals:
            stages = await count_stages(totals, cloud.tasks.list(job.id, missing_ok=True))
    return Status(
        account=cloud.names,
        name=spec.name,
        job=job.id if job else None,
        job_state=job.state if job else "",
        tasks=counts if job else None,
        pool=pool.id if pool else None,
        pool_state=pool.state if pool else "",
        nodes=health.nodes if pool else None,
        schedule=schedule,
        total=total,
        rate=rate,
        left=left,
        limit=limit,
        stages={name: asdict(stage) for name, stage in stages.items()},
        waits=tuple(cause.waiting() for cause in await _causes(spec, health, cloud)),
    )


async def _causes(spec: Spec, health: Health, cloud: AccountClient) -> Sequence[Cause]:
    """Why the run makes, or made, no progress.

    If the pool does not exist, clean-up may have deleted it after its nodes had failed.
    """
    job = health.job
    if job is None:
        return ()
    found = find_causes(health)
    gone = [cause for cause in found if cause.code == "pool-gone" and health.pool is None]
    if not gone and not (health.over and health.pool is None and job.terminate_reason in AT_LIMIT):
        return found
    pool = pool_of(spec, [job]) or ""
    stored = await stored_failures(spec, pool or None, cloud, job.created)
    cause = cause_of_deleted_pool(pool, stored)
    others = [cause for cause in found if cause not in gone]
    if cause is not None:
        return [cause, *others]
    return [*(replace(each, action=_CREATE_AGAIN) for each in gone), *others]
