"""``batchspec attach``: watch a run that is in progress."""

from __future__ import annotations

from batchspec.cli.console import show_plan
from batchspec.cli.options import (
    Format,
    Progress,
    ProgressKind,
    RunOptions,
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    Yes,
)


async def attach(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Watch a run in progress: wait, download the results, clean up. Submits nothing."""
    from batchspec.cli.execute import execute
    from batchspec.cli.session import open_session
    from batchspec.plan import build_attach

    options = RunOptions.of(spec, variables, variable_files, target)
    async with open_session(options, files=False, work=False) as session:
        jobs = session.observed.jobs
        counts = await session.cloud.jobs.get_task_counts(jobs[-1].id) if jobs else None
        plan = build_attach(session.spec, session.observed, counts.total if counts else 0)
        if progress.shows_plan:
            show_plan(plan, Format.TEXT, verbose=verbose)
        # Without confirmation: nothing is created, and `apply` confirmed the clean-up.
        return await execute(plan, session, progress, yes=yes, verb="attach")
