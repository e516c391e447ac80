"""The present state of a run, read from the account."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from time import monotonic

from batchspec.api.loading import load_spec
from batchspec.api.options import RunOptions, TaskState
from batchspec.api.session import Files, Notices, no_run_of, open_session, open_target
from batchspec.apply.events import FailedTasks, RunningTask
from batchspec.apply.monitor import (
    Cause,
    Health,
    Watched,
    cause_of_deleted_pool,
    find_causes,
    poll_in_detail,
)
from batchspec.cloud import AccountClient
from batchspec.diagnostics import Diagnostic, SpecError, UsageError
from batchspec.observe import counted_jobs, former_pools, jobs_of, pool_of, stored_failures
from batchspec.plan import StageCounts, count_stages, find_missing_outputs, read_recorded
from batchspec.plan.failures import AT_LIMIT, cause_of
from batchspec.plan.metadata import kept_before, left_before
from batchspec.plan.observed import JobFacts
from batchspec.render import Status, TaskRow, task_row
from batchspec.spec import PoolKind, Spec

_CREATE_AGAIN = (
    "Clean-up of the last run or another client deleted it. `batchspec apply` creates it again and "
    "runs the remaining tasks."
)
"""The fix for a missing pool of an open job, if no failure of the pool is stored."""


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


async def watch_status(
    options: RunOptions, notices: Notices, pause: Callable[[float], Awaitable[None]]
) -> AsyncIterator[Status]:
    """The state of a run, read repeatedly until its job has ended or was deleted.

    ``pause`` waits between two reads; its argument is how many seconds the last read took.

    Raises:
        SpecError, UsageError, ServiceError: as :func:`read_status`.
    """
    spec = load_spec(options, on_loaded=notices.loaded)
    async with open_target(options.target, options.environ, notices) as cloud:
        job: str | None = None
        while True:
            began = monotonic()
            found = await _status(spec, cloud)
            if found.job_state == "completed" or (job is not None and found.job is None):
                break
            job = found.job
            yield found
            await pause(monotonic() - began)
    if _has_succeeded(found):
        found = replace(found, missing=await _missing_outputs(options, notices))
    yield found


async def list_tasks(
    options: RunOptions, notices: Notices, state: TaskState
) -> AsyncIterator[TaskRow]:
    """The tasks of a run in a state, newest job first; the newest of tasks with equal ids.

    Raises:
        UsageError: the spec has no run.
        SpecError, ServiceError: as :func:`read_status`.
    """
    spec = load_spec(options, on_loaded=notices.loaded)
    seen: set[str] = set()
    async with open_target(options.target, options.environ, notices) as cloud:
        jobs = counted_jobs(await jobs_of(spec, cloud))
        if not jobs:
            raise UsageError(await no_run_of(spec, cloud))
        for job in reversed(jobs):
            # If a task ran again in a later job, its state there counts.
            async for record in cloud.tasks.list_records(job.id):
                row = task_row(record, job)
                if row.id.lower() in seen:
                    continue
                seen.add(row.id.lower())
                if state in {TaskState.ALL, row.state}:
                    yield row


def _has_succeeded(found: Status) -> bool:
    """Whether the job has ended and every task of the run has succeeded."""
    tasks = found.tasks
    over = found.job_state == "completed" and tasks is not None and tasks.succeeded > 0
    return over and tasks is not None and tasks.succeeded >= max(tasks.total, found.total)


async def _missing_outputs(options: RunOptions, notices: Notices) -> Sequence[Diagnostic]:
    """The missing outputs of the finished run; empty without the files of the spec.

    The result is also empty if tasks have changed.
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
    pace = _Pace()
    limit = None
    counts = health.counts
    stages: dict[str, StageCounts] = {}
    total = 0
    if job is not None:
        pace = await _read_pace(job, health, cloud)
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
    per_hour = None
    if spec.cost is not None and pool is not None:
        from batchspec.api.prices import pool_cost

        per_hour = await pool_cost(pool, cloud.names, spec)
    return Status(
        per_hour=per_hour,
        account=cloud.names,
        name=spec.name,
        job=job.id if job else None,
        job_state=job.state if job else "",
        tasks=counts if job else None,
        pool=pool.id if pool else None,
        pool_state=pool.state if pool else "",
        nodes=health.nodes if pool else None,
        former_pools={
            each.id: each.dedicated + each.spot for each in await former_pools(spec, cloud, jobs)
        },
        schedule=schedule,
        total=total,
        rate=pace.rates.get(""),
        limit=limit,
        rates=pace.rates,
        longest=pace.longest,
        causes=pace.causes,
        stages={name: asdict(stage) for name, stage in stages.items()},
        waits=tuple(cause.waiting() for cause in await _causes(spec, health, cloud)),
    )


_RECENT = timedelta(minutes=1)
"""The period over which the rate is measured."""
_FEWEST = 5
"""How many tasks must have ended in it. Otherwise, the rate since the job's creation is used."""
_LONGEST = 3


@dataclass(frozen=True, slots=True)
class _Pace:
    """The rate at which tasks of each stage end (``""``: all), longest-running tasks, failures."""

    rates: Mapping[str, float] = field(default_factory=dict)
    longest: tuple[RunningTask, ...] = ()
    causes: tuple[FailedTasks, ...] = ()


async def _read_pace(job: JobFacts, health: Health, cloud: AccountClient) -> _Pace:
    """Read the lists of running, of recently ended and of failed tasks."""
    now = job.ended or health.at
    causes: dict[str, FailedTasks] = {}
    if health.counts.failed:
        async for task in cloud.tasks.list_ended(job.id, since=None, failed=True):
            cause = cause_of(task.facts, job)
            known = causes.get(cause, FailedTasks(cause, 0, task.facts.id))
            causes[cause] = replace(known, count=known.count + 1)
    most = tuple(sorted(causes.values(), key=lambda each: (-each.count, each.cause)))
    age = (now - job.created).total_seconds()
    average = {"": health.counts.completed / age} if age > 0 and health.counts.completed else {}
    if not health.counts.running or health.over:
        return _Pace(average, causes=most)
    ended: Counter[str] = Counter()
    async for task in cloud.tasks.list_ended(job.id, since=now - _RECENT, failed=False):
        ended.update(("", task.facts.marks.stage))
    seconds = max(min(age, _RECENT.total_seconds()), 1)
    recent = {name: count / seconds for name, count in ended.items() if count >= _FEWEST}
    running = sorted(
        [task async for task in cloud.tasks.list_running(job.id)], key=lambda task: task.since
    )
    longest = tuple(
        RunningTask(
            task.facts.id, task.facts.node or "", max((now - task.since).total_seconds(), 0.0)
        )
        for task in running[:_LONGEST]
    )
    return _Pace(average | recent, longest, most)


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
