"""``batchspec report``: a recorded run of a spec, with all attempts at it, as one HTML page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from batchspec.cli.options import Wanted
from batchspec.cli.reading import read
from batchspec.cli.run_folder import records, runs_folder
from batchspec.cli.screen import out
from batchspec.diagnostics import Diagnostic, Exit, UsageError
from batchspec.render.progress.json_stream import read_record
from batchspec.render.report_page import page_html
from batchspec.render.step_text import page_written
from batchspec.render.timeline import Attempt, build_timeline, last_run


def report(wanted: Wanted, to: Path | None, run: str) -> int:
    """Write the page beside the newest record of the run, or ``to`` (``-``: standard output).

    ``run`` is the id of a recorded attempt, or what only one id begins with; empty is the last run
    that had tasks. The exit code.

    Raises:
        UsageError: no run was recorded, none or several have that id, or the page cannot be
            written.
    """
    spec = read(wanted)
    runs = runs_folder(spec.path, spec.name)
    found = records(runs)
    if not found:
        raise UsageError(_no_record(spec.name, runs))
    if run:
        found = found[: found.index(_named(run, found)) + 1]
    attempts = last_run(_attempt(record) for record in reversed(found))
    if run and attempts[-1].id != found[-1].parent.name:
        # It had no tasks: a deletion, say.
        attempts = (_attempt(found[-1]),)
    page = page_html(attempts)
    if to == Path("-"):
        out(page.rstrip("\n"))
        return Exit.DONE
    place = to or runs / attempts[-1].id / "report.html"
    try:
        place.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UsageError(_unwritten(place, error)) from error
    out(page_written(os.path.relpath(place)))
    return Exit.DONE


def _attempt(record: Path) -> Attempt:
    with record.open(encoding="utf-8", errors="replace") as lines:
        return Attempt(record.parent.name, build_timeline(read_record(lines)))


def _named(run: str, found: Sequence[Path]) -> Path:
    """The record whose id begins with ``run``."""
    hits = [record for record in found if record.parent.name.startswith(run)]
    if len(hits) == 1:
        return hits[0]
    names = [record.parent.name for record in hits or found]
    what = (
        f"{len(hits)} recorded runs have ids that begin" if hits else "no recorded run's id begins"
    )
    raise UsageError(
        Diagnostic(
            "no-such-run",
            f"{what} with {run!r}",
            detail="\n".join(names),
            fix="Give one of these.",
        )
    )


def _no_record(name: str, runs: Path) -> Diagnostic:
    return Diagnostic(
        "no-record",
        f"no run of {name} was recorded here",
        detail=f"Looked in {runs}",
        fix="`batchspec apply` records the run; the record stays on the machine it ran on.",
    )


def _unwritten(place: Path, error: OSError) -> Diagnostic:
    return Diagnostic("unwritable-file", f"{place} cannot be written: {error.strerror or error}")
