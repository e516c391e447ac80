"""``batchspec stop``: end tasks of a run, or the whole run, with a reason."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from itertools import groupby

from batchspec.cli.account import opened
from batchspec.cli.again import command_for
from batchspec.cli.options import Wanted
from batchspec.cli.origin import origin_of
from batchspec.cli.reading import read
from batchspec.cli.running import PACE
from batchspec.cli.screen import confirm, has_terminal, needs_answer, out
from batchspec.cloud import AccountClient
from batchspec.diagnostics import Exit, UsageError
from batchspec.observe.account import counted, jobs_of
from batchspec.observe.output import TaskOf, find_task
from batchspec.plan.metadata import SPEC, stop_reason, stopped_metadata
from batchspec.plan.observed import JobFacts
from batchspec.render.questions import (
    job_ended,
    job_ending,
    job_question,
    nothing_to_stop,
    schedule_continues,
    task_not_running,
    tasks_ended,
    tasks_question,
    unknown_task,
)
from batchspec.spec import Spec

_OVER = frozenset({"completed", "deleting"})
_LONGEST = 300.0
"""Seconds that the end of a job is waited for; release tasks may take longer."""


async def stop(wanted: Wanted, tasks: Sequence[str], *, reason: str, yes: bool) -> int:
    """End these tasks, or the open jobs of the run without any; the exit code.

    Raises:
        UsageError: there is no such task, or nobody can be asked.
    """
    spec = read(wanted)
    why = stop_reason(origin_of(spec.path, os.environ).by, reason)
    async with opened(wanted.target, wanted.environ) as cloud:
        jobs = [
            job
            for job in await jobs_of(spec, cloud.reader)
            if job.metadata.get(SPEC) == spec.name and job.state != "deleting"
        ]
        if tasks:
            return await _stop_tasks(jobs, cloud, tasks, why, yes=yes, name=spec.name)
        return await _stop_run(spec, jobs, cloud, why, wanted, yes=yes)


async def _stop_run(
    spec: Spec,
    jobs: Sequence[JobFacts],
    cloud: AccountClient,
    why: str,
    wanted: Wanted,
    *,
    yes: bool,
) -> int:
    alive = [job for job in jobs if job.state not in _OVER]
    if not alive:
        out(nothing_to_stop(spec.name, jobs[-1] if jobs else None))
        return Exit.DONE
    for job in alive:
        counts = await cloud.batch.task_counts(job.id)
        if not _agreed(job_question(job.id, counts.running, counts.active), yes=yes):
            return Exit.DONE
        # One that is being terminated already keeps the reason it has.
        await cloud.batch.terminate_job(job.id, why)
    for job in alive:
        out(await _wait(job.id, cloud, why, command_for(wanted, spec, "status")))
    if spec.job.schedule is not None:
        out(schedule_continues(spec.job.id, command_for(wanted, spec, "destroy")))
    return Exit.DONE


async def _wait(job_id: str, cloud: AccountClient, why: str, status: str) -> str:
    """What to report when none of the job's tasks runs any more, or that takes too long."""
    pace = PACE[cloud.reader.account.target]
    for _ in range(int(_LONGEST / pace)):
        job = await cloud.reader.job(job_id)
        if job is None or job.state in _OVER:
            return job_ended(job_id, job.terminate_reason if job is not None else why)
        await asyncio.sleep(pace)
    return job_ending(job_id, status)


async def _stop_tasks(
    jobs: Sequence[JobFacts],
    cloud: AccountClient,
    names: Sequence[str],
    why: str,
    *,
    yes: bool,
    name: str,
) -> int:
    found = [await _find(counted(tuple(jobs)), cloud, task, name) for task in names]
    running = [where for where in found if where.seen.facts.state != "completed"]
    for where in found:
        if where not in running:
            out(task_not_running(where.seen.facts))
    if not running:
        return Exit.DONE
    ids = [where.seen.facts.id for where in running]
    if not _agreed(tasks_question(ids), yes=yes):
        return Exit.DONE
    for job_id, group in groupby(sorted(running, key=lambda where: where.job), lambda w: w.job):
        ended = [where.seen.facts.id for where in group]
        # First, so that the run that waits for them finds the reason.
        if (job := await cloud.reader.job(job_id)) is not None:
            await cloud.batch.update_job(job_id, stopped_metadata(job, ended, why))
        for task in ended:
            await cloud.batch.terminate_task(job_id, task)
    out(tasks_ended(ids))
    return Exit.DONE


async def _find(jobs: Sequence[JobFacts], cloud: AccountClient, task: str, name: str) -> TaskOf:
    where = await find_task(jobs, cloud.reader, task)
    if where is None:
        raise UsageError(unknown_task(task, name))
    return where


def _agreed(question: str, *, yes: bool) -> bool:
    """Whether the user agrees.

    Raises:
        UsageError: without a terminal and without ``-y`` there is no answer.
    """
    if yes:
        return True
    if not has_terminal():
        raise needs_answer(f"there is no terminal to ask on. {question.partition('?')[0]}?")
    return confirm(question, default=False)
