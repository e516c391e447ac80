"""``batchspec report``: the newest recorded run of a spec as one HTML page."""

from __future__ import annotations

import os
from pathlib import Path

from batchspec.cli.options import Wanted
from batchspec.cli.reading import read
from batchspec.cli.run_folder import newest_record, runs_folder
from batchspec.cli.screen import out
from batchspec.problems import Exit, Problem, UsageError
from batchspec.render.page.page import page_html
from batchspec.render.page.trace import trace_of
from batchspec.render.record import read_record
from batchspec.render.words import page_written


def report(wanted: Wanted, to: Path | None) -> int:
    """Write the page beside its record, or ``to`` (``-``: standard output); the exit code.

    Raises:
        UsageError: no run was recorded, or the page cannot be written.
    """
    spec = read(wanted)
    runs = runs_folder(spec.path, spec.name)
    record = newest_record(runs)
    if record is None:
        raise UsageError(_no_record(spec.name, runs))
    with record.open(encoding="utf-8", errors="replace") as lines:
        page = page_html(trace_of(read_record(lines)))
    if to == Path("-"):
        out(page.rstrip("\n"))
        return Exit.DONE
    place = to or record.with_name("report.html")
    try:
        place.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(_unwritten(place, error)) from error
    out(page_written(os.path.relpath(place)))
    return Exit.DONE


def _no_record(name: str, runs: Path) -> Problem:
    return Problem(
        "no-record",
        f"no run of {name} was recorded here",
        detail=f"Looked in {runs}",
        hint="`batchspec apply` records the run; the record stays on the machine it ran on.",
    )


def _unwritten(place: Path, error: OSError) -> Problem:
    return Problem("unwritable-file", f"{place} cannot be written: {error.strerror or error}")
