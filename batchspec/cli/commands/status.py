"""``batchspec status``: the current state of a run."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from batchspec.api import TaskState
from batchspec.cli.console import (
    ConsoleNotices,
    err,
    note_missing_secrets,
    out,
    out_document,
    use_color,
    write_utf8,
)
from batchspec.cli.options import (
    Format,
    SpecFile,
    TargetOption,
    TextOrJson,
    VariableFiles,
    Variables,
    run_options,
)
from batchspec.diagnostics import Diagnostic, UsageError
from batchspec.exit_codes import Exit

if TYPE_CHECKING:
    from batchspec.api import RunOptions
    from batchspec.render import Status
    from batchspec.spec import Spec

_POLLS, _SHARE = 5, 10
"""The pause between two states: in multiples of the shortest poll interval, and of the time to read
the last state."""

_NO_TASK = {
    TaskState.ACTIVE: "no task is active",
    TaskState.RUNNING: "no task is running",
    TaskState.SUCCEEDED: "no task has succeeded",
    TaskState.FAILED: "no task has failed",
    TaskState.ALL: "the run has no tasks",
}


class _StatusNotices(ConsoleNotices):
    """The cause of a failed start task contains its output, which can contain unknown secrets."""

    _noted = False

    def loaded(self, spec: Spec) -> None:
        """Complete commands for the spec, and print the secrets that are not redacted."""
        super().loaded(spec)
        if not self._noted:
            note_missing_secrets(spec)
        self._noted = True


async def status(
    spec: SpecFile,
    tasks: Annotated[
        TaskState | None,
        typer.Option(
            "--tasks",
            help="List the tasks in this state, instead of the state of the run.",
            show_default=False,
        ),
    ] = None,
    watch: Annotated[
        bool,
        typer.Option("--watch", "-w", help="Show the state repeatedly until the job has ended."),
    ] = False,
    target: TargetOption = None,
    variables: Variables = None,
    variable_files: VariableFiles = None,
    output_format: TextOrJson = Format.TEXT,
) -> int:
    """Show the current state of a run: pool, nodes, job, tasks by stage, rate, time left."""
    from batchspec.api import list_tasks, read_status
    from batchspec.render import status_json, status_text, task_rows_json, task_rows_text

    options = run_options(spec, variables, variable_files, target)
    notices = _StatusNotices(options)
    if tasks is not None:
        if watch:
            raise UsageError(
                Diagnostic(
                    "command-line", "`--tasks` cannot be watched", fix="Leave out `--watch`."
                )
            )
        rows = [row async for row in list_tasks(options, notices, tasks)]
        if output_format is Format.JSON:
            out_document(task_rows_json(rows))
        else:
            for line in task_rows_text(rows):
                out(line)
            if not rows:
                err(_NO_TASK[tasks])
        return Exit.DONE
    if watch:
        return await _watch(options, notices, output_format)
    found = _completed(await read_status(options, notices))
    if output_format is Format.TEXT:
        out(status_text(found, color=use_color()))
    else:
        out_document(status_json(found))
    return Exit.DONE


def _completed(found: Status) -> Status:
    """The status with commands that can be pasted."""
    from batchspec.cli.resume_command import completed_problem, completed_wait

    return replace(
        found,
        waits=tuple(map(completed_wait, found.waits)),
        missing=tuple(map(completed_problem, found.missing)),
    )


async def _watch(options: RunOptions, notices: _StatusNotices, output_format: Format) -> int:
    """Show the state until the job has ended: on a screen, or when it changes."""
    import asyncio

    from batchspec.api import select_target, watch_status
    from batchspec.apply import POLL_INTERVAL
    from batchspec.render import Kind, Page, is_live, status_json, status_text

    interval = _POLLS * POLL_INTERVAL[select_target(options.target, options.environ)]

    async def pause(took: float) -> None:
        await asyncio.sleep(max(interval, took * _SHARE))

    live = output_format is Format.TEXT and is_live(Kind.AUTO, sys.stdout, os.environ)
    page = Page(sys.stdout) if live else None
    if output_format is Format.JSON:
        write_utf8()
    text = last = ""
    try:
        async for found in watch_status(options, notices, pause):
            shown = _completed(found)
            if output_format is Format.JSON:
                text = status_json(shown, indent=None)
            else:
                text = status_text(shown, color=page is None and use_color())
            if page is not None:
                page.show(text)
            elif text != last:
                out(text if output_format is Format.JSON else f"{text}\n")
            last = text
    finally:
        if page is not None:
            page.close()
            if text:
                out(text)
    return Exit.DONE
