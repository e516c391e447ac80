"""``batchspec destroy``: delete what a spec made, and only that."""

from __future__ import annotations

from batchspec.cli.asking import agreed, shows_plan
from batchspec.cli.options import Format, ProgressKind, Wanted
from batchspec.cli.running import carry_out
from batchspec.cli.screen import show_plan
from batchspec.cli.session import session
from batchspec.diagnostics import Exit
from batchspec.plan.destroy import build_destroy
from batchspec.render.questions import NOTHING_TO_DELETE


async def destroy(wanted: Wanted, progress: ProgressKind, *, yes: bool, force: bool) -> int:
    """Delete what the spec made; the exit code."""
    async with session(wanted, files=False) as found:
        made = build_destroy(found.spec, found.observed, force=force)
        if shows_plan(progress):
            show_plan(made, Format.TEXT, verbose=False, nothing=NOTHING_TO_DELETE)
            if made.empty:
                return Exit.DONE
        if not made.empty and not agreed(made, progress, yes=yes):
            return Exit.DONE
        return await carry_out(made, found, progress, yes=True, again="destroy")
