"""Launches for the agent, from the records of tasks and of start, preparation and release tasks.

All functions are pure. Sources: the articles "Use multi-instance tasks to run MPI applications" and
"Azure Batch runtime environment variables"; the reference of ``TaskContainerSettings`` for mounts
and working directories; user reports for tasks whose container settings do not fit their pool,
which fail when they run.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from batchspec.local.agent import (
    Container,
    Failure,
    Installation,
    Launch,
    Mount,
    MultiInstance,
    Registry,
    TaskInstance,
    container_failure,
    launch_failure,
)
from batchspec.local.engine.environment import (
    MOUNTS,
    NodeConfig,
    container_environment,
    node_variables,
    package_variables,
    referenced_packages,
    task_environment,
)
from batchspec.local.engine.state import packages_key, run_key, start_key
from batchspec.local.model import (
    MULTI_INSTANCE,
    Job,
    Node,
    Pool,
    Task,
    Wire,
    node_address,
    node_root,
    task_directory,
)
from batchspec.local.task_users import TaskUser, UnknownUserError, UserIds
from batchspec.local.wire import read_duration


def task_launch(
    node_config: NodeConfig,
    data: Path,
    task: Task,
    job: Job,
    nodes: Sequence[Node],
    *,
    pool: Pool,
    fresh: bool,
) -> Launch:
    """The launch of a run of ``task`` on ``nodes``; a retry is not ``fresh``.

    A multi-instance task has several nodes; the primary task is on the first node.
    """
    if task.directory is None:
        raise ValueError(f"task {task.id} has no directory: it has not started")
    first = node_root(data, nodes[0].pool_id, nodes[0].id)
    user, unknown = _user(node_config, task.body, pool, nodes[0], lambda ids: ids.of_task(task.seq))
    instances = []
    for at, node in enumerate(nodes):
        root = node_root(data, node.pool_id, node.id)
        directory = root / task.directory
        packages = referenced_packages(task.body, node_config.applications, root)
        own = {
            **node_variables(node_config, node, root),
            **package_variables(packages),
            "AZ_BATCH_JOB_ID": task.job_id,
            "AZ_BATCH_TASK_ID": task.id,
            **_preparation_variables(job, root),
        }
        if MULTI_INSTANCE in task.body:
            shared = first / task.directory
            own |= multi_instance_variables(nodes, at, shared, node_config.cores)
        environment = task_environment(
            node_config,
            own,
            directory,
            job.body.get("commonEnvironmentSettings", ()),
            task.body.get("environmentSettings", ()),
            user=user,
        )
        instances.append(TaskInstance(at, directory, environment, packages))
    primary = instances[0]
    launch = Launch(
        key=run_key(task.seq, task.run),
        node_root=first,
        directory=primary.directory,
        command_line=task.body["commandLine"],
        environment=primary.environment,
        resource_files=tuple(task.body.get("resourceFiles", ())),
        output_files=tuple(task.body.get("outputFiles", ())),
        max_wall_clock_time=read_duration(task.body["constraints"]["maxWallClockTime"]),
        fresh=fresh,
        packages=primary.packages,
        multi_instance=multi_instance_of(task, instances) if MULTI_INSTANCE in task.body else None,
        limits=node_config.limits,
        mounts=mounts_of(pool),
        identities=identities_of(pool),
        user=user,
        refused=unknown,
    )
    return _with_container(node_config, launch, task.body, pool, required=True)


def job_task_launch(
    node_config: NodeConfig,
    data: Path,
    job: Job,
    node: Node,
    *,
    pool: Pool,
    key: str,
    release: bool,
    fresh: bool,
) -> Launch:
    """The launch of the preparation task, or the ``release`` task, of ``job`` on ``node``."""
    root = node_root(data, node.pool_id, node.id)
    settings = job.body["jobReleaseTask" if release else "jobPreparationTask"]
    directory = root / job_task_directory(job, release=release)
    limit = settings if release else settings["constraints"]
    user, unknown = _user(
        node_config,
        settings,
        pool,
        node,
        lambda ids: ids.of_job_task(node.seq, job.seq, release=release),
    )
    own = {
        **node_variables(node_config, node, root),
        "AZ_BATCH_JOB_ID": job.id,
        "AZ_BATCH_TASK_ID": settings["id"],
        **(_preparation_variables(job, root) if release else {}),
    }
    launch = Launch(
        key=key,
        node_root=root,
        directory=directory,
        command_line=settings["commandLine"],
        environment=task_environment(
            node_config,
            own,
            directory,
            job.body.get("commonEnvironmentSettings", ()),
            settings.get("environmentSettings", ()),
            user=user,
        ),
        resource_files=tuple(settings.get("resourceFiles", ())),
        max_wall_clock_time=read_duration(limit["maxWallClockTime"]),
        fresh=fresh,
        mounts=mounts_of(pool),
        identities=identities_of(pool),
        user=user,
        readable=not release,
        refused=unknown,
    )
    return _with_container(node_config, launch, settings, pool, required=False)


def job_task_directory(job: Job, *, release: bool) -> str:
    """The directory of the preparation or ``release`` task, relative to its node's root."""
    settings = job.body["jobReleaseTask" if release else "jobPreparationTask"]
    return task_directory(job.id, settings["id"])


def _preparation_variables(job: Job, root: Path) -> dict[str, str]:
    if "jobPreparationTask" not in job.body:
        return {}
    directory = root / job_task_directory(job, release=False)
    return {
        "AZ_BATCH_JOB_PREP_DIR": str(directory),
        "AZ_BATCH_JOB_PREP_WORKING_DIR": str(directory / "wd"),
    }


def installation(node_config: NodeConfig, data: Path, node: Node, pool: Pool) -> Installation:
    """The packages and file systems of ``pool`` on ``node``."""
    root = node_root(data, node.pool_id, node.id)
    return Installation(
        packages_key(node),
        root,
        referenced_packages(pool.body, node_config.applications, root),
        mounts_of(pool),
    )


def mounts_of(pool: Pool) -> tuple[Mount, ...]:
    """The file systems that the nodes of a pool mount."""
    return tuple(pool.body.get(MOUNTS, ()))


def identities_of(pool: Pool) -> tuple[str, ...]:
    """The resource ids of the managed identities of a pool."""
    found = pool.body.get("identity", {}).get("userAssignedIdentities", ())
    return tuple(each["resourceId"] for each in found)


def start_launch(node_config: NodeConfig, data: Path, node: Node, pool: Pool) -> Launch:
    """The launch of the start task of ``pool`` on ``node``; its directory stays between runs."""
    root = node_root(data, node.pool_id, node.id)
    start_task = pool.body["startTask"]
    user, unknown = _user(
        node_config, start_task, pool, node, lambda ids: ids.of_start_task(node.seq)
    )
    launch = Launch(
        key=start_key(node),
        node_root=root,
        directory=root / "startup",
        command_line=start_task["commandLine"],
        environment=task_environment(
            node_config,
            node_variables(node_config, node, root),
            root / "startup",
            start_task.get("environmentSettings", ()),
            user=user,
        ),
        resource_files=tuple(start_task.get("resourceFiles", ())),
        fresh=False,
        mounts=mounts_of(pool),
        identities=identities_of(pool),
        user=user,
        readable=True,
        refused=unknown,
    )
    return _with_container(node_config, launch, start_task, pool, required=False)


def _user(
    node_config: NodeConfig,
    settings: Wire,
    pool: Pool,
    node: Node,
    own: Callable[[UserIds], int],
) -> tuple[TaskUser | None, Failure | None]:
    """The user of a task with these ``settings``, or the failure of a task with an unknown user.

    ``None`` is the user of the service, which also starts containers. ``own`` returns the id of the
    user of this task alone.
    """
    ids = node_config.users
    if ids is None or CONTAINER_SETTINGS in settings:
        return None, None
    try:
        return ids.user(settings, pool.body, node.seq, own(ids)), None
    except UnknownUserError as error:
        why = f"The pool has no user account '{error}'."
        return None, launch_failure(settings["commandLine"], why)


def _with_container(
    node_config: NodeConfig, launch: Launch, settings: Wire, pool: Pool, *, required: bool
) -> Launch:
    inside: Mapping[str, str] = {}
    if CONTAINER_SETTINGS in settings:
        inside = container_environment(node_config, launch.environment, launch.directory)
    return in_container(launch, settings, pool.body, inside, required=required)


_PORT = 6000
"""The port of ``AZ_BATCH_MASTER_NODE`` as in the reference; no process listens on it."""


def multi_instance_variables(
    nodes: Sequence[Node], at: int, shared: Path, cores: int
) -> dict[str, str]:
    """The variables of the instance on ``nodes[at]``; the first node is the master.

    ``shared`` is the directory that all instances share.
    """
    addresses = [node_address(node.seq) for node in nodes]
    with_cores = [f"{address} {cores}" for address in addresses]
    return {
        "AZ_BATCH_NODE_LIST": ";".join(addresses),
        "AZ_BATCH_HOST_LIST": ",".join(addresses),
        "AZ_BATCH_MASTER_NODE": f"{addresses[0]}:{_PORT}",
        "AZ_BATCH_IS_CURRENT_NODE_MASTER": "false" if at else "true",
        "AZ_BATCH_TASK_SHARED_DIR": str(shared),
        "CCP_NODES": f"{len(nodes)} {' '.join(with_cores)}",
    }


def multi_instance_of(task: Task, instances: Sequence[TaskInstance]) -> MultiInstance:
    """The coordination of a multi-instance task."""
    settings = task.body[MULTI_INSTANCE]
    return MultiInstance(
        settings["coordinationCommandLine"],
        tuple(settings.get("commonResourceFiles", ())),
        tuple(instances),
    )


CONTAINER_SETTINGS = "containerSettings"
_DOCKER = "docker.io"
_DOCKER_KEY = "https://index.docker.io/v1/"
"""The key of the default registry in the credential files of container engines."""
_MOUNT_FOLDERS = {
    "shared": "shared",
    "startup": "startup",
    "vfsmounts": "fsmounts",
    "applications": "applications",
}


def in_container(
    launch: Launch,
    settings: Wire,
    pool: Wire,
    environment: Mapping[str, str],
    *,
    required: bool,
) -> Launch:
    """``launch`` in the container that the ``settings`` of its task define, if any.

    ``environment`` is the environment of the container. In a pool for containers, a task without
    container settings fails if they are ``required``; start, preparation and release tasks do not
    require them.
    """
    container = settings.get(CONTAINER_SETTINGS)
    configuration = pool.get("virtualMachineConfiguration", {}).get("containerConfiguration")
    if container is None:
        if configuration is None or not required:
            return launch
        return replace(launch, refused=container_failure("ContainerTaskSettingsNotFound"))
    if configuration is None:
        return replace(launch, refused=container_failure("ContainerPoolNotSupported"))
    try:
        options = tuple(shlex.split(container.get("containerRunOptions", "")))
    except ValueError as error:
        return replace(launch, refused=_invalid_settings(f"containerRunOptions: {error}"))
    where = container.get("workingDirectory", "taskWorkingDirectory").lower()
    return replace(
        launch,
        container=Container(
            image=container["imageName"],
            mounts=tuple(_mounts(container, launch)),
            directory=None if where == "containerimagedefault" else launch.directory / "wd",
            environment=environment,
            options=(*_limit_options(launch), *options),
            registries=tuple(_registries(container, configuration)),
        ),
    )


def _limit_options(launch: Launch) -> Iterator[str]:
    """Engine options that enforce the limits of a task."""
    if launch.limits.memory is not None:
        yield from ("--memory", str(launch.limits.memory))
    if launch.limits.processes is not None:
        yield from ("--pids-limit", str(launch.limits.processes))


def _invalid_settings(why: str) -> Failure:
    return container_failure("ContainerInvalidSettings", why)


def _mounts(container: Wire, launch: Launch) -> Iterator[tuple[Path, bool]]:
    """The mounted directories: the whole node, or the listed directories."""
    root, listed = launch.node_root, container.get("containerHostBatchBindMounts")
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
            yield root / _MOUNT_FOLDERS[source], read_only


def _registries(container: Wire, configuration: Wire) -> Iterator[Registry]:
    """Registry credentials. The task's credentials come last and replace the pool's."""
    own: Any = container.get("registry")
    for given in (*configuration.get("containerRegistries", ()), *([own] if own else ())):
        if "username" in given:
            server = given.get("registryServer", _DOCKER)
            key = _DOCKER_KEY if server == _DOCKER else server
            yield Registry(key, given["username"], given.get("password", ""))
