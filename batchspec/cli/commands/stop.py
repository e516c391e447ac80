"""``batchspec stop``: end tasks of a run, or the whole run, with a reason."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.completion import complete_task
from batchspec.cli.console import ConsoleNotices, agreed, out
from batchspec.cli.options import (
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    Yes,
    run_options,
)
from batchspec.diagnostics import UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.cloud import AccountClient
    from batchspec.plan.observed import JobFacts
    from batchspec.spec import Spec

_ENDED = frozenset({"completed", "deleting"})
_LONGEST_WAIT = 300.0
"""Seconds to wait for a job to end; job release tasks may take longer."""


async def stop(
    spec: SpecFile,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK...]",
            autocompletion=complete_task,
            help="Tasks to end, each by its id or a unique part of it. [default: the whole run]",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str,
        typer.Option("--reason", metavar="TEXT", help="The reason to record in the account."),
    ] = "",
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
) -> int:
    """End tasks, or the whole run, with a reason. Deletes nothing."""
    from batchspec.api import load_spec, open_target, origin_of
    from batchspec.cli.resume_command import resume_command
    from batchspec.observe import jobs_of
    from batchspec.plan.metadata import SPEC, stop_reason
    from batchspec.render.questions import schedule_continues

    options = run_options(spec, variables, variable_files, target)
    notices = ConsoleNotices(options)
    loaded = load_spec(options, on_loaded=notices.loaded)
    recorded_reason = stop_reason(origin_of(loaded.path, os.environ).by, reason)
    async with open_target(target, options.environ, notices) as cloud:
        jobs = [
            job
            for job in await jobs_of(loaded, cloud)
            if job.metadata.get(SPEC) == loaded.name and job.state != "deleting"
        ]
        if tasks:
            await _stop_tasks(loaded, jobs, cloud, tasks, recorded_reason, yes=yes)
            return Exit.DONE
        look = resume_command(options, loaded, "status")
        stopped = await _stop_jobs(loaded, jobs, cloud, recorded_reason, look, yes=yes)
        if stopped and loaded.job.schedule is not None:
            destroy = resume_command(options, loaded, "destroy")
            out(schedule_continues(loaded.job.id, destroy))
    return Exit.DONE


async def _stop_jobs(
    spec: Spec, jobs: Sequence[JobFacts], cloud: AccountClient, reason: str, look: str, *, yes: bool
) -> bool:
    """Terminate the open jobs and wait for them; ``True`` if there were any and the user agreed."""
    from batchspec.api import no_run_of
    from batchspec.render.questions import job_question, nothing_to_stop

    open_jobs = [job for job in jobs if job.state not in _ENDED]
    if not open_jobs:
        missing = "" if jobs else (await no_run_of(spec, cloud)).summary
        out(nothing_to_stop(jobs[-1] if jobs else None, missing))
        return False
    for job in open_jobs:
        counts = await cloud.jobs.get_task_counts(job.id)
        if not agreed(job_question(job.id, counts.running, counts.active), yes=yes):
            return False
        # A job that is being terminated keeps its reason.
        await cloud.jobs.terminate(job.id, reason)
    for job in open_jobs:
        out(await _wait_for_end(job.id, cloud, reason, look))
    return True


async def _wait_for_end(job_id: str, cloud: AccountClient, reason: str, look: str) -> str:
    """The result when the job has ended or the maximum wait is over."""
    import asyncio

    from batchspec.apply import POLL_INTERVAL
    from batchspec.render.questions import job_ended, job_ending

    interval = POLL_INTERVAL[cloud.names.target]
    for _ in range(int(_LONGEST_WAIT / interval)):
        job = await cloud.jobs.get(job_id)
        if job is None or job.state in _ENDED:
            return job_ended(job_id, job.terminate_reason if job is not None else reason)
        await asyncio.sleep(interval)
    return job_ending(job_id, look)


async def _stop_tasks(
    spec: Spec,
    jobs: Sequence[JobFacts],
    cloud: AccountClient,
    names: Sequence[str],
    reason: str,
    *,
    yes: bool,
) -> None:
    """Terminate these tasks, after their reason is recorded in the job's metadata.

    Raises:
        UsageError: there is no such task.
    """
    from batchspec.api import no_run_of
    from batchspec.observe import counted_jobs, find_task
    from batchspec.plan.metadata import stopped_metadata
    from batchspec.render.questions import (
        task_not_running,
        tasks_ended,
        tasks_question,
    )

    matches = []
    for name in names:
        match = await find_task(counted_jobs(tuple(jobs)), cloud, name)
        if match is None:
            raise UsageError(await no_run_of(spec, cloud))
        matches.append(match)
    running = [match for match in matches if match.seen.facts.state != "completed"]
    for match in matches:
        if match not in running:
            out(task_not_running(match.seen.facts))
    ids = [match.seen.facts.id for match in running]
    if not ids or not agreed(tasks_question(ids), yes=yes):
        return
    for job_id, group in groupby(sorted(running, key=lambda m: m.job), lambda m: m.job):
        task_ids = [match.seen.facts.id for match in group]
        # The reason is recorded before the tasks end, so that a run that waits for them finds it.
        if (job := await cloud.jobs.get(job_id)) is not None:
            await cloud.jobs.update(job_id, stopped_metadata(job, task_ids, reason))
        for task_id in task_ids:
            await cloud.tasks.terminate(job_id, task_id)
    out(tasks_ended(ids))
