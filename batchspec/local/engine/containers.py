"""Container settings of tasks, as containers; and the tasks that cannot run for them.

Pure. Evidence: the reference of ``TaskContainerSettings`` (what is mounted, where a command runs),
and what users report of tasks whose settings do not fit their pool: such a task fails when it runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchspec.local.agent.failures import container_failure
from batchspec.local.agent.launch import Container, Failure, Launch, Registry
from batchspec.local.model.record import Wire

SETTINGS = "containerSettings"
_DOCKER = "docker.io"
_DOCKER_KEY = "https://index.docker.io/v1/"
"""Under what name the engines keep the credentials of the default registry."""
_FOLDERS = {
    "shared": "shared",
    "startup": "startup",
    "vfsmounts": "fsmounts",
    "applications": "applications",
}


def contain(
    launch: Launch,
    settings: Wire,
    pool: Wire,
    environment: Mapping[str, str],
    *,
    required: bool,
) -> Launch:
    """``launch`` in the container that ``settings``, those of its task, ask for, if any.

    ``environment`` is what the container gets. In a pool for containers a task has to have them if
    they are ``required``: job preparation, job release and start tasks may run without.
    """
    wanted = settings.get(SETTINGS)
    configuration = pool.get("virtualMachineConfiguration", {}).get("containerConfiguration")
    if wanted is None:
        if configuration is None or not required:
            return launch
        return replace(launch, refused=container_failure("ContainerTaskSettingsNotFound"))
    if configuration is None:
        return replace(launch, refused=container_failure("ContainerPoolNotSupported"))
    try:
        options = tuple(shlex.split(wanted.get("containerRunOptions", "")))
    except ValueError as error:
        return replace(launch, refused=_invalid(f"containerRunOptions: {error}"))
    where = wanted.get("workingDirectory", "taskWorkingDirectory").lower()
    return replace(
        launch,
        container=Container(
            image=wanted["imageName"],
            mounts=tuple(_mounts(wanted, launch)),
            directory=None if where == "containerimagedefault" else launch.directory / "wd",
            environment=environment,
            options=(*_limits(launch), *options),
            registries=tuple(_registries(wanted, configuration)),
        ),
    )


def _limits(launch: Launch) -> Iterator[str]:
    """Options with which the engine holds the limits of a task."""
    if launch.limits.memory is not None:
        yield from ("--memory", str(launch.limits.memory))
    if launch.limits.processes is not None:
        yield from ("--pids-limit", str(launch.limits.processes))


def _invalid(why: str) -> Failure:
    return container_failure("ContainerInvalidSettings", why)


def _mounts(wanted: Wire, launch: Launch) -> Iterator[tuple[Path, bool]]:
    """All of the node, or what is listed."""
    root, listed = launch.node_root, wanted.get("containerHostBatchBindMounts")
    if not listed:
        yield root, False
        return
    for entry in listed:
        source, read_only = entry.get("source", "task").lower(), entry.get("isReadOnly", False)
        if source == "task":
            yield launch.directory, read_only
        elif source == "jobprep":
            yield Path(launch.environment.get("AZ_BATCH_JOB_PREP_DIR", launch.directory)), read_only
        else:
            yield root / _FOLDERS[source], read_only


def _registries(wanted: Wire, configuration: Wire) -> Iterator[Registry]:
    """Credentials, those of the task last, so that they come first."""
    own: Any = wanted.get("registry")
    for given in (*configuration.get("containerRegistries", ()), *([own] if own else ())):
        if "username" in given:
            server = given.get("registryServer", _DOCKER)
            key = _DOCKER_KEY if server == _DOCKER else server
            yield Registry(key, given["username"], given.get("password", ""))
