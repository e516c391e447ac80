"""Tasks in containers: docker or podman, and one run of a task in a container.

An engine is used if its command is on the path and answers.
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

from batchspec.local.agent.launch import (
    Container,
    Failure,
    Launch,
    Registry,
    container_failure,
    exit_failure,
    launch_failure,
    program_failure,
)
from batchspec.local.agent.processes import (
    CommandResult,
    Killed,
    NotStarted,
    Processes,
    Program,
    split_command_line,
)

_PROBES: Mapping[str, tuple[str, ...]] = {
    "docker": ("version", "--format", "{{.Server.Version}}"),
    "podman": ("info", "--format", "{{.Version.Version}}"),
}
_PROBE_TIMEOUT = 5.0
"""Seconds in which an engine must answer."""
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
"""Prefixes of variables that an engine's command reads itself."""


_log = logging.getLogger(__name__)


class NoContainerEngineError(Exception):
    """No container engine answers; the text lists the results of all engines."""


class ContainerEngineError(Exception):
    """A command of the engine failed; the text is the message of the engine."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """The state of a container that has run."""

    exit_code: int
    state: str
    error: str


class ContainerEngine:
    """The container engine of this machine, for one data folder.

    ``tag`` is the tag of the data folder; ``environ`` is the environment of the service.
    """

    def __init__(self, environ: Mapping[str, str], tag: str = "") -> None:
        self._environ = dict(environ)
        self._tag = tag
        self._program: str | None = None

    def check(self) -> None:
        """Check that an engine answers; later calls use the first success.

        Raises:
            NoContainerEngineError: no engine answers.
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
        """The reason why an engine cannot be used; ``None`` if it can."""
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
        """As :meth:`check`, without blocking the event loop.

        Raises:
            NoContainerEngineError: no engine answers.
        """
        await asyncio.to_thread(self.check)

    async def create(self, name: str, container: Container, arguments: Sequence[str]) -> str:
        """Create the container ``name``, pull its image if needed, and return its id.

        Raises:
            ContainerEngineError: the container cannot be created.
        """
        # The environment contains the values, so that the list of processes shows no secret. Only
        # variables that the engine's command reads itself are arguments.
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
            label = f"{_LABEL}={self._tag}"
            return await self._run(
                *before, "create", *after, "--name", name, "--label", label,
                *mounts, *where, *variables, *container.options, container.image,
                *arguments, environment=given,
            )  # fmt: skip

    def start(self, name: str) -> list[str]:
        """The command that runs a container to its end with attached output."""
        return [self._program or "", "start", "--attach", name]

    async def inspect(self, name: str) -> ContainerState:
        """The state of a container.

        Raises:
            ContainerEngineError: the engine does not know the container.
        """
        form = "{{.State.ExitCode}} {{.State.Status}} {{.State.Error}}"
        code, state, error = f"{await self._run('inspect', '--format', form, name)}  ".split(" ", 2)
        return ContainerState(int(code), state, error.strip())

    async def remove(self, *names: str) -> None:
        """Kill and remove containers; ignores containers that do not exist."""
        if self._program is not None and names:
            try:
                await self._run("rm", "--force", "--volumes", *names)
            except ContainerEngineError as error:
                if "no such container" not in str(error).lower():
                    _log.warning("containers could not be removed: %s", error)

    async def remove_orphans(self) -> None:
        """Remove the containers of an earlier run of the service."""
        label = f"label={_LABEL}={self._tag}"
        try:
            await self.ready()
            left = await self._run("ps", "--all", "--quiet", "--filter", label)
        except (NoContainerEngineError, ContainerEngineError) as error:
            _log.warning("cannot check for orphaned containers: %s", error)
            return
        await self.remove(*left.split())

    def _user(self) -> list[str]:
        # This user cannot remove files that a docker container writes as root.
        return ["--user", f"{os.getuid()}:{os.getgid()}"] if os.getuid() else []

    @contextmanager
    def _credentials(self, registries: Sequence[Registry]) -> Iterator[str | None]:
        """A temporary folder with the credentials of registries in ``config.json``."""
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
"""Parts of the engines' messages about invalid images."""
CONTAINERS_FILE = "containers"
"""The file in the data folder that exists once a container was created."""


class ContainerError(Exception):
    """The container cannot be created; ``failure`` is the failure of the task."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


class ContainerRun:
    """The container of one launch. Remove it in every case."""

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
        """Create the container.

        Raises:
            ContainerError: the container cannot be created.
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
        self, processes: Processes, tag: Mapping[str, str]
    ) -> tuple[CommandResult, Mapping[str, Any]]:
        """Run the created container; return its result and the ``containerInfo`` in wire form.

        Raises:
            ProcessLostError: the result is unknown.
        """
        directory = self._launch.directory
        program = Program(
            self._containers.start(self._name),
            {**self._containers.environment, **tag},
            directory / "wd",
            directory / "stdout.txt",
            directory / "stderr.txt",
        )
        ending = await processes.run(self._launch.key, program)
        try:
            found = await self._containers.inspect(self._name)
        except ContainerEngineError as error:
            found = ContainerState(1, "unknown", str(error))
        base = {"containerId": self._id, "state": found.state}
        info = {**base, "error": found.error} if found.error else base
        if isinstance(ending, Killed):
            return CommandResult(128 + ending.signal, exit_failure(), killed=True), info
        line = self._launch.command_line
        if isinstance(ending, NotStarted) or found.state in {"created", "unknown"}:
            missing = found.exit_code == 127
            why = program_failure(line) if missing else launch_failure(line, found.error)
            return CommandResult(None, why), info
        return CommandResult(found.exit_code, exit_failure() if found.exit_code else None), info

    async def remove(self) -> None:
        """Kill and remove the container, if it exists."""
        await self._containers.remove(self._name)
