"""``batchspec validate``: every problem of a spec and its files, with nothing sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from batchspec.cli.options import Format, Wanted
from batchspec.cli.reading import scanned
from batchspec.cli.screen import out, show_problems
from batchspec.diagnostics import BatchspecError, Diagnostic
from batchspec.spec import Rows, Spec, read_rows


def validate(specs: Sequence[Wanted], form: Format) -> int:
    """Check specs; the exit code."""
    code = 0
    found: list[Diagnostic] = []
    for wanted in specs:
        try:
            with scanned(wanted) as (spec, _):
                found += spec.warnings
                _read_rows(spec)
        except BatchspecError as error:
            found += error.problems
            code = max(code, error.exit)
        else:
            if form is Format.TEXT:
                out(f"{wanted.path}: ok")
    if found or form is Format.JSON:
        show_problems(found, form)
    return code


def _read_rows(spec: Spec) -> None:
    """Read every file of rows to its end; no row is kept.

    Raises:
        SpecError: there is no such file, or a row of it is wrong.
    """
    for stage in spec.stages:
        if isinstance(stage.for_each, Rows):
            deque(read_rows(stage.for_each.path, stage.for_each.where), maxlen=0)
