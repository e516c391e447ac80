"""The coordination command of a multi-instance task, on all its nodes together.

Source: the article "Use multi-instance tasks to run MPI applications". What the command leaves
running on a node (such as an MPI daemon) runs until the task ends. The command of the task itself,
which the agent runs on the primary's node, is not part of this module.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from batchspec.local.agent.launch import Failure, Launch, MultiInstance, Outcome, TaskInstance
from batchspec.local.agent.processes import Command, CommandResult, Processes, run_command
from batchspec.local.agent.resource_files import (
    PackageError,
    ResourceError,
    add_files,
    make_directory,
    preparation_failure,
)
from batchspec.local.agent.storage import BlobClient, StorageAccess
from batchspec.local.clock import Clock


class CoordinationError(Exception):
    """An instance failed, and with it the task; ``ran`` is the result for the primary."""

    def __init__(self, ran: CommandResult) -> None:
        super().__init__(ran.code)
        self.ran = ran


@dataclass(frozen=True, slots=True)
class NodeTools:
    """What a node works with. ``tag`` is added to the environment of every process."""

    processes: Processes
    storage: BlobClient
    storage_access: StorageAccess
    clock: Clock
    tag: Mapping[str, str]


class Coordination:
    """The coordination of one run; it must be closed whatever the outcome."""

    def __init__(self, launch: Launch, settings: MultiInstance, tools: NodeTools) -> None:
        self._launch = launch
        self._settings = settings
        self._tools = tools
        self._started: dict[int, datetime] = {}
        self._ran: dict[int, CommandResult] = {}
        self._first_error: CoordinationError | None = None

    async def make_directories(self, data: Path) -> None:
        """Create the directories of the subtasks in the folder ``data``.

        Raises:
            OSError: a directory cannot be created.
        """
        for instance in self._settings.instances[1:]:
            await make_directory(data, instance.directory, fresh=self._launch.fresh)

    async def perform(self) -> None:
        """Download the common files on all nodes, then run the coordination command on all nodes.

        Raises:
            CoordinationError: an instance failed; the others are ended.
            ProcessLostError: it is not known how an instance ended; the others are ended.
        """
        await self._together(self._prepare, lambda _, task: task.cancel())
        await self._together(self._run, lambda key, _: self._tools.processes.kill(key))

    async def close(self) -> None:
        """Kill the processes that the coordination left running; none is left when this returns."""
        leaving = [self._tools.processes.leave(self._key(one)) for one in self._settings.instances]
        await asyncio.gather(*leaving)

    def outcomes(self, why: Failure | None) -> tuple[Outcome, ...]:
        """The outcomes of the subtasks; ``why`` is the failure of those that were ended early."""
        now = self._tools.clock.now()
        ended = CommandResult(None, why)
        found = []
        for instance in self._settings.instances[1:]:
            ran = self._ran.get(instance.number, ended)
            started = self._started.get(instance.number, now)
            found.append(Outcome(started, now, ran.code, ran.failure))
        return tuple(found)

    def _key(self, instance: TaskInstance) -> str:
        return f"{self._launch.key}/{instance.number}"

    async def _together(
        self,
        work: Callable[[TaskInstance], Coroutine[object, object, None]],
        end: Callable[[str, asyncio.Task[None]], object],
    ) -> None:
        """Await ``work`` for all instances; a failure or a cancellation ends all of them."""
        tasks = {asyncio.create_task(work(one)): self._key(one) for one in self._settings.instances}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task, key in tasks.items():
                if not task.done():
                    end(key, task)
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for error in (self._first_error, *results):
            if isinstance(error, BaseException):
                raise error

    async def _prepare(self, instance: TaskInstance) -> None:
        self._started[instance.number] = self._tools.clock.now()
        files, into = self._settings.common_files, instance.directory
        try:
            await add_files(
                instance.packages, files, into, self._tools.storage, self._tools.storage_access
            )
        except (PackageError, ResourceError, OSError) as error:
            self._fail(instance, CommandResult(None, preparation_failure(error)))

    async def _run(self, instance: TaskInstance) -> None:
        environment = {**instance.environment, **self._tools.tag}
        command = Command(
            self._settings.command_line,
            instance.directory,
            environment,
            append=True,
            stays=True,
            limits=self._launch.limits,
        )
        ran = await run_command(self._tools.processes, self._key(instance), command)
        if ran.failure is not None:
            self._fail(instance, ran)
        self._ran[instance.number] = ran

    def _fail(self, instance: TaskInstance, ran: CommandResult) -> None:
        if self._first_error is None:
            self._ran[instance.number] = ran
            self._first_error = CoordinationError(ran)
        raise self._first_error
