"""One run of a task in a container: made, run to its end, removed.

What lives here: the order of these steps, and what their failures are called. What may not: the
engine's command lines (``containers``).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from batchspec.local.agent.command import split
from batchspec.local.agent.commands import Ran
from batchspec.local.agent.containers import Containers, EngineError, Inspected, NoEngineError
from batchspec.local.agent.failures import (
    container_failure,
    exit_failure,
    launch_failure,
    program_failure,
)
from batchspec.local.agent.launch import Container, Failure, Launch
from batchspec.local.agent.processes import Killed, NotStarted, Processes, Program

_NO_IMAGE = (
    "no such image",
    "unable to find image",
    "pull access denied",
    "repository does not exist",
    "manifest unknown",
    "invalid reference format",
    "short-name",
)
"""What engines say when it is the image that is wrong."""
NOTE = "containers"
"""The file in the data folder that says that containers have been made."""


class ContainerError(Exception):
    """The container cannot be made; ``failure`` is the task's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class Contained:
    """The container of one launch; to be removed whatever comes of it."""

    def __init__(
        self, containers: Containers, launch: Launch, container: Container, note: Path, name: str
    ) -> None:
        self._containers = containers
        self._launch = launch
        self._container = container
        self._note = note
        self._name = name
        self._id: str | None = None

    async def create(self) -> None:
        """Make the container.

        Raises:
            ContainerError: it cannot be made.
        """
        try:
            arguments = split(self._launch.command_line)
        except ValueError as error:
            raise ContainerError(launch_failure(self._launch.command_line, str(error))) from None
        self._note.touch()
        try:
            await self._containers.ready()
            self._id = await self._containers.create(self._name, self._container, arguments)
        except (EngineError, NoEngineError) as error:
            text = str(error)
            wrong = any(words in text.lower() for words in _NO_IMAGE)
            code = "ContainerInvalidImage" if wrong else "ContainerInvalidSettings"
            raise ContainerError(container_failure(code, text)) from None

    async def run(
        self, processes: Processes, mark: Mapping[str, str]
    ) -> tuple[Ran, Mapping[str, Any]]:
        """Run what was made; how it ended, and what is told of the container, in wire form.

        Raises:
            ProcessLostError: nobody knows how it ended.
        """
        directory = self._launch.directory
        program = Program(
            self._containers.start(self._name),
            {**self._containers.environment, **mark},
            directory / "wd",
            directory / "stdout.txt",
            directory / "stderr.txt",
        )
        ending = await processes.run(self._launch.key, program)
        try:
            found = await self._containers.inspect(self._name)
        except EngineError as error:
            found = Inspected(1, "unknown", str(error))
        info = {"containerId": self._id, "state": found.state}
        told = {**info, "error": found.error} if found.error else info
        if isinstance(ending, Killed):
            return Ran(128 + ending.signal, exit_failure(), killed=True), told
        line = self._launch.command_line
        if isinstance(ending, NotStarted) or found.state in {"created", "unknown"}:
            missing = found.exit_code == 127
            why = program_failure(line) if missing else launch_failure(line, found.error)
            return Ran(None, why), told
        return Ran(found.exit_code, exit_failure() if found.exit_code else None), told

    async def remove(self) -> None:
        """Kill and remove the container, if it is there."""
        await self._containers.forget(self._name)
