"""``batchspec apply`` and ``plan`` in a subprocess that starts fast and can be killed.

It runs the code of the command line below the choice of the account, so that the tests can set
time-outs that users cannot set.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from batchspec.api import NoNotices, Notices, RunOptions, Session, open_session
from batchspec.cli.execute import confirm_and_execute
from batchspec.cli.options import ProgressKind
from batchspec.cli.resume_command import always_resume_with
from batchspec.cloud import AccountClient, Limits, LocalAccount, open_account
from batchspec.diagnostics import BatchspecError
from batchspec.exit_codes import Exit
from batchspec.plan import Plan, build_plan
from tests.command_process import CONTEXT, write_to


@dataclass(frozen=True, slots=True)
class Command:
    """A command on a spec: its account, limits, and the file for its output."""

    spec: Path
    account: LocalAccount
    log: Path
    limits: Limits


def apply(command: Command) -> BaseProcess:
    """Start ``batchspec apply SPEC -y --progress json``."""
    return _start(_apply, command)


def plan(command: Command) -> BaseProcess:
    """Start ``batchspec plan SPEC --exit-code``."""
    return _start(_plan, command)


async def ended(process: BaseProcess) -> int:
    """Wait for a process to end and return its exit code."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(process.sentinel, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _start(
    work: Callable[[Session, Plan], Coroutine[Any, Any, int]], command: Command
) -> BaseProcess:
    process = CONTEXT.Process(target=_run, args=(work, command), daemon=True)
    process.start()
    return process


def _run(work: Callable[[Session, Plan], Coroutine[Any, Any, int]], command: Command) -> None:
    """The child process: ends with the exit code of the command."""
    write_to(command.log, 1)
    write_to(command.log, 2)
    try:
        code = asyncio.run(_planned(work, command))
    except BatchspecError as error:
        for problem in error.problems:
            print(f"{problem.code}: {problem.summary}\n{problem.detail}", file=sys.stderr)
        code = error.exit
    sys.exit(int(code))


async def _planned(
    work: Callable[[Session, Plan], Coroutine[Any, Any, int]], command: Command
) -> int:
    @asynccontextmanager
    async def open_target(
        target: object, environ: Mapping[str, str], notices: Notices
    ) -> AsyncIterator[AccountClient]:
        account, limits = command.account, command.limits
        async with open_account(account, limits=limits, notice=notices.waiting) as cloud:
            yield cloud

    options = RunOptions(command.spec, {}, (), None, {})
    async with open_session(options, NoNotices(), open_target=open_target) as session:
        return await work(session, build_plan(session.spec, session.observed))


async def _apply(session: Session, plan: Plan) -> int:
    return await confirm_and_execute(
        plan, session, ProgressKind.JSON, always_resume_with("apply"), yes=True
    )


async def _plan(_: Session, made: Plan) -> int:
    for step in made.steps:
        print(f"{step.verb} {step.subject}: {step.reason}")
    return Exit.DONE if made.empty else Exit.CHANGES
