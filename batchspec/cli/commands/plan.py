"""``batchspec plan``: what apply would do, and why; nothing in the account is changed."""

from __future__ import annotations

from pathlib import Path

from batchspec.cli.options import Format, Wanted, variables_of
from batchspec.cli.screen import err, show_plan, show_refusal
from batchspec.cli.session import session
from batchspec.diagnostics import Diagnostic, Exit, SpecError, UsageError
from batchspec.plan.build import build
from batchspec.plan.options import PlanOptions
from batchspec.plan.plan_file import plan_file, saved_plan
from batchspec.render.next_steps import plan_saved


async def plan(
    wanted: Wanted,
    form: Format,
    out: Path | None,
    *,
    exit_code: bool,
    verbose: bool,
    plan_options: PlanOptions,
) -> int:
    """Show the plan, and save it to ``out``; the exit code."""
    try:
        async with session(wanted) as found:
            made = build(found.spec, found.observed, options=plan_options)
            # Shown while the session lasts: the streams of a plan end with it.
            show_plan(made, form, verbose=verbose)
            if out is not None:
                variables = variables_of(wanted.variables)
                file = saved_plan(made, found.spec, variables, wanted.variable_files, plan_options)
                _write(out, plan_file(file))
                err(plan_saved(out))
    except SpecError as error:
        # Whatever reads a plan in such a form reads no standard error.
        show_refusal(wanted.path, error.problems, form)
        raise
    return Exit.CHANGES if exit_code and not made.empty else Exit.DONE


def _write(path: Path, text: str) -> None:
    """Write a plan file, for this user alone: it tells what somebody runs.

    Raises:
        UsageError: it cannot be written there.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.touch(mode=0o600)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        problem = Diagnostic("plan-not-saved", f"{path} cannot be written: {error.strerror}")
        raise UsageError(problem) from error
