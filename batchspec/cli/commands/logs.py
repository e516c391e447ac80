"""``batchspec logs``: what a task, or the start task of a node, has written."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence

from batchspec.cli.account import opened
from batchspec.cli.options import Wanted
from batchspec.cli.reading import read
from batchspec.cli.running import PACE
from batchspec.cli.screen import err, out, show_problems
from batchspec.cloud import AccountClient
from batchspec.diagnostics import Diagnostic, Exit, UsageError
from batchspec.observe.account import counted, jobs_of
from batchspec.observe.output import (
    Output,
    find_node_output,
    find_task,
    output_kept,
    output_of_task,
    started,
)
from batchspec.plan.observed import JobFacts
from batchspec.render.logs import (
    OutputRedactor,
    empty_note,
    list_notes,
    no_output,
    no_run,
    not_started,
    stored_note,
    task_line,
    waiting_note,
)
from batchspec.render.style import wants_color
from batchspec.spec import Spec


async def logs(
    wanted: Wanted, task: str | None, *, stderr: bool, follow: bool, start_task: str | None
) -> int:
    """Show what was written; without a task, list those that wrote something; the exit code."""
    spec = read(wanted)
    name = "stderr.txt" if stderr else "stdout.txt"
    async with opened(wanted.target, wanted.environ) as cloud:
        jobs = counted(await jobs_of(spec, cloud.reader))
        if start_task is not None:
            found = await find_node_output(spec, jobs, cloud.reader, start_task, name)
            subject = f"the start task of {found.node}"
            if found.like:
                err(stored_note(subject, found.like))
            missing = no_output(subject, name, kept=None)
            return await _show(found.output, cloud, subject, name, follow=follow, missing=missing)
        if task is None:
            only = await _list(jobs, cloud, spec)
            if only is None:
                return Exit.DONE
            task = only
        return await _task(spec, jobs, cloud, task, name, follow=follow)


async def _task(
    spec: Spec,
    jobs: Sequence[JobFacts],
    cloud: AccountClient,
    wanted: str,
    name: str,
    *,
    follow: bool,
) -> int:
    where = await find_task(jobs, cloud.reader, wanted)
    if where is None:
        # Clean-up may have taken the job and left the logs.
        output = output_kept(cloud.reader, spec, wanted, name)
        return await _show(output, cloud, wanted, name, follow=False, missing=_no_run(spec))
    facts = where.seen.facts
    if facts.state in {"active", "preparing"}:
        if not follow:
            show_problems([not_started(facts.id)])
            return Exit.DONE
        err(waiting_note(facts.id))
    missing = no_output(facts.id, name, kept=any(stage.logs for stage in spec.stages))
    output = output_of_task(cloud.reader, spec, where, name)
    return await _show(output, cloud, facts.id, name, follow=follow, missing=missing)


def _no_run(spec: Spec) -> Diagnostic:
    return no_run(spec.name, scheduled=spec.job.schedule is not None)


async def _show(
    output: Output,
    cloud: AccountClient,
    subject: str,
    name: str,
    *,
    follow: bool,
    missing: Diagnostic,
) -> int:
    """Show it; raises UsageError with ``missing`` if there is no such file."""
    pace = PACE[cloud.reader.account.target]
    source = output.follow(lambda: asyncio.sleep(pace)) if follow else output.read()
    written = await _pass_on(source)
    if not output.found:
        raise UsageError(missing)
    if not written:
        err(empty_note(subject, name, other="" if name == "stderr.txt" else "--stderr"))
    return Exit.DONE


async def _pass_on(source: AsyncIterator[bytes]) -> bool:
    """Write it to standard output as it comes; whether there was anything."""
    lines = OutputRedactor(shown=sys.stdout.isatty())
    written = False
    async for data in source:
        written = True
        _write(lines(data))
    _write(lines.end())
    return written


def _write(data: bytes) -> None:
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


async def _list(jobs: Sequence[JobFacts], cloud: AccountClient, spec: Spec) -> str | None:
    """List the tasks that have been started; the only one there is, without listing it."""
    if not jobs:
        raise UsageError(_no_run(spec))
    color = wants_color(sys.stdout, os.environ)
    first = None
    count = 0
    async for _, task in started(jobs, cloud.reader):
        count += 1
        if count == 1:
            first = task
            continue
        if first is not None:
            out(task_line(first, color=color))
            first = None
        out(task_line(task, color=color))
    if first is not None:
        return first.id
    for note in list_notes(count, str(spec.path)):
        err(note)
    return None
