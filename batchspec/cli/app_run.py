"""The arguments of the commands that go on with a run; ``app.py`` has their order."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.loop import complete
from batchspec.cli.options import (
    Progress,
    ProgressKind,
    SpecFile,
    StarterTemplate,
    TargetOption,
    VariableFiles,
    Variables,
    Verbose,
    Wanted,
    Yes,
)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where to; it is made if need be.")
    ] = Path(),
    template: Annotated[
        StarterTemplate, typer.Option("--template", help="What it is a start of.")
    ] = StarterTemplate.ONE_FILE_PER_TASK,
) -> int:
    """Write a starter spec that runs as it is. Nothing is overwritten."""
    from batchspec.cli.commands.init import init as run

    return run(folder, template)


def attach(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Watch a run that goes on already: wait, fetch the results and clean up, submit nothing."""
    from batchspec.cli.commands.attach import attach as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    return complete(run(wanted, progress, yes=yes, verbose=verbose))


def download(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    progress: Progress = ProgressKind.AUTO,
) -> int:
    """Fetch the results that are there now, whatever else is to be done."""
    from batchspec.cli.commands.download import download as run

    return complete(run(Wanted.of(spec, variables, variable_files, target), progress))


def stop(
    spec: SpecFile,
    tasks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TASK...]",
            help="Tasks to end, each by its id or a part that no other id has. [default: the run]",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why; recorded in the account.")
    ] = "",
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
) -> int:
    """End tasks, or the whole run, with a reason. Nothing is deleted."""
    from batchspec.cli.commands.stop import stop as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    return complete(run(wanted, tasks or (), reason=reason, yes=yes))


def retry(
    spec: SpecFile,
    causes: Annotated[
        list[str] | None,
        typer.Option(
            "--cause",
            metavar="CAUSE",
            help="Only what failed by this, as `failures` calls it. May be repeated.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            metavar="TASK",
            help="Only this task: its id, or a part that no other id has. May be repeated.",
        ),
    ] = None,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    yes: Yes = False,
    progress: Progress = ProgressKind.AUTO,
    verbose: Verbose = False,
) -> int:
    """Run just the failed tasks again, and then wait, fetch and clean up as apply does."""
    from batchspec.cli.commands.retry import retry as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    return complete(
        run(wanted, progress, causes=causes or (), tasks=tasks or (), yes=yes, verbose=verbose)
    )
