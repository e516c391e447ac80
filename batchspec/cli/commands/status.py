"""``batchspec status``: one look."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, replace
from datetime import timedelta

from batchspec.apply.monitor import Watched, causes, look_closely
from batchspec.cli.account import opened
from batchspec.cli.options import Format, Wanted
from batchspec.cli.reading import read
from batchspec.cli.screen import out
from batchspec.cloud import AccountClient
from batchspec.diagnostics import Exit
from batchspec.observe.account import jobs_of
from batchspec.plan.metadata import kept_before
from batchspec.plan.stage_counts import StageCounts, count_stages, read_recorded
from batchspec.render.status import Status, status_json, status_text
from batchspec.render.style import wants_color
from batchspec.spec import PoolKind, Spec


async def status(wanted: Wanted, form: Format) -> int:
    """Show how it is with the run of a spec; the exit code."""
    spec = read(wanted)
    async with opened(wanted.target, wanted.environ) as cloud:
        seen = await _look(spec, cloud)
    if form is Format.JSON:
        out(status_json(seen))
    else:
        out(status_text(seen, color=wants_color(sys.stdout, os.environ)))
    return Exit.DONE


async def _look(spec: Spec, cloud: AccountClient) -> Status:
    """The newest job of the spec, its schedule and its pool, as they are now."""
    schedule = await cloud.reader.schedule(spec.job.id)
    jobs = await jobs_of(spec, cloud.reader)
    named = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    watched = Watched(named, jobs[-1].id if jobs else "", spec.job.limit)
    health = await look_closely(cloud.batch, watched)
    job, pool = health.job, health.pool
    rate = left = limit = None
    counts = health.counts
    stages: dict[str, StageCounts] = {}
    if job is not None:
        spent = ((job.ended or health.at) - job.created) / timedelta(seconds=1)
        rate = counts.completed / spent if spent > 0 and counts.completed else None
        waiting = counts.active + counts.running
        # While nothing runs there is no telling how long it takes.
        left = waiting / rate if rate and counts.running else None
        if job.ended is None:
            limit = max(health.left, 0.0)
        # What has succeeded in earlier jobs is part of the run; tasks of earlier versions are not.
        totals = read_recorded(job, spec)
        superseded = sum(stage.superseded for stage in totals)
        counts = counts.without(superseded)
        counts = replace(counts, succeeded=counts.succeeded + kept_before(job))
        if totals:
            stages = await count_stages(totals, cloud.reader.tasks(job.id))
    return Status(
        account=cloud.reader.account,
        name=spec.name,
        job=job.id if job else None,
        job_state=job.state if job else "",
        tasks=counts if job else None,
        pool=pool.id if pool else None,
        pool_state=pool.state if pool else "",
        nodes=health.nodes if pool else None,
        schedule=schedule,
        rate=rate,
        left=left,
        limit=limit,
        stages={name: asdict(stage) for name, stage in stages.items()},
        waits=tuple(cause.waiting() for cause in causes(health)) if job else (),
    )
