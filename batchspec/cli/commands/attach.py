"""``batchspec attach``: watch a run that is in progress."""

from __future__ import annotations

from batchspec.cli.console import ConsoleNotices, show_plan
from batchspec.cli.options import (
    Format,
    Progress,
    ProgressKind,
    SpecFile,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    Yes,
    run_options,
)
from batchspec.exit_codes import Exit


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
    from batchspec.api import Files, open_session
    from batchspec.cli.console import confirm_plan
    from batchspec.cli.execute import execute
    from batchspec.cli.resume_command import always_resume_with
    from batchspec.plan import build_attach

    options = run_options(spec, variables, variable_files, target)
    # The record of the run must not contain the value of a secret that a task prints.
    async with open_session(
        options, ConsoleNotices(options), files=Files.OPTIONAL, needs_secrets=True, estimate=True
    ) as session:
        jobs = session.observed.jobs
        counts = await session.cloud.jobs.get_task_counts(jobs[-1].id) if jobs else None
        tasks = counts.total if counts else 0
        plan = build_attach(session.spec, session.observed, tasks, files=session.files)
        if progress.shows_plan:
            show_plan(plan, Format.TEXT, verbose=verbose)
        # Nothing is created, and the user agreed to this clean-up when `apply` ran.
        if plan.questions and not confirm_plan(plan, progress, yes=yes, verb="attach"):
            return Exit.DONE
        return await execute(
            plan, session, progress, always_resume_with("attach"), yes=yes, verbose=verbose
        )
