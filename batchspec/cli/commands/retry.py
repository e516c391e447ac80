"""``batchspec retry``: run failed tasks again."""

from __future__ import annotations

from typing import Annotated

import typer

from batchspec.cli.completion import complete_cause, complete_failed_task
from batchspec.cli.console import ConsoleNotices, out
from batchspec.cli.options import (
    MaxCost,
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


async def retry(
    spec: SpecFile,
    causes: Annotated[
        list[str] | None,
        typer.Option(
            "--cause",
            metavar="CAUSE",
            autocompletion=complete_cause,
            help="Retry only failures with this cause, as `failures` shows it. Can be repeated.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            autocompletion=complete_failed_task,
            help="Retry only this task: its id, or a unique part of it. Can be repeated.",
        ),
    ] = None,
    max_cost: MaxCost = "",
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Run only the failed tasks again; then wait, download and clean up as `apply` does."""
    from batchspec.api import prepare_retry
    from batchspec.cli.execute import confirm_and_execute
    from batchspec.cli.resume_command import resume_command, resume_retry
    from batchspec.render import nothing_failed

    options = run_options(spec, variables, variable_files, target, max_cost=max_cost)
    causes, tasks = causes or [], tasks or []
    notices = ConsoleNotices(options)
    async with prepare_retry(options, notices, causes=causes, tasks=tasks) as prepared:
        plan, session = prepared.plan, prepared.session
        if not prepared.needed:
            apply = resume_command(options, session.spec, "apply")
            out(nothing_failed(session.spec.name, apply=apply))
            return Exit.DONE
        resumed_with = resume_retry(plan, causes, tasks)
        return await confirm_and_execute(
            plan, session, progress, resumed_with, yes=yes, verbose=verbose
        )
