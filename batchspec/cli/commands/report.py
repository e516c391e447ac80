"""``batchspec report``: a recorded run of a spec with all its attempts, as one HTML page."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from batchspec.cli.console import ConsoleNotices, out
from batchspec.cli.options import SpecFile, VariableFiles, Variables, run_options
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit


def report(
    spec: SpecFile,
    to: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The file to write; - is standard output."),
    ] = None,
    run: Annotated[
        str,
        typer.Option(
            "--run",
            metavar="ID",
            help="The run whose last attempt has this id, a unique prefix of it, or the path of "
            "its folder or page.",
        ),
    ] = "",
    variables: Variables = None,
    variable_files: VariableFiles = None,
) -> int:
    """Write the last run that had tasks, with all its attempts, as one HTML page."""
    from batchspec.api import load_spec, page_path, read_history, runs_folder, write_page
    from batchspec.cli.resume_command import resume_command
    from batchspec.render import page_html, page_written

    options = run_options(spec, variables, variable_files)
    loaded = load_spec(options, on_loaded=ConsoleNotices(options).loaded)
    runs = runs_folder(loaded.path, loaded.name)
    history = read_history(
        runs,
        loaded.name,
        run=run,
        command=partial(resume_command, options, loaded),
        retries=loaded.job.schedule is None,
    )
    if to == Path("-"):
        out(page_html(history).rstrip("\n"))
        return Exit.DONE
    path = to or page_path(runs, history)
    try:
        write_page(history, path)
    except OSError as error:
        reason = error.strerror or str(error)
        diagnostic = Diagnostic("unwritable-file", f"{path} cannot be written: {reason}")
        raise UsageError(diagnostic) from error
    out(page_written(os.path.relpath(path)))
    return Exit.DONE
