"""``batchspec attach``: take up watching a run that goes on already."""

from __future__ import annotations

from batchspec.cli.options import Format, ProgressKind, Wanted
from batchspec.cli.running import carry_out
from batchspec.cli.screen import show_plan
from batchspec.cli.session import session
from batchspec.plan.attach import build_attach


async def attach(wanted: Wanted, progress: ProgressKind, *, yes: bool, verbose: bool) -> int:
    """Wait for a run, fetch its results and clean up; the exit code.

    Nothing is asked at the beginning: nothing is made, and what is deleted at the end was agreed to
    with the run.
    """
    async with session(wanted, files=False, work=False) as found:
        jobs = found.observed.jobs
        counts = await found.cloud.batch.task_counts(jobs[-1].id) if jobs else None
        made = build_attach(found.spec, found.observed, counts.total if counts else 0)
        if progress not in {ProgressKind.JSON, ProgressKind.QUIET}:
            show_plan(made, Format.TEXT, verbose=verbose)
        return await carry_out(made, found, progress, yes=yes, again="attach")
