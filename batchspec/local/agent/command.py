"""Command lines: split without a shell, and run as a process of a task."""

from __future__ import annotations

import errno
import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from batchspec.local.agent.failures import (
    exit_failure,
    launch_failure,
    limit_failure,
    program_failure,
)
from batchspec.local.agent.launch import Failure
from batchspec.local.agent.processes import Exited, NotStarted, ProcessEnd, Processes, Program
from batchspec.local.settings import NO_LIMITS, Limits

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)


def split_command_line(command_line: str) -> list[str]:
    """The arguments of a command line, by the quoting rules of POSIX and without expansion.

    Raises:
        ValueError: a quote is not closed.
    """
    return shlex.split(command_line, comments=False, posix=True)


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """``text`` with ``$NAME`` and ``${NAME}`` replaced; unset names stay as they are.

    A node does this for the ``filePattern`` of an output file, and for no command line.
    """
    return _VARIABLE.sub(
        lambda found: environment.get(found[1] or found[2], found[0]),
        text,
    )


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: ``directory`` is the task's directory, ``environment`` is complete.

    ``append``, ``stays`` and ``limits`` are those of :class:`Program`.
    """

    line: str
    directory: Path
    environment: Mapping[str, str]
    append: bool = False
    stays: bool = False
    limits: Limits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended; ``killed`` means that a signal ended it."""

    code: int | None
    failure: Failure | None
    killed: bool = False


async def run_command(processes: Processes, key: str, command: Command) -> CommandResult:
    """Run ``command`` as the run ``key``.

    Raises:
        ProcessLostError: it is not known how it ended.
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
