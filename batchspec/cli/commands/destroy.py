"""``batchspec destroy``: delete the resources that a spec created."""

from __future__ import annotations

from typing import Annotated

import typer

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


async def destroy(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    force: Annotated[
        bool,
        typer.Option(
            "--force",
            help="Also delete results that have not been downloaded, and the pool if tasks of"
            " other specs run on it.",
        ),
    ] = False,
    progress: Progress = ProgressKind.AUTO,
) -> int:
    """Delete what the spec created in the account, and nothing else."""
    from batchspec.api import prepare_destroy
    from batchspec.cli.console import confirm_plan
    from batchspec.cli.execute import execute
    from batchspec.cli.resume_command import always_resume_with
    from batchspec.render.questions import nothing_to_delete

    options = run_options(spec, variables, variable_files, target)
    async with prepare_destroy(options, ConsoleNotices(options), force=force) as prepared:
        plan = prepared.plan
        if progress.shows_plan:
            show_plan(plan, Format.TEXT, verbose=False, nothing=nothing_to_delete(plan))
            if plan.empty:
                return Exit.DONE
        if not plan.empty and not confirm_plan(plan, progress, yes=yes, verb="destroy"):
            return Exit.DONE
        resumed_with = always_resume_with("destroy", *(("--force",) if force else ()))
        return await execute(
            plan, prepared.session, progress, resumed_with, yes=True, notifies=False
        )
