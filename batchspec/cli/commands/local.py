"""``batchspec local``: the embedded Batch service and its blob store."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

from batchspec import local
from batchspec.cli.account import day_of, started, translated
from batchspec.cli.options import Format
from batchspec.cli.screen import confirm, has_terminal, needs_answer, out
from batchspec.diagnostics import Diagnostic, Exit, UsageError
from batchspec.render.local import (
    LocalStatus,
    local_status_json,
    local_status_text,
    reset_question,
    reset_text,
    reset_unasked,
    started_text,
    stopped_text,
)
from batchspec.render.style import wants_color


def start(port: int, options: local.SimulationOptions, form: Format) -> int:
    """Start it, if it does not run."""
    endpoints = started(port=port, options=options)
    if form is Format.JSON:
        return show(form)
    out(
        started_text(
            batch_url=endpoints.batch_url,
            blob_url=endpoints.blob_url,
            data=endpoints.data,
            simulation=day_of(endpoints.simulation),
        )
    )
    return Exit.DONE


def stop() -> int:
    """End all of it."""
    with translated():
        was_running = local.stop()
    out(stopped_text(was_running=was_running))
    return Exit.DONE


def show(form: Format) -> int:
    """Say how it is with it."""
    with translated():
        seen = local.status()
    endpoints = seen.endpoints
    day = None
    if seen.simulation is not None:
        time = seen.time(datetime.now(UTC))
        day = replace(day_of(seen.simulation), time=time, ahead=bool(seen.ahead))
    shown = LocalStatus(
        state=seen.state.value,
        data=seen.data,
        log=seen.log,
        batch_url=endpoints.batch_url if endpoints else None,
        blob_url=endpoints.blob_url if endpoints else None,
        started=seen.started,
        pid=seen.pid,
        version=seen.version,
        simulation=day,
    )
    if form is Format.JSON:
        out(local_status_json(shown))
    else:
        out(local_status_text(shown, color=wants_color(sys.stdout, os.environ)))
    return Exit.DONE


def reset(*, yes: bool) -> int:
    """End it and delete what it holds."""
    with translated():
        data = local.status().data
    if not yes:
        if not has_terminal():
            raise needs_answer(reset_unasked(data))
        if not confirm(reset_question(data), default=False):
            return Exit.DONE
    with translated():
        local.reset()
    out(reset_text(data))
    return Exit.DONE


def env(form: str) -> int:
    """Print what other clients need to use it."""
    known: tuple[local.Format, ...] = get_args(local.Format)
    chosen = next((name for name in known if name == form), None)
    if chosen is None:
        fix = f"Take one of: {', '.join(known)}"
        raise UsageError(Diagnostic("bad-format", f"there is no format {form!r}", fix=fix))
    # Not through `out`, which would take the keys out: they are what is asked for.
    sys.stdout.write(local.env(started(), chosen))
    return Exit.DONE
