"""Processes of tasks: command lines, start, end on request, resource usage.

:class:`Processes` is the service's side of the protocol with the host process. No shell splits the
command lines.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from batchspec.local.agent.launch import (
    Failure,
    exit_failure,
    launch_failure,
    limit_failure,
    program_failure,
)
from batchspec.local.model import NO_USAGE, Usage
from batchspec.local.settings import NO_LIMITS, Limits
from batchspec.local.task_users import TaskUser

_HOST_FOLDER = Path(__file__).parent
_START_HOST = "from host import main; del sys.path[0]; main()"
"""The program of the host, which runs with the folder of :mod:`host` first in the path."""
_SHUTDOWN_TIMEOUT = 10.0
"""Seconds in which the host must kill all processes when the service closes it."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program: arguments (no shell), the complete environment, working directory, output files.

    ``append`` keeps the content of the output files. With ``stays``, processes that the program
    leaves when it exits with 0 run until :meth:`Processes.leave`. ``stdin`` is a file; without it
    the input is empty. A ``terminal`` replaces all three files. ``user`` is the user of the
    processes, ``None`` for the user of the service.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    stdout: Path
    stderr: Path
    append: bool = False
    stays: bool = False
    limits: Limits = NO_LIMITS
    stdin: Path | None = None
    terminal: Path | None = None
    user: TaskUser | None = None


@dataclass(frozen=True, slots=True)
class Exited:
    """The program exited without a signal from the agent."""

    code: int


@dataclass(frozen=True, slots=True)
class Killed:
    """A signal ended the program; ``over`` is the exceeded limit (``memory`` or ``processes``)."""

    signal: int
    over: str | None = None


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The program cannot be started: ``errno``, and the path that caused it, if any."""

    errno: int
    place: str | None = None


ProcessEnd = Exited | Killed | NotStarted


class ProcessLostError(Exception):
    """The result of the program is unknown: its supervisor and its processes were killed.

    The end of the host also kills the supervisors of all its runs.
    """


class Processes:
    """Runs programs through host processes; :mod:`host` describes their guarantees.

    All runs share one host, except isolated runs (:meth:`isolate`), which may have killed it: a
    program can kill every process of its user.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        """``environment`` is the environment of the hosts; tasks do not get it."""
        self._environment = dict(environment)
        self._shared = _Host(self._environment)
        self._own: dict[str, _Host] = {}

    def isolate(self, key: str) -> None:
        """Use a separate host for the run ``key`` and the runs below it (``key/...``)."""
        self._own.setdefault(key, _Host(self._environment))

    async def rejoin(self, key: str) -> None:
        """End the host of an isolated run after the run; without effect for other runs."""
        if (host := self._own.pop(key, None)) is not None:
            await host.close()

    async def run(self, key: str, program: Program) -> ProcessEnd:
        """Run ``program`` to its end; on return, only processes that may stay are running.

        ``key`` names the run for :meth:`kill` and must be unique at a time. A cancellation kills
        the processes without waiting for their end.

        Raises:
            ProcessLostError: the supervisor or the host of the run was killed.
        """
        return await self._host_of(key).run(key, program)

    def kill(self, key: str) -> None:
        """Kill all processes of the run ``key``, if it is running."""
        self._host_of(key).kill(key)

    def used(self, key: str) -> Usage:
        """The usage of ``key`` and the keys below it (``key/...``) since the last call."""
        return self._host_of(key).used(key)

    async def leave(self, key: str) -> None:
        """Kill the remaining processes of the run ``key``, and wait until all have ended."""
        await self._host_of(key).leave(key)

    async def start(self) -> None:
        """Start the shared host; :meth:`run` starts it too if needed."""
        await self._shared.start()

    async def close(self) -> None:
        """End all runs and hosts; on return, all processes have ended."""
        own, self._own = list(self._own.values()), {}
        await asyncio.gather(*(host.close() for host in (self._shared, *own)))

    def _host_of(self, key: str) -> _Host:
        return self._own.get(key.partition("/")[0], self._shared)


class _Host:
    """One host process; starts on the first use, and again after it was killed."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._host: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._endings: dict[str, asyncio.Future[ProcessEnd]] = {}
        self._sent: set[str] = set()
        self._staying: set[str] = set()
        self._used: dict[str, Usage] = {}
        self._starting = asyncio.Lock()

    async def run(self, key: str, program: Program) -> ProcessEnd:
        if key in self._endings:
            raise ValueError(f"{key} is running")
        ending: asyncio.Future[ProcessEnd] = asyncio.get_running_loop().create_future()
        self._endings[key] = ending
        try:
            host = await self._ready()
            if not ending.done():
                _send(
                    host,
                    run=key,
                    argv=list(program.argv),
                    env=dict(program.environment),
                    cwd=str(program.directory),
                    out=str(program.stdout),
                    err=str(program.stderr),
                    append=program.append,
                    stay=program.stays,
                    memory=program.limits.memory,
                    processes=program.limits.processes,
                    **_input(program),
                    **_user(program.user),
                )
                self._sent.add(key)
            return await ending
        except asyncio.CancelledError:
            self.kill(key)
            raise
        finally:
            self._endings.pop(key, None)
            self._sent.discard(key)

    def kill(self, key: str) -> None:
        if key in self._sent and self._host is not None:
            _send(self._host, kill=key)
        elif key in self._endings and not self._endings[key].done():
            self._endings[key].set_result(Killed(signal.SIGKILL))

    def used(self, key: str) -> Usage:
        return self._used.pop(key, NO_USAGE)

    async def leave(self, key: str) -> None:
        if key not in self._staying:
            return
        ending: asyncio.Future[ProcessEnd] = asyncio.get_running_loop().create_future()
        self._endings[key] = ending
        self._sent.add(key)
        self.kill(key)
        try:
            await ending
        except ProcessLostError:
            pass  # the supervisor was killed together with the processes
        finally:
            self._endings.pop(key, None)
            self._sent.discard(key)

    async def start(self) -> None:
        await self._ready()

    async def close(self) -> None:
        if self._host is None:
            return
        if self._host.stdin is not None:
            self._host.stdin.close()
        try:
            await asyncio.wait_for(self._host.wait(), _SHUTDOWN_TIMEOUT)
        except TimeoutError:
            self._host.kill()
            await self._host.wait()
        if self._reader is not None:
            await self._reader
        self._host = None

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._host is not None and self._reader is not None and not self._reader.done():
            return self._host
        async with self._starting:
            if self._host is None or self._reader is None or self._reader.done():
                self._host = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-I",
                    "-S",
                    "-c",
                    f"import sys; sys.path[:0] = [{str(_HOST_FOLDER)!r}]; {_START_HOST}",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    env=self._environment,
                    start_new_session=True,
                )
                self._reader = asyncio.create_task(self._read(self._host))
            return self._host

    async def _read(self, host: asyncio.subprocess.Process) -> None:
        if host.stdout is None:
            raise RuntimeError("the host has no output")
        async for line in host.stdout:
            report = json.loads(line)
            key = report["run"]
            if "used" in report:
                self._note(key.partition("/")[0], *report["used"])
            if "stays" in report:
                self._staying.add(key)
            else:
                self._staying.discard(key)
            ending = self._endings.get(key)
            if ending is None or ending.done():
                continue
            if "lost" in report:
                ending.set_exception(ProcessLostError(key))
            else:
                ending.set_result(_process_end(report))
        self._staying.clear()
        for key, ending in self._endings.items():
            if not ending.done():
                ending.set_exception(ProcessLostError(key))

    def _note(self, key: str, user: float, kernel: float, *counts: int) -> None:
        times = {"user": timedelta(seconds=user), "kernel": timedelta(seconds=kernel)}
        read, written, reads, writes = counts
        used = Usage(**times, read=read, written=written, reads=reads, writes=writes)
        self._used[key] = self._used.get(key, NO_USAGE) + used


def _send(host: asyncio.subprocess.Process, **order: Any) -> None:
    if host.stdin is not None and not host.stdin.is_closing():
        host.stdin.write(json.dumps(order).encode() + b"\n")


def _input(program: Program) -> dict[str, str]:
    paths = {"in": program.stdin, "terminal": program.terminal}
    return {name: str(path) for name, path in paths.items() if path is not None}


def _user(user: TaskUser | None) -> dict[str, Any]:
    return {} if user is None or user.uid == 0 else {"user": [user.uid, user.gid, user.groups]}


def _process_end(report: Mapping[str, Any]) -> ProcessEnd:
    if "stays" in report:
        return Exited(0)
    if "exit" in report:
        return Exited(report["exit"])
    if "signal" in report:
        return Killed(report["signal"], report.get("over"))
    return NotStarted(report["errno"], report.get("place"))


_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


def split_command_line(command_line: str) -> list[str]:
    """The arguments of a command line, by the quoting rules of POSIX without expansion.

    Raises:
        ValueError: a quote is not closed.
    """
    return shlex.split(command_line, comments=False, posix=True)


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """``text`` with the values of ``$NAME`` and ``${NAME}``; unset names stay unchanged.

    A node does this for the ``filePattern`` of an output file, but not for command lines.
    """
    return _VARIABLE.sub(
        lambda found: environment.get(found[1] or found[2], found[0]),
        text,
    )


@dataclass(frozen=True, slots=True)
class Command:
    """A command line; ``directory`` is the task's directory, ``environment`` is complete.

    ``append``, ``stays``, ``limits`` and ``user`` are as in :class:`Program`.
    """

    line: str
    directory: Path
    environment: Mapping[str, str]
    append: bool = False
    stays: bool = False
    limits: Limits = NO_LIMITS
    user: TaskUser | None = None


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command; ``killed`` means that a signal ended it."""

    code: int | None
    failure: Failure | None
    killed: bool = False


async def run_command(processes: Processes, key: str, command: Command) -> CommandResult:
    """Run ``command`` as the run ``key``.

    Raises:
        ProcessLostError: the result is unknown.
    """
    try:
        argv = split_command_line(command.line)
    except ValueError as error:
        return CommandResult(None, launch_failure(command.line, str(error)))
    if not argv:
        return CommandResult(None, program_failure(command.line))
    program = Program(
        argv,
        command.environment,
        command.directory / "wd",
        command.directory / "stdout.txt",
        command.directory / "stderr.txt",
        append=command.append,
        stays=command.stays,
        limits=command.limits,
        user=command.user,
    )
    return _command_result(await processes.run(key, program), command)


def _command_result(ending: ProcessEnd, command: Command) -> CommandResult:
    if isinstance(ending, NotStarted):
        if ending.place is None and ending.errno in {errno.ENOENT, errno.ENOTDIR}:
            return CommandResult(None, program_failure(command.line))
        return CommandResult(None, launch_failure(command.line, os.strerror(ending.errno)))
    if isinstance(ending, Exited):
        return CommandResult(ending.code, None if ending.code == 0 else exit_failure())
    code = 128 + ending.signal
    if ending.over is not None:
        return CommandResult(code, limit_failure(command.limits, ending.over))
    return CommandResult(code, exit_failure(), killed=True)
