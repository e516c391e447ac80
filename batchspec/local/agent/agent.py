"""A node's hands: perform a launch, from its resource files to its output files.

What lives here: the order of the steps, and how a run is cut short. What may not: when a task
runs, what its outcome means for the task or its job, the store.
"""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from batchspec.local.agent.clock import Clock
from batchspec.local.agent.command import split
from batchspec.local.agent.failures import (
    ended_by_limit,
    ended_by_user,
    exit_failure,
    failure,
    launch_failure,
    program_failure,
)
from batchspec.local.agent.launch import Failure, Installation, Launch, Outcome
from batchspec.local.agent.leftovers import VARIABLE, mark
from batchspec.local.agent.outputs import send_all, wanted
from batchspec.local.agent.packages import PackageError, install_all
from batchspec.local.agent.processes import Ending, Exited, NotStarted, Processes, Program
from batchspec.local.agent.resources import ResourceError, fetch_all
from batchspec.local.agent.storage import Grants, Storage

T = TypeVar("T")


@dataclass(slots=True)
class _Run:
    """What goes on for a launch: the step that can be cancelled, and why it is to end."""

    step: asyncio.Task[object] | None = None
    ended: Failure | None = None
    by_user: bool = False


class _StoppedError(Exception):
    """The run was cut short in a step without a process."""


class Agent:
    """Performs launches, any number at a time."""

    def __init__(self, data: Path, clock: Clock, grants: Grants) -> None:
        """``data`` is the folder whose mark all processes get; see ``leftovers``."""
        self._mark = mark(data)
        self._clock = clock
        self._grants = grants
        self._storage = Storage()
        self._processes = Processes({VARIABLE: self._mark})
        self._runs: dict[str, _Run] = {}

    def now(self) -> datetime:
        """The time of the agent's clock."""
        return self._clock.now()

    async def start(self) -> None:
        """Be ready to start processes at once."""
        await self._processes.start()

    async def close(self) -> None:
        """Kill every process and close every connection; nothing is left when this returns."""
        await self._processes.close()
        await self._storage.close()

    def end(self, key: str) -> None:
        """Cut the run ``key`` short: its outcome is ``TaskEnded``. Nothing is uploaded."""
        self._stop(key, ended_by_user(), by_user=True)

    async def install(self, installation: Installation) -> Outcome:
        """Put packages on a node; the outcome has no exit code."""
        run = self._runs[installation.key] = _Run()
        started = self._clock.now()
        why: Failure | None = None
        try:
            await self._step(run, install_all(installation.packages))
        except PackageError as error:
            why = error.failure
        except _StoppedError:
            why = run.ended
        finally:
            del self._runs[installation.key]
        return Outcome(started, self._clock.now(), None, why)

    async def perform(self, launch: Launch) -> Outcome:
        """Run ``launch`` to its end; when this returns, no process of it is left.

        Raises:
            ProcessLostError: nobody knows how it ended, since what watched it was killed.
        """
        run = self._runs[launch.key] = _Run()
        started = self._clock.now()
        timer = None
        if launch.max_wall_clock_time is not None:
            timer = self._clock.call_later(
                launch.max_wall_clock_time, lambda: self._stop(launch.key, ended_by_limit())
            )
        code: int | None = None
        uploads: tuple[str, ...] = ()
        try:
            why = await self._prepare(launch, run)
            if why is None and (why := run.ended) is None:
                code, why = await self._process(launch, run)
            if timer is not None:
                timer.cancel()
            if code is not None and launch.output_files and not run.by_user:
                uploads, missed = await self._upload(launch, run, succeeded=why is None)
                why = why or missed
        except _StoppedError:
            why = run.ended
        finally:
            del self._runs[launch.key]
            if timer is not None:
                timer.cancel()
        return Outcome(started, self._clock.now(), code, why, uploads)

    def _stop(self, key: str, why: Failure, *, by_user: bool = False) -> None:
        run = self._runs.get(key)
        if run is None:
            return
        run.by_user = run.by_user or by_user
        run.ended = run.ended or why
        if run.step is not None:
            run.step.cancel()
        else:
            self._processes.kill(key)

    async def _step(self, run: _Run, work: Coroutine[object, object, T]) -> T:
        """Do ``work`` so that :meth:`_stop` can cut it short."""
        step = asyncio.ensure_future(work)
        run.step = step
        try:
            return await step
        except asyncio.CancelledError:
            if run.ended is None:  # it is this task that is cancelled
                raise
            raise _StoppedError from None
        finally:
            run.step = None

    async def _prepare(self, launch: Launch, run: _Run) -> Failure | None:
        try:
            if launch.fresh and launch.directory.exists():
                await asyncio.to_thread(shutil.rmtree, launch.directory)
            launch.directory.mkdir(parents=True, exist_ok=True)
            for name in ("wd", "certs"):
                (launch.directory / name).mkdir(exist_ok=True)
            if launch.packages:
                await self._step(run, install_all(launch.packages))
            if launch.resource_files:
                fetching = fetch_all(
                    launch.resource_files, launch.directory / "wd", self._storage, self._grants
                )
                await self._step(run, fetching)
        except (PackageError, ResourceError) as error:
            return error.failure
        except OSError as error:
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            code = "DiskFull" if full else "ResourceDirectoryCreateFailed"
            return failure(code, FilePath=str(error.filename), Message=error.strerror or "")
        return None

    async def _process(self, launch: Launch, run: _Run) -> tuple[int | None, Failure | None]:
        try:
            argv = split(launch.command_line)
        except ValueError as error:
            return None, launch_failure(launch.command_line, str(error))
        if not argv:
            return None, program_failure(launch.command_line)
        program = Program(
            argv,
            {**launch.environment, VARIABLE: self._mark},
            launch.directory / "wd",
            launch.directory / "stdout.txt",
            launch.directory / "stderr.txt",
        )
        ending = await self._processes.run(launch.key, program)
        return _judge(ending, run, launch.command_line)

    async def _upload(
        self, launch: Launch, run: _Run, *, succeeded: bool
    ) -> tuple[tuple[str, ...], Failure | None]:
        outputs = wanted(launch.output_files, succeeded=succeeded)
        if not outputs:
            return (), None
        try:
            sending = send_all(
                outputs, launch.directory, launch.environment, self._storage, self._grants
            )
            return await self._step(run, sending)
        except OSError as error:  # its log files cannot be written
            why = failure("FileUploadMiscError", FilePath=str(error.filename))
            return (), why


def _judge(ending: Ending, run: _Run, command_line: str) -> tuple[int | None, Failure | None]:
    """The exit code and the failure of a process that has ended."""
    if isinstance(ending, NotStarted):
        if ending.place is None and ending.errno in {errno.ENOENT, errno.ENOTDIR}:
            return None, program_failure(command_line)
        return None, launch_failure(command_line, os.strerror(ending.errno))
    if isinstance(ending, Exited):
        # One that ended by itself while it was to be ended was the faster.
        return ending.code, None if ending.code == 0 else exit_failure()
    return 128 + ending.signal, run.ended or exit_failure()
