"""``batchspec destroy``: delete what a spec made, and only that."""

from __future__ import annotations

from batchspec.cli.options import Format, ProgressKind, Wanted
from batchspec.cli.running import carry_out
from batchspec.cli.screen import confirm, has_terminal, needs_answer, show_plan
from batchspec.cli.session import session
from batchspec.plan.destroy import build_destroy
from batchspec.problems import Exit
from batchspec.render.questions import NOTHING_TO_DELETE, apply_question, unasked_words


async def destroy(wanted: Wanted, progress: ProgressKind, *, yes: bool, force: bool) -> int:
    """Delete what the spec made; the exit code."""
    async with session(wanted, files=False) as found:
        made = build_destroy(found.spec, found.observed, force=force)
        if progress not in {ProgressKind.JSON, ProgressKind.QUIET}:
            show_plan(made, Format.TEXT, verbose=False, nothing=NOTHING_TO_DELETE)
            if made.empty:
                return Exit.DONE
        if not made.empty and not yes:
            if not has_terminal():
                raise needs_answer(unasked_words(made))
            if not confirm(apply_question(made), default=False):
                return Exit.DONE
        return await carry_out(made, found, progress, yes=True, again="destroy")
