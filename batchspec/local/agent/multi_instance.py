"""The coordination of a multi-instance task: on all its nodes at once, undone on all together.

Evidence: the page "Use multi-instance tasks to run MPI applications". What it leaves running on a
node (a daemon of MPI, say) lives until the task ends. What may not live here: the command of the
task itself, which the agent runs on the primary's node in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batchspec.local.agent.application_packages import PackageError
from batchspec.local.agent.blob_client import BlobClient
from batchspec.local.agent.command import Command, CommandResult, run_command
from batchspec.local.agent.credentials import StorageAccess
from batchspec.local.agent.launch import Failure, Launch, MultiInstance, Outcome, TaskInstance
from batchspec.local.agent.processes import Processes
from batchspec.local.agent.task_files import (
    ResourceError,
    add_files,
    make_directory,
    preparation_failure,
)
from batchspec.local.clock import Clock


class CoordinationError(Exception):
    """A member failed, and with it all; ``ran`` is how, as the outcome of the primary."""

    def __init__(self, ran: CommandResult) -> None:
        super().__init__(ran.code)
        self.ran = ran


@dataclass(frozen=True, slots=True)
class NodeTools:
    """What a node works with. ``mark`` goes into the environment of every process."""

    processes: Processes
    storage: BlobClient
    storage_access: StorageAccess
    clock: Clock
    mark: Mapping[str, str]


class Coordination:
    """That of one run; to be disbanded whatever comes of it."""

    def __init__(self, launch: Launch, multi_instance: MultiInstance, tools: NodeTools) -> None:
        self._launch = launch
        self._gang = multi_instance
        self._tools = tools
        self._started: dict[int, datetime] = {}
        self._ran: dict[int, CommandResult] = {}
        self._first: CoordinationError | None = None

    async def make_directories(self, data: Path) -> None:
        """Make those of the subtasks, below the folder ``data``; see :func:`make_directory`.

        Raises:
            OSError: one cannot be made.
        """
        for member in self._gang.members[1:]:
            await make_directory(data, member.directory, fresh=self._launch.fresh)

    async def perform(self) -> None:
        """Fetch the common files everywhere, then run the coordination command everywhere.

        Raises:
            GangError: a member failed; the others are ended.
            ProcessLostError: nobody knows how one of them ended; the others are ended.
        """
        await self._together(self._prepare, lambda _, task: task.cancel())
        await self._together(self._run, lambda key, _: self._tools.processes.kill(key))

    async def disband(self) -> None:
        """Kill what the coordination has left; nothing of it is left when this returns."""
        leaving = [self._tools.processes.leave(self._key(one)) for one in self._gang.members]
        await asyncio.gather(*leaving)

    def outcomes(self, why: Failure | None) -> tuple[Outcome, ...]:
        """What came of the subtasks, once all is over; ``why`` holds for those cut short."""
        now = self._tools.clock.now()
        cut = CommandResult(None, why)
        found = []
        for member in self._gang.members[1:]:
            ran = self._ran.get(member.number, cut)
            started = self._started.get(member.number, now)
            found.append(Outcome(started, now, ran.code, ran.failure))
        return tuple(found)

    def _key(self, member: TaskInstance) -> str:
        return f"{self._launch.key}/{member.number}"

    async def _together(
        self,
        work: Callable[[TaskInstance], Coroutine[object, object, None]],
        end: Callable[[str, asyncio.Task[None]], object],
    ) -> None:
        """Have all members do ``work``; a failure, or a cancellation, ends all."""
        tasks = {asyncio.create_task(work(one)): self._key(one) for one in self._gang.members}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task, key in tasks.items():
                if not task.done():
                    end(key, task)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for error in (self._first, *results):
            if isinstance(error, BaseException):
                raise error

    async def _prepare(self, member: TaskInstance) -> None:
        self._started[member.number] = self._tools.clock.now()
        files, into = self._gang.common_files, member.directory
        try:
            await add_files(
                member.packages, files, into, self._tools.storage, self._tools.storage_access
            )
        except (PackageError, ResourceError, OSError) as error:
            self._fail(member, CommandResult(None, preparation_failure(error)))

    async def _run(self, member: TaskInstance) -> None:
        environment = {**member.environment, **self._tools.mark}
        command = Command(
            self._gang.command_line,
            member.directory,
            environment,
            append=True,
            stays=True,
            limits=self._launch.limits,
        )
        ran = await run_command(self._tools.processes, self._key(member), command)
        if ran.failure is not None:
            self._fail(member, ran)
        self._ran[member.number] = ran

    def _fail(self, member: TaskInstance, ran: CommandResult) -> None:
        if self._first is None:
            self._ran[member.number] = ran
            self._first = CoordinationError(ran)
        raise self._first
