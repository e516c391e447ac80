"""A plan carried out on the screen: the second half of apply and destroy."""

from __future__ import annotations

import os
import sys

from batchspec import __version__
from batchspec.apply.events import Noticed, Stamp
from batchspec.apply.ports import World
from batchspec.apply.run import run
from batchspec.cli.clock import SystemClock
from batchspec.cli.options import ProgressKind
from batchspec.cli.reading import Session
from batchspec.cli.screen import Asker, out, width
from batchspec.plan.plan import Plan
from batchspec.plan.receipt import receipt_path
from batchspec.render.ink import wants_color
from batchspec.render.progress.view import Kind, open_view
from batchspec.render.report import Tally
from batchspec.render.summary import summary_text

PACE = {"local": 0.1, "azure": 2.0}
"""Seconds between two looks: the embedded service is next door, and answers in milliseconds."""


async def carry_out(plan: Plan, found: Session, progress: ProgressKind, *, yes: bool) -> int:
    """Run a plan, show it, and end with a summary; the exit code."""
    clock = SystemClock()
    view = open_view(
        Kind(progress.value), sys.stdout, now=clock.now, environ=os.environ, version=__version__
    )
    tally = Tally()
    world = World(
        storage=found.cloud.storage,
        batch=found.cloud.batch,
        clock=clock,
        questions=Asker(view, plan.account.target, yes=yes),
        pace=PACE[plan.account.target],
    )
    emit = Stamp(clock.now, (view, tally))
    receipt = receipt_path(found.spec.path, found.spec.name)
    try:
        with found.notices.among(lambda problem: emit(Noticed(problem))):
            code = await run(plan, world, emit, receipt)
    finally:
        view.close()
        if progress not in {ProgressKind.JSON, ProgressKind.QUIET}:
            out(
                summary_text(
                    tally.report(),
                    destroy=f"batchspec destroy {found.spec.path}",
                    color=wants_color(sys.stdout, os.environ),
                    width=width(),
                )
            )
    return code
