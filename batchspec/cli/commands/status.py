"""``batchspec status``: the present state of a run."""

from __future__ import annotations

from dataclasses import asdict, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from batchspec.cli.console import out, use_color
from batchspec.cli.options import (
    Format,
    RunOptions,
    SpecFile,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
)
from batchspec.diagnostics import SpecError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchspec.apply.monitor import Cause, Health
    from batchspec.cloud import AccountClient
    from batchspec.diagnostics import Diagnostic
    from batchspec.plan import StageCounts
    from batchspec.render import Status
    from batchspec.spec import Spec


_CREATE_AGAIN = (
    "Clean-up of the last run or another client deleted it. `batchspec apply` creates it again and "
    "runs the tasks that are left."
)
"""What to do about the pool of an open job that does not exist, if no failure of it is stored."""


async def status(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Show the present state of a run: pool, nodes, job, task counts, time left."""
    from batchspec.cli.account import open_target
    from batchspec.cli.load import load_spec, note_missing_secrets
    from batchspec.render import status_json, status_text

    options = RunOptions.of(spec, variables, variable_files, target)
    loaded = load_spec(options)
    # The cause of a failed start task contains its output.
    note_missing_secrets(loaded)
    async with open_target(target, options.environ) as cloud:
        found = await _status(loaded, cloud)
    if _has_succeeded(found):
        found = replace(found, missing=await _missing_outputs(options))
    if output_format is Format.JSON:
        out(status_json(found))
    else:
        out(status_text(found, color=use_color()))
    return Exit.DONE


def _has_succeeded(found: Status) -> bool:
    """Whether the job has ended and every task of the run has succeeded."""
    tasks = found.tasks
    over = found.job_state == "completed" and tasks is not None and tasks.succeeded > 0
    return over and tasks is not None and tasks.succeeded >= max(tasks.total, found.total)


async def _missing_outputs(options: RunOptions) -> Sequence[Diagnostic]:
    """The outputs of the finished run that are missing; none without the files of the spec.

    Nothing is known of the outputs if tasks have changed.
    """
    from batchspec.cli.resume_command import completed_problem
    from batchspec.cli.session import Files, open_session
    from batchspec.plan import find_missing_outputs

    async with open_session(options, files=Files.OPTIONAL) as session:
        if not session.files or session.spec.job.schedule is not None:
            return ()
        try:
            missing = find_missing_outputs(session.spec, session.observed)
        except SpecError:
            # `plan` shows these errors.
            return ()
    return tuple(map(completed_problem, missing))


async def _status(spec: Spec, cloud: AccountClient) -> Status:
    """The newest job of the spec, its schedule and its pool."""
    from batchspec.apply.monitor import Watched, poll_in_detail
    from batchspec.cli.resume_command import completed_wait
    from batchspec.observe import jobs_of
    from batchspec.plan import count_stages, read_recorded
    from batchspec.plan.metadata import kept_before, left_before
    from batchspec.render import Status
    from batchspec.spec import PoolKind

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
        waits=tuple(
            completed_wait(cause.waiting()) for cause in await _causes(spec, health, cloud)
        ),
    )


async def _causes(spec: Spec, health: Health, cloud: AccountClient) -> Sequence[Cause]:
    """Why the run makes, or made, no progress.

    If the pool does not exist, clean-up may have deleted it after its nodes had failed.
    """
    from batchspec.apply.monitor import cause_of_deleted_pool, find_causes
    from batchspec.observe import pool_of, stored_failures
    from batchspec.plan.failures import AT_LIMIT

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
