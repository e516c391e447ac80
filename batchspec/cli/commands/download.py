"""``batchspec download``: the results that exist now."""

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
    Yes,
    run_options,
)
from batchspec.exit_codes import Exit


async def download(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    progress: Progress = ProgressKind.AUTO,
) -> int:
    """Download the results that exist now. Changes nothing in the account."""
    from batchspec.api import Files, open_session
    from batchspec.cli.console import confirm_plan
    from batchspec.cli.execute import execute
    from batchspec.cli.resume_command import always_resume_with
    from batchspec.plan import build_download

    options = run_options(spec, variables, variable_files, target)
    async with open_session(options, ConsoleNotices(options), files=Files.OPTIONAL) as session:
        plan = build_download(session.spec, session.observed, files=session.files)
        if progress.shows_plan:
            show_plan(plan, Format.TEXT, verbose=False)
        if plan.questions and not confirm_plan(plan, progress, yes=yes, verb="download"):
            return Exit.DONE
        return await execute(
            plan, session, progress, always_resume_with("download"), yes=True, notifies=False
        )
