"""Prints what the tasks of a run write while it goes, each line after the id of its task."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass, field, replace

from batchspec.api import Session, first_error
from batchspec.apply import POLL_INTERVAL
from batchspec.apply.events import Stamped, TasksSeen
from batchspec.cli.console import out_bytes, show_diagnostics, use_color
from batchspec.diagnostics import ServiceError, Severity
from batchspec.observe import StartedTasks, TaskStreams
from batchspec.render.logs import PrefixedOutput

_FILES = ("stdout.txt", "stderr.txt")
_LAST = 10.0
"""Seconds that the output of the last tasks may take to arrive after the run."""


@dataclass(slots=True)
class TaskOutputPrinter:
    """A consumer of the events of a run, which follows the tasks of its job."""

    session: Session
    _jobs: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    def __call__(self, stamped: Stamped) -> None:
        """Start with the first counts of a job."""
        event = stamped.event
        if isinstance(event, TasksSeen) and event.job not in self._jobs:
            self._jobs[event.job] = asyncio.create_task(self._follow(event.job))

    async def finish(self) -> None:
        """Print the rest, if it arrives in time."""
        tasks = self._jobs.values()
        if tasks:
            done, _ = await asyncio.wait(tasks, timeout=_LAST)
            for task in done:
                task.result()
        self.cancel()

    def cancel(self) -> None:
        """Stop at once."""
        for task in self._jobs.values():
            task.cancel()

    async def _follow(self, job: str) -> None:
        cloud = self.session.cloud

        async def pause() -> None:
            await asyncio.sleep(POLL_INTERVAL[cloud.names.target])

        started = StartedTasks(cloud, job, pause, earlier=True)
        streams = TaskStreams(cloud, self.session.spec, _FILES, pause)
        lines = PrefixedOutput(shown=sys.stdout.isatty(), color=use_color())
        try:
            with first_error():
                async for output in streams.read(started()):
                    out_bytes(lines(output))
        except BrokenPipeError:
            # The view of the run finds the same and stops it.
            return
        except ServiceError as error:
            # The run does not depend on it.
            warnings = [replace(each, severity=Severity.WARNING) for each in error.problems]
            show_diagnostics(warnings)
