"""``batchspec status``: one look."""

from __future__ import annotations

import os
import sys
from datetime import timedelta

from batchspec.cli.account import opened
from batchspec.cli.options import Format, Wanted
from batchspec.cli.reading import read
from batchspec.cli.screen import out
from batchspec.cloud.cloud import Cloud
from batchspec.observe.account import jobs_of
from batchspec.observe.output import pool_of
from batchspec.problems import Exit
from batchspec.render.ink import wants_color
from batchspec.render.status import Status, status_json, status_text
from batchspec.spec.model import Spec


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


async def _look(spec: Spec, cloud: Cloud) -> Status:
    """The newest job of the spec, its schedule and its pool, as they are now."""
    schedule = await cloud.reader.schedule(spec.job.id)
    jobs = await jobs_of(spec, cloud.reader)
    job = jobs[-1] if jobs else None
    counts = await cloud.batch.task_counts(job.id) if job else None
    name = pool_of(spec, jobs)
    pool = await cloud.reader.pool(name) if name is not None else None
    nodes = await cloud.batch.node_states(pool.id) if pool else None
    now = cloud.batch.now()
    rate = left = limit = None
    if job is not None and counts is not None:
        spent = ((job.ended or now) - job.created) / timedelta(seconds=1)
        rate = counts.completed / spent if spent > 0 and counts.completed else None
        waiting = counts.active + counts.running
        left = waiting / rate if rate and waiting else None
        if job.ended is None:
            limit = max((job.created + spec.job.limit - now) / timedelta(seconds=1), 0.0)
    return Status(
        account=cloud.reader.account,
        name=spec.name,
        job=job.id if job else None,
        job_state=job.state if job else "",
        tasks=counts,
        pool=pool.id if pool else None,
        pool_state=pool.state if pool else "",
        nodes=nodes,
        schedule=schedule,
        rate=rate,
        left=left,
        limit=limit,
    )
