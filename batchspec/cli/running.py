"""A plan carried out on the screen: the second half of apply and destroy."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass

from batchspec import __version__
from batchspec.apply.events import Noticed, Stamp, Stamped
from batchspec.apply.node_logs import NodeLogs
from batchspec.apply.ports import World
from batchspec.apply.run import run
from batchspec.cli.again import command_for
from batchspec.cli.clock import SystemClock
from batchspec.cli.interrupt import Interrupts, interruptible
from batchspec.cli.options import ProgressKind
from batchspec.cli.run_folder import RunFolder, runs_folder
from batchspec.cli.screen import Asker, out, show_problems, width
from batchspec.cli.session import Session
from batchspec.cli.unseen import unseen
from batchspec.diagnostics import Exit
from batchspec.plan.node_logs import node_logs_container
from batchspec.plan.plan import Plan
from batchspec.plan.receipt import receipt_path
from batchspec.render.next_steps import next_commands, record_unwritable, stopping
from batchspec.render.progress.views import Kind, View, open_view
from batchspec.render.report import Report, Tally
from batchspec.render.style import wants_color
from batchspec.render.summary import summary_text

PACE = {"local": 0.1, "azure": 2.0}
"""Seconds between two looks: the embedded service is next door, and answers in milliseconds."""


async def carry_out(
    plan: Plan, found: Session, progress: ProgressKind, *, yes: bool, again: str = "apply"
) -> int:
    """Run a plan, show it, and end with a summary; the exit code.

    ``again`` is the verb of the command that goes on with it.
    """
    interrupts = Interrupts()
    clock = SystemClock(interrupts.halt)
    view = open_view(
        Kind(progress.value), sys.stdout, now=clock.now, environ=os.environ, version=__version__
    )
    tally = Tally()
    record = _record(plan, found, clock, progress)
    stamp = Stamp(clock.now, (_Heard(view, interrupts), tally, *([record] if record else [])))
    world = World(
        storage=found.cloud.storage,
        batch=found.cloud.batch,
        clock=clock,
        questions=Asker(view, plan.account.target, interrupts.halt, yes=yes),
        pace=PACE[plan.account.target],
        halt=interrupts.halt,
        node_logs=NodeLogs(node_logs_container(found.spec)),
    )
    receipt = receipt_path(found.spec.path, found.spec.name)
    try:
        for finding in unseen(plan, progress):
            stamp(Noticed(finding))
        with (
            found.notices.among(stamp),
            interruptible(interrupts, lambda: stamp(Noticed(stopping()))),
        ):
            code = await run(plan, world, stamp, receipt)
    except asyncio.CancelledError:
        if not interrupts.at_once:
            raise
        code = Exit.INTERRUPTED
    finally:
        view.close()
        if record is not None:
            record.close()
        if progress not in {ProgressKind.JSON, ProgressKind.QUIET}:
            out(_summary(tally.report(), found, again))
    return code


@dataclass(slots=True)
class _Heard:
    """Shows events for as long as somebody reads them; then the run is to stop, as by Ctrl-C."""

    view: View
    interrupts: Interrupts
    gone: bool = False

    def __call__(self, stamped: Stamped) -> None:
        if self.gone:
            return
        try:
            self.view(stamped)
        except BrokenPipeError:
            self.gone = True
            self.interrupts.halt.ask()


def _record(
    plan: Plan, found: Session, clock: SystemClock, progress: ProgressKind
) -> RunFolder | None:
    """Where the run is written down; a run that does nothing is not."""
    if plan.empty:
        return None

    def warn(error: OSError) -> None:
        if progress is not ProgressKind.JSON:
            show_problems([record_unwritable(error.strerror or str(error))])

    return RunFolder(runs_folder(found.spec.path, found.spec.name), clock.now(), warn)


def _summary(report: Report, found: Session, again: str) -> str:
    def command(verb: str) -> str:
        return command_for(found.wanted, found.spec, verb)

    commands = next_commands(report, again, scheduled=found.spec.job.schedule is not None)
    return summary_text(
        report,
        destroy=command("destroy"),
        commands={command(verb): does for verb, does in commands.items()},
        color=wants_color(sys.stdout, os.environ),
        width=width(),
    )
