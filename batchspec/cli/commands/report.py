"""``batchspec report``: a recorded run of a spec with all its attempts, as a page or as data."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer

from batchspec.api import ReportFormat
from batchspec.cli.completion import complete_run
from batchspec.cli.console import ConsoleNotices, out, out_part, show_diagnostics, write_utf8
from batchspec.cli.options import SpecFile, VariableFiles, Variables, run_options
from batchspec.diagnostics import Diagnostic, DiskError
from batchspec.exit_codes import Exit


def report(
    spec: SpecFile,
    to: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Write to this file; - is standard output."),
    ] = None,
    run: Annotated[
        str,
        typer.Option(
            "--run",
            metavar="ID",
            autocompletion=complete_run,
            help="Show an earlier run: the id of its last attempt, a unique prefix of the id, or "
            "the path of its folder or page.",
        ),
    ] = "",
    variables: Variables = None,
    variable_files: VariableFiles = None,
    report_format: Annotated[
        ReportFormat,
        typer.Option(
            "--format",
            help="A page, all data as JSON, the tasks as CSV, or trace events for Perfetto. "
            "Without --out, data is written to standard output.",
        ),
    ] = ReportFormat.HTML,
) -> int:
    """Report the last run that had tasks, with all its attempts, as an HTML page or as data."""
    from batchspec.api import (
        load_spec,
        missing_facts,
        page_path,
        read_history,
        report_text,
        runs_folder,
    )
    from batchspec.cli.resume_command import resume_command
    from batchspec.render import page_written

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
    if (note := missing_facts(history)) is not None:
        show_diagnostics([note])
    text = report_text(history, report_format)
    if to == Path("-") or (to is None and report_format is not ReportFormat.HTML):
        write_utf8()
        for part in text:
            out_part(part)
        return Exit.DONE
    path = to or page_path(runs, history)
    try:
        with _opened(path, private=to is None) as file:
            file.writelines(text)
    except OSError as error:
        raise _unwritable(path, error) from error
    out(page_written(os.path.relpath(path)))
    return Exit.DONE


def _unwritable(path: Path, error: OSError) -> DiskError:
    return DiskError(
        Diagnostic(
            "unwritable-file",
            f"{path} cannot be written: {error.strerror or error}",
            fix="Write to another file with `--out FILE`, or to standard output with `--out -`.",
        )
    )


def _opened(path: Path, *, private: bool) -> TextIO:
    """The file to write. Only its owner can read a page in the folder of a run."""
    from batchspec.apply.private_files import open_private

    return open_private(path) if private else path.open("w", encoding="utf-8")
