"""``batchspec report``: a recorded run of a spec with all its attempts, as one HTML page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.cli.console import ConsoleNotices, out
from batchspec.cli.options import SpecFile, VariableFiles, Variables, run_options
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.render import Attempt


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
    from batchspec.api import load_spec, recorded_runs, runs_folder
    from batchspec.render import last_run, page_html, page_written

    options = run_options(spec, variables, variable_files)
    loaded = load_spec(options, on_loaded=ConsoleNotices(options).loaded)
    runs = runs_folder(loaded.path, loaded.name)
    records = recorded_runs(runs)
    if not records:
        raise UsageError(_no_record(loaded.name, runs))
    if run:
        records = records[: records.index(_find(run, records)) + 1]
    try:
        attempts = last_run(_attempt(record) for record in reversed(records))
        if run and attempts[-1].id != records[-1].parent.name:
            # The attempt had no tasks: a deletion, for example.
            attempts = (_attempt(records[-1]),)
        page = page_html(attempts)
    except _DAMAGE as error:
        raise UsageError(_damaged_record(runs)) from error
    if to == Path("-"):
        out(page.rstrip("\n"))
        return Exit.DONE
    path = to or runs / attempts[-1].id / "report.html"
    try:
        path.write_text(page, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        diagnostic = Diagnostic("unwritable-file", f"{path} cannot be written: {reason}")
        raise UsageError(diagnostic) from error
    out(page_written(os.path.relpath(path)))
    return Exit.DONE


def _attempt(record: Path) -> Attempt:
    from batchspec.render import Attempt, build_timeline, read_record

    with record.open(encoding="utf-8", errors="replace") as lines:
        return Attempt(record.parent.name, build_timeline(read_record(lines)))


def _find(text: str, records: Sequence[Path]) -> Path:
    """The record whose id starts with ``text``, or whose folder or page has this path.

    Raises:
        UsageError: there is none, or more than one.
    """
    parts = Path(text).parts
    run = parts[parts.index("runs") + 1] if "runs" in parts[:-1] else text
    matches = [record for record in records if record.parent.name.startswith(run)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        summary = f"the ids of {len(matches)} recorded runs start with {run!r}"
    else:
        summary = f"no recorded run has an id that starts with {run!r}"
    names = [record.parent.name for record in matches or records]
    fix = f"Use one of these ids: `batchspec report --run {names[-1]}` shows the newest of them."
    raise UsageError(Diagnostic("no-such-run", summary, "\n".join(names), fix=fix))


_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, OSError)
"""What values of other types in a record lead to. Lines that cannot be read are left out."""


def _damaged_record(runs: Path) -> Diagnostic:
    return Diagnostic(
        "bad-record",
        f"a record in {runs} cannot be read: its events are damaged",
        fix="Show another run with `--run ID`, or delete the damaged record.",
    )


def _no_record(name: str, runs: Path) -> Diagnostic:
    return Diagnostic(
        "no-record",
        f"no run of {name} is recorded on this machine",
        detail=f"Searched {runs}",
        fix="Records are written by `batchspec apply` on the machine it runs on.",
    )
