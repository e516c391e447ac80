"""A command line as a process of a task, to its end.

What lives here: from a command line to a program, from its ending to an exit code and a failure.
What may not: why a run is ended, what its end means.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchspec.local.agent.command import split
from batchspec.local.agent.failures import (
    exit_failure,
    launch_failure,
    limit_failure,
    program_failure,
)
from batchspec.local.agent.launch import Failure
from batchspec.local.agent.processes import Ending, Exited, NotStarted, Processes, Program
from batchspec.local.settings import NO_LIMITS, Limits


@dataclass(frozen=True, slots=True)
class Command:
    """What is to run: ``directory`` is the task's, ``environment`` complete.

    ``append``, ``stays`` and ``limits`` are those of :class:`Program`.
    """

    line: str
    directory: Path
    environment: Mapping[str, str]
    append: bool = False
    stays: bool = False
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Ran:
    """How it ended; ``killed`` says that a signal ended it."""

    code: int | None
    failure: Failure | None
    killed: bool = False


async def run_command(processes: Processes, key: str, command: Command) -> Ran:
    """Run ``command`` as ``key``.

    Raises:
        ProcessLostError: nobody knows how it ended.
    """
    try:
        argv = split(command.line)
    except ValueError as error:
        return Ran(None, launch_failure(command.line, str(error)))
    if not argv:
        return Ran(None, program_failure(command.line))
    program = Program(
        argv,
        command.environment,
        command.directory / "wd",
        command.directory / "stdout.txt",
        command.directory / "stderr.txt",
        append=command.append,
        stays=command.stays,
        limits=command.limits,
    )
    return _judge(await processes.run(key, program), command)


def _judge(ending: Ending, command: Command) -> Ran:
    if isinstance(ending, NotStarted):
        if ending.place is None and ending.errno in {errno.ENOENT, errno.ENOTDIR}:
            return Ran(None, program_failure(command.line))
        return Ran(None, launch_failure(command.line, os.strerror(ending.errno)))
    if isinstance(ending, Exited):
        return Ran(ending.code, None if ending.code == 0 else exit_failure())
    code = 128 + ending.signal
    if ending.over is not None:
        return Ran(code, limit_failure(command.limits, ending.over))
    return Ran(code, exit_failure(), killed=True)
