"""``batchspec failures``: what failed, by cause, with what was said and how to run it again."""

from __future__ import annotations

import os
import sys

from batchspec.cli.account import opened
from batchspec.cli.again import command_for
from batchspec.cli.options import Format, Wanted
from batchspec.cli.reading import read
from batchspec.cli.run_folder import records, runs_folder
from batchspec.cli.screen import out, width
from batchspec.diagnostics import Exit
from batchspec.observe.account import counted, jobs_of
from batchspec.observe.failures import failures_of
from batchspec.observe.output import pool_of
from batchspec.render.failures import Failures, failures_json, failures_text
from batchspec.render.style import wants_color


async def failures(wanted: Wanted, form: Format) -> int:
    """Show the failed tasks of the run of a spec; the exit code."""
    spec = read(wanted)

    def retry(cause: str | None) -> str:
        return command_for(wanted, spec, "retry", *(("--cause", cause) if cause else ()))

    async with opened(wanted.target, wanted.environ) as cloud:
        jobs = counted(await jobs_of(spec, cloud.reader))
        found = await failures_of(spec, jobs, pool_of(spec, jobs), cloud.reader)
    recorded = bool(records(runs_folder(spec.path, spec.name)))
    seen = Failures(
        cloud.reader.account,
        spec.name,
        jobs[-1].id if jobs else None,
        found,
        None if spec.job.schedule is not None else retry,
        command_for(wanted, spec, "apply"),
        command_for(wanted, spec, "report") if recorded else "",
    )
    if form is Format.JSON:
        out(failures_json(seen))
    else:
        out(failures_text(seen, color=wants_color(sys.stdout, os.environ), width=width()))
    return Exit.DONE
