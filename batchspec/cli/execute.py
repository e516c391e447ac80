"""Executes a plan: shows it, asks, runs it with progress and signals, and prints a summary."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from batchspec import __version__
from batchspec.apply import NodeLogs, run
from batchspec.apply.events import Noticed, Stamp, Stamped
from batchspec.apply.ports import World
from batchspec.cli.clock import SystemClock
from batchspec.cli.confirm import RunQuestions, confirm_plan, needs_confirmation
from batchspec.cli.console import out, show_diagnostics, show_plan, use_color, width
from batchspec.cli.interrupt import Interrupts, interruptible
from batchspec.cli.options import Format, ProgressKind
from batchspec.cli.resume_command import resume_command
from batchspec.cli.run_folder import RunFolder, runs_folder
from batchspec.cli.session import Session
from batchspec.diagnostics import Diagnostic, Exit, Severity
from batchspec.plan.node_logs import node_logs_container
from batchspec.plan.plan import Plan
from batchspec.plan.receipt import receipt_path
from batchspec.render.next_steps import next_commands, record_unwritable, stopping
from batchspec.render.progress.views import Kind, View, open_view
from batchspec.render.report import Report, Tally
from batchspec.render.summary import summary_text

POLL_INTERVAL = {"local": 0.1, "azure": 2.0}
"""Seconds between two polls, by target: the embedded service answers in milliseconds."""


async def confirm_and_execute(
    plan: Plan, session: Session, progress: ProgressKind, *, yes: bool, verbose: bool = False
) -> int:
    """Show the plan, ask for confirmation where it is needed, and execute it; the exit code.

    Raises:
        UsageError: confirmation is needed, and there is no terminal.
    """
    if progress.shows_plan:
        show_plan(plan, Format.TEXT, verbose=verbose)
        if plan.empty:
            return Exit.DONE
    if needs_confirmation(plan) and not confirm_plan(plan, progress, yes=yes):
        return Exit.DONE
    return await execute(plan, session, progress, yes=yes)


async def execute(
    plan: Plan, session: Session, progress: ProgressKind, *, yes: bool, verb: str = "apply"
) -> int:
    """Run a plan, show its progress, and print a summary; the exit code.

    ``verb`` is the command that resumes it.
    """
    interrupts = Interrupts()
    clock = SystemClock(interrupts.cancellation)
    view = open_view(
        Kind(progress.value), sys.stdout, now=clock.now, environ=os.environ, version=__version__
    )
    tally = Tally()
    record = _open_record(plan, session, clock, progress)
    viewer = _ViewUntilClosed(view, interrupts)
    stamp = Stamp(clock.now, (viewer, tally, *([record] if record else [])))
    world = World(
        storage=session.cloud.storage,
        batch=session.cloud.batch,
        clock=clock,
        questions=RunQuestions(view, plan.account.target, interrupts.cancellation, yes=yes),
        pace=POLL_INTERVAL[plan.account.target],
        cancellation=interrupts.cancellation,
        node_logs=NodeLogs(node_logs_container(session.spec)),
    )
    receipt = receipt_path(session.spec.path, session.spec.name)
    try:
        for finding in unshown_findings(plan, progress):
            stamp(Noticed(finding))
        with (
            session.notices.redirected(stamp),
            interruptible(interrupts, lambda: stamp(Noticed(stopping()))),
        ):
            code = await run(plan, world, stamp, receipt)
    except asyncio.CancelledError:
        if not interrupts.immediate:
            raise
        code = Exit.INTERRUPTED
    finally:
        view.close()
        if record is not None:
            record.close()
        if progress.shows_plan:
            out(_summary(tally.report(), session, verb))
    return code


def unshown_findings(plan: Plan, progress: ProgressKind) -> Iterator[Diagnostic]:
    """The findings with which a run begins whose plan is not shown; ``quiet`` omits notes."""
    if not progress.shows_plan:
        for finding in plan.findings:
            if progress is ProgressKind.JSON or finding.severity is not Severity.NOTE:
                yield finding


@dataclass(slots=True)
class _ViewUntilClosed:
    """Shows events until the reader closes the output, and then halts the run as Ctrl-C does."""

    view: View
    interrupts: Interrupts
    closed: bool = False

    def __call__(self, stamped: Stamped) -> None:
        if self.closed:
            return
        try:
            self.view(stamped)
        except BrokenPipeError:
            self.closed = True
            self.interrupts.cancellation.request()


def _open_record(
    plan: Plan, session: Session, clock: SystemClock, progress: ProgressKind
) -> RunFolder | None:
    """The record of the run on this disk; a run without steps is not recorded."""
    if plan.empty:
        return None

    def warn(error: OSError) -> None:
        if progress is not ProgressKind.JSON:
            show_diagnostics([record_unwritable(error.strerror or str(error))])

    return RunFolder(runs_folder(session.spec.path, session.spec.name), clock.now(), warn)


def _summary(report: Report, session: Session, verb: str) -> str:
    def command(name: str) -> str:
        return resume_command(session.options, session.spec, name)

    commands = next_commands(report, verb, scheduled=session.spec.job.schedule is not None)
    return summary_text(
        report,
        destroy=command("destroy"),
        commands={command(name): purpose for name, purpose in commands.items()},
        color=use_color(),
        width=width(),
    )
