"""``batchspec validate``: every problem of a spec and its files, with nothing sent."""

from __future__ import annotations

from collections.abc import Sequence

from batchspec.cli.options import Format, Wanted
from batchspec.cli.reading import scanned
from batchspec.cli.screen import out, show_problems
from batchspec.problems import BatchspecError, Problem


def validate(specs: Sequence[Wanted], form: Format) -> int:
    """Check specs; the exit code."""
    code = 0
    found: list[Problem] = []
    for wanted in specs:
        try:
            with scanned(wanted) as (spec, _):
                found += spec.warnings
        except BatchspecError as error:
            found += error.problems
            code = max(code, error.exit)
        else:
            if form is Format.TEXT:
                out(f"{wanted.path}: ok")
    if found or form is Format.JSON:
        show_problems(found, form)
    return code
