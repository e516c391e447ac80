"""Standard output and error: text, diagnostics and plans."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchspec.cli.options import Format
from batchspec.diagnostics import Diagnostic, Severity, redact

if TYPE_CHECKING:
    from batchspec.apply.events import Waiting
    from batchspec.plan import Plan


def out(text: str) -> None:
    """Write to standard output, redacted."""
    print(redact(text), flush=True)


def err(text: str) -> None:
    """Write to standard error, redacted."""
    print(redact(text), file=sys.stderr, flush=True)


def width() -> int:
    """The columns of the terminal, from 40 to 110."""
    return max(40, min(shutil.get_terminal_size((80, 24)).columns, 110))


def use_color() -> bool:
    """Whether text on standard output is coloured."""
    from batchspec.render import wants_color

    return wants_color(sys.stdout, os.environ)


def show_diagnostics(diagnostics: Sequence[Diagnostic], form: Format = Format.TEXT) -> None:
    """Write diagnostics to standard error, or as JSON to standard output."""
    from batchspec.cli.resume_command import completed_problem
    from batchspec.render import diagnostic_json, diagnostics_text, json_text, wants_color

    diagnostics = [completed_problem(problem) for problem in diagnostics]
    if form is Format.JSON:
        out(json_text({"version": 1, "problems": [diagnostic_json(d) for d in diagnostics]}))
        return
    color = wants_color(sys.stderr, os.environ)
    err(diagnostics_text(diagnostics, color=color, width=width()))


def show_plan(plan: Plan, form: Format, *, verbose: bool, nothing: str = "") -> None:
    """Write a plan to standard output; ``nothing`` is the text for one without steps."""
    from batchspec.cli.resume_command import completed_plan
    from batchspec.render import plan_json, plan_markdown, plan_text, symbols_for

    plan = completed_plan(plan)
    match form:
        case Format.JSON:
            out(plan_json(plan))
        case Format.MARKDOWN:
            out(plan_markdown(plan, here=Path.cwd()))
        case Format.TEXT:
            out(
                plan_text(
                    plan,
                    color=use_color(),
                    width=width(),
                    symbols=symbols_for(sys.stdout),
                    verbose=verbose,
                    here=Path.cwd(),
                    nothing=nothing,
                )
            )


def show_plan_errors(spec: Path, diagnostics: Sequence[Diagnostic], form: Format) -> None:
    """Write why there is no plan to standard output, for readers of JSON or markdown."""
    from batchspec.cli.resume_command import completed_problem
    from batchspec.render import refusal_markdown

    diagnostics = [completed_problem(problem) for problem in diagnostics]
    match form:
        case Format.JSON:
            show_diagnostics(diagnostics, form)
        case Format.MARKDOWN:
            out(refusal_markdown(str(spec), diagnostics))
        case Format.TEXT:
            pass


class WaitNotices:
    """Shows that a service delays requests: on standard error, or among the events of a run."""

    def __init__(self) -> None:
        self._emit: Callable[[Waiting], None] | None = None

    def __call__(self, wait: Waiting) -> None:
        """Show the notice, or pass it to the run."""
        if self._emit is not None:
            self._emit(wait)
        elif not wait.resolved:
            show_diagnostics([Diagnostic(wait.code, wait.summary, severity=Severity.NOTE)])

    @contextlib.contextmanager
    def redirected(self, emit: Callable[[Waiting], None]) -> Iterator[None]:
        """Pass notices to ``emit`` while a run uses the terminal."""
        self._emit = emit
        try:
            yield
        finally:
            self._emit = None
