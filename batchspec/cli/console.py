"""Standard output and error: text, diagnostics and plans."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from batchspec.cli.activity import clear_activity, show_activity
from batchspec.cli.options import Format
from batchspec.diagnostics import Diagnostic, MissingSecret, Severity, redact

if TYPE_CHECKING:
    from batchspec.api import RunOptions
    from batchspec.apply.events import Waiting
    from batchspec.local import Simulation, StartupPhase
    from batchspec.plan import Plan
    from batchspec.render.local import LocalSimulation
    from batchspec.spec import Spec


def out(text: str) -> None:
    """Write to standard output, redacted."""
    clear_activity()
    print(redact(text), flush=True)


def out_part(text: str) -> None:
    """Write a part of a text to standard output, redacted, without a newline after it."""
    clear_activity()
    sys.stdout.write(redact(text))


def out_bytes(data: bytes) -> None:
    """Write bytes, which are redacted already, to standard output."""
    if not data:
        return
    clear_activity()
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def err(text: str) -> None:
    """Write to standard error, redacted."""
    clear_activity()
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
    from batchspec.render import diagnostics_json, diagnostics_text, json_text, wants_color

    diagnostics = [completed_problem(problem) for problem in diagnostics]
    if form is Format.JSON:
        out(json_text(diagnostics_json(diagnostics)))
        return
    color = wants_color(sys.stderr, os.environ)
    err(diagnostics_text(diagnostics, color=color, width=width()))


def show_plan(
    plan: Plan, form: Format, *, verbose: bool, nothing: str = "", folded: bool = False
) -> None:
    """Write a plan to standard output; ``nothing`` is the text for one without steps.

    ``folded``: as text without its steps.
    """
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
                    folded=folded,
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


class ConsoleNotices:
    """Prints the notices of an operation on standard error.

    Commands in messages are completed with ``options`` from now on, and with the spec as soon as it
    is loaded. With ``BATCHSPEC_LOG=debug`` in the environment, requests are logged from then on.
    """

    def __init__(self, options: RunOptions | None = None) -> None:
        from batchspec.cli.resume_command import select

        self._options = options
        select(options)

    def loaded(self, spec: Spec) -> None:
        """Complete commands for the spec, and log its requests."""
        from batchspec.cli.resume_command import select

        select(self._options, spec)
        if self._options and self._options.environ.get("BATCHSPEC_LOG", "").lower() == "debug":
            from batchspec.cli.request_log import log_requests
            from batchspec.plan.receipt import receipt_path

            log_requests(receipt_path(spec.path, spec.name).parent)

    def starting(self, phase: StartupPhase) -> None:
        """Print what the start of the embedded service does."""
        show_phase(phase)

    def started(self, simulation: Simulation) -> None:
        """Print a simulated clock or injected faults: users must not mistake them for Azure."""
        from batchspec.render.local import simulation_notice

        if notice := simulation_notice(simulation_of(simulation)):
            err(notice)

    def working(self, subject: str, detail: str = "") -> None:
        """Show it on a terminal, until something else is printed."""
        show_activity(subject, detail)

    def waiting(self, wait: Waiting) -> None:
        """Print that a service delays requests."""
        if not wait.resolved:
            show_diagnostics([Diagnostic(wait.code, wait.summary, severity=Severity.NOTE)])


def show_phase(phase: StartupPhase) -> None:
    """Print a phase of the start of the embedded service."""
    from batchspec.render.local import phase_text

    err(phase_text(phase.value))


def simulation_of(simulation: Simulation) -> LocalSimulation:
    """The simulation options of the embedded service, for display."""
    from batchspec.render.local import LocalSimulation

    return LocalSimulation(
        speed=simulation.speed,
        allocation=simulation.allocation_text,
        chaos=simulation.faults.text,
        seed=simulation.faults.seed,
        entra_only=simulation.entra_only,
    )


def note_missing_secrets(spec: Spec) -> None:
    """Print which secrets are not redacted in the output of tasks, since they have no value."""
    from batchspec.render.logs import unredacted_note

    values = spec.parameters.items()
    if names := [name for name, value in values if isinstance(value, MissingSecret)]:
        err(unredacted_note(names))
