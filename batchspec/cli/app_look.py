"""The arguments of the commands that look at runs; ``app.py`` has their order."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.loop import complete
from batchspec.cli.options import (
    Format,
    SpecFile,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
    Wanted,
)


def logs(
    spec: SpecFile,
    task: Annotated[
        str | None,
        typer.Argument(metavar="[TASK]", help="A task's id, or a part that no other id has."),
    ] = None,
    stderr: Annotated[bool, typer.Option("--stderr", help="Its stderr, not its stdout.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on as it grows, until the task ends.")
    ] = False,
    start_task: Annotated[
        str | None,
        typer.Option(
            "--start-task",
            metavar="NODE",
            help="Of the start task of a node: its id, or a part that no other id has.",
        ),
    ] = None,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
) -> int:
    """Show what a task has written. Without TASK, list the tasks that wrote something."""
    from batchspec.cli.commands.logs import logs as run

    wanted = Wanted.of(spec, variables, variable_files, target)
    return complete(run(wanted, task, stderr=stderr, follow=follow, start_task=start_task))


def failures(
    spec: SpecFile,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    form: TextOrJson = Format.TEXT,
) -> int:
    """Show what failed, by cause: how many, what one said, and the command that retries them."""
    from batchspec.cli.commands.failures import failures as run

    return complete(run(Wanted.of(spec, variables, variable_files, target), form))


def report(
    spec: SpecFile,
    to: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to; - is standard output."),
    ] = None,
    run: Annotated[
        str,
        typer.Option(
            "--run",
            metavar="ID",
            help="The run that ended with this attempt: the name of its folder, or its beginning.",
        ),
    ] = "",
    variables: Variables = None,
    variable_files: VariableFiles = None,
) -> int:
    """Write the last run that had tasks, with all its attempts, as one HTML page."""
    from batchspec.cli.commands.report import report as write

    return write(Wanted.of(spec, variables, variable_files), to, run)


def list_(
    orphans: Annotated[
        bool, typer.Option("--orphans", help="Only what nobody uses: no open job needs it.")
    ] = False,
    target: TargetOption = None,
    form: TextOrJson = Format.TEXT,
) -> int:
    """List what batchspec has made in the account: pools, jobs, containers."""
    from batchspec.cli.commands.list import list_ as run

    return complete(run(target, os.environ, form, orphans=orphans))


def doctor(
    target: TargetOption = None,
    form: TextOrJson = Format.TEXT,
) -> int:
    """Look at account, credentials, clock, images and local engine, and say how to mend them."""
    from batchspec.cli.commands.doctor import doctor as run

    return complete(run(target, os.environ, form))
