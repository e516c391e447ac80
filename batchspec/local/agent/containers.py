"""The container engine of this machine, and single commands of it.

What lives here: docker or podman, found and asked whether it answers; their command lines. What may
not: when a container runs, what its end means for a task.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from batchspec.local.agent.command import CommandResult, split_command_line
from batchspec.local.agent.failures import (
    container_failure,
    exit_failure,
    launch_failure,
    program_failure,
)
from batchspec.local.agent.launch import Container, Failure, Launch, Registry
from batchspec.local.agent.processes import Killed, NotStarted, Processes, Program

_PROBES: Mapping[str, tuple[str, ...]] = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
}
_PROBE_TIMEOUT = 5.0
"""Seconds that an engine has to say that it is there."""
_LABEL = "batchspec.local.node"
_ENGINE_VARIABLES = (
    "PATH",
    "HOME",
    "TMPDIR",
    "XDG_",
    "DOCKER_",
    "CONTAINER",
    "SSH_",
    "HTTP",
    "NO_P",
)
"""Beginnings of the names of variables that an engine's own command listens to."""


_log = logging.getLogger(__name__)


class NoContainerEngineError(Exception):
    """No container engine answers; the text says what was tried."""


class ContainerEngineError(Exception):
    """A command of the engine failed; the text is the engine's."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """What the engine says of a container that has run."""

    exit_code: int
    state: str
    error: str


class ContainerEngine:
    """Containers of one data folder, which ``mark`` names. ``environ`` is that of the service."""

    def __init__(self, environ: Mapping[str, str], mark: str = "") -> None:
        self._environ = dict(environ)
        self._mark = mark
        self._program: str | None = None

    def check(self) -> None:
        """Return when an engine answers; one that did is not asked again.

        Raises:
            NoEngineError: there is none.
        """
        if self._program is not None:
            return
        tried = []
        for name, probe in _PROBES.items():
            program = shutil.which(name, path=self._environ.get("PATH", ""))
            why = "not found" if program is None else self._probe((program, *probe))
            if why is None:
                self._program = program
                return
            tried.append(f"{name}: {why}")
        raise NoContainerEngineError("; ".join(tried))

    def _probe(self, command: Sequence[str]) -> str | None:
        """Why an engine is of no use; ``None`` if it is."""
        try:
            done = subprocess.run(
                command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_PROBE_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return "it does not answer"
        lines = done.stderr.strip().splitlines() or ["it does not answer"]
        return None if done.returncode == 0 and done.stdout.strip() else lines[-1]

    @property
    def environment(self) -> dict[str, str]:
        """The environment for the engine's command."""
        return dict(self._environ)

    async def ready(self) -> None:
        """As :meth:`check`, without keeping anybody waiting.

        Raises:
            NoEngineError: there is none.
        """
        await asyncio.to_thread(self.check)

    async def create(self, name: str, container: Container, arguments: Sequence[str]) -> str:
        """Make the container ``name``, its image fetched if need be; its id.

        Raises:
            EngineError: it cannot be made.
        """
        # A secret in a value must not be seen in a list of processes, so that values go another
        # way, where they do not change what the command does.
        given = self.environment
        variables = []
        for key, value in container.environment.items():
            own = key.upper().startswith(_ENGINE_VARIABLES)
            variables += ["--env", f"{key}={value}" if own else key]
            if not own:
                given[key] = value
        mounts = []
        for path, read_only in container.mounts:
            mounts += ["--volume", f"{path}:{path}{':ro' if read_only else ''}"]
        where = ["--workdir", str(container.directory)] if container.directory else []
        with self._credentials(container.registries) as credentials:
            if Path(self._program or "").name == "docker":
                before, after = ["--config", str(credentials)] if credentials else [], self._user()
            else:
                secret = f"{credentials}/config.json"
                before, after = [], ["--authfile", secret] if credentials else []
            label = f"{_LABEL}={self._mark}"
            return await self._run(
                *before, "create", *after, "--name", name, "--label", label,
                *mounts, *where, *variables, *container.options, container.image,
                *arguments, environment=given,
            )  # fmt: skip

    def start(self, name: str) -> list[str]:
        """The command that runs a container to its end, its output with it."""
        return [self._program or "", "start", "--attach", name]

    async def inspect(self, name: str) -> ContainerState:
        """What has become of a container.

        Raises:
            EngineError: the engine does not know.
        """
        form = "{{.State.ExitCode}} {{.State.Status}} {{.State.Error}}"
        code, state, error = f"{await self._run('inspect', '--format', form, name)}  ".split(" ", 2)
        return ContainerState(int(code), state, error.strip())

    async def forget(self, *names: str) -> None:
        """Kill and remove containers; those that are not there are gone already."""
        if self._program is not None and names:
            try:
                await self._run("rm", "--force", "--volumes", *names)
            except ContainerEngineError as error:
                if "no such container" not in str(error).lower():
                    _log.warning("containers were left: %s", error)

    async def reap(self) -> None:
        """Remove the containers that an earlier life of the service has left."""
        label = f"label={_LABEL}={self._mark}"
        try:
            await self.ready()
            left = await self._run("ps", "--all", "--quiet", "--filter", label)
        except (NoContainerEngineError, ContainerEngineError) as error:
            _log.warning("nobody knows whether containers were left: %s", error)
            return
        await self.forget(*left.split())

    def _user(self) -> list[str]:
        # What a container of docker's writes as its root could not be removed by anybody else.
        return ["--user", f"{os.getuid()}:{os.getgid()}"] if os.getuid() else []

    @contextmanager
    def _credentials(self, registries: Sequence[Registry]) -> Iterator[str | None]:
        """A folder with a ``config.json`` that lets the engine into registries, for a moment."""
        if not registries:
            yield None
            return
        auths = {
            one.server: {"auth": base64.b64encode(f"{one.user}:{one.password}".encode()).decode()}
            for one in registries
        }
        with tempfile.TemporaryDirectory(prefix="batchspec-") as folder:
            file = Path(folder) / "config.json"
            file.touch(mode=0o600)
            file.write_text(json.dumps({"auths": auths}), encoding="utf-8")
            yield folder

    async def _run(self, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
        if self._program is None:
            raise ContainerEngineError("no container engine answers")
        process = await asyncio.create_subprocess_exec(
            self._program,
            *arguments,
            env=self._environ if environment is None else environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            out, err = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode:
            raise ContainerEngineError(err.decode(errors="replace").strip()[-2000:])
        return out.decode(errors="replace").strip()


_IMAGE_ERRORS = (
    "no such image",
    "unable to find image",
    "pull access denied",
    "repository does not exist",
    "manifest unknown",
    "invalid reference format",
    "short-name",
)
"""What engines say when it is the image that is wrong."""
CONTAINERS_FILE = "containers"
"""The file in the data folder that says that containers have been made."""


class ContainerError(Exception):
    """The container cannot be made; ``failure`` is the task's."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class ContainerRun:
    """The container of one launch; to be removed whatever comes of it."""

    def __init__(
        self,
        containers: ContainerEngine,
        launch: Launch,
        container: Container,
        note: Path,
        name: str,
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
            arguments = split_command_line(self._launch.command_line)
        except ValueError as error:
            raise ContainerError(launch_failure(self._launch.command_line, str(error))) from None
        self._note.touch()
        try:
            await self._containers.ready()
            self._id = await self._containers.create(self._name, self._container, arguments)
        except (ContainerEngineError, NoContainerEngineError) as error:
            text = str(error)
            wrong = any(words in text.lower() for words in _IMAGE_ERRORS)
            code = "ContainerInvalidImage" if wrong else "ContainerInvalidSettings"
            raise ContainerError(container_failure(code, text)) from None

    async def run(
        self, processes: Processes, mark: Mapping[str, str]
    ) -> tuple[CommandResult, Mapping[str, Any]]:
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
        except ContainerEngineError as error:
            found = ContainerState(1, "unknown", str(error))
        info = {"containerId": self._id, "state": found.state}
        told = {**info, "error": found.error} if found.error else info
        if isinstance(ending, Killed):
            return CommandResult(128 + ending.signal, exit_failure(), killed=True), told
        line = self._launch.command_line
        if isinstance(ending, NotStarted) or found.state in {"created", "unknown"}:
            missing = found.exit_code == 127
            why = program_failure(line) if missing else launch_failure(line, found.error)
            return CommandResult(None, why), told
        return CommandResult(found.exit_code, exit_failure() if found.exit_code else None), told

    async def remove(self) -> None:
        """Kill and remove the container, if it is there."""
        await self._containers.forget(self._name)
