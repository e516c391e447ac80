"""``batchspec plan``: what apply would do, and why; nothing is written."""

from __future__ import annotations

from batchspec.cli.options import Format, Wanted
from batchspec.cli.screen import show_plan
from batchspec.cli.session import session
from batchspec.plan.build import build
from batchspec.problems import Exit


async def plan(wanted: Wanted, form: Format, *, exit_code: bool, verbose: bool) -> int:
    """Show the plan; the exit code."""
    async with session(wanted) as found:
        made = build(found.spec, found.observed)
        # Shown while the session lasts: the streams of a plan end with it.
        show_plan(made, form, verbose=verbose)
    return Exit.CHANGES if exit_code and not made.empty else Exit.DONE
