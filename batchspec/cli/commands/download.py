"""``batchspec download``: the results that exist now."""

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
)


async def download(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    progress: Progress = ProgressKind.AUTO,
) -> int:
    """Download the results that exist now. Changes nothing in the account."""
    from batchspec.cli.execute import execute
    from batchspec.cli.session import open_session
    from batchspec.plan import build_download

    options = RunOptions.of(spec, variables, variable_files, target)
    async with open_session(options, files=False, work=False) as session:
        plan = build_download(session.spec, session.observed)
        if progress.shows_plan:
            show_plan(plan, Format.TEXT, verbose=False)
        return await execute(plan, session, progress, yes=True, verb="download")
