"""Launches made of records: what a task or a start task is for the agent.

What lives here: record in, :class:`Launch` out. What may not: running anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from batchspec.local.agent.launch import Installation, Launch, Member
from batchspec.local.engine.containers import contain
from batchspec.local.engine.environment import Site, compose, node_variables, without_system
from batchspec.local.engine.multi import SETTINGS, gang_of, gang_variables
from batchspec.local.engine.packages import package_variables, packages_of
from batchspec.local.engine.state import packages_key, run_key, start_key
from batchspec.local.model.layout import node_root, task_directory
from batchspec.local.model.record import Job, Node, Pool, Task, Wire
from batchspec.local.wire.times import read_duration


def task_launch(
    site: Site,
    data: Path,
    task: Task,
    job: Job,
    nodes: Sequence[Node],
    *,
    pool: Pool,
    fresh: bool,
) -> Launch:
    """The run of ``task`` that the store has begun on ``nodes``; a retry is not ``fresh``.

    There are several nodes for a multi-instance task; its primary is on the first.
    """
    if task.directory is None:
        raise ValueError(f"task {task.id} has no directory: it has not begun")
    first = node_root(data, nodes[0].pool_id, nodes[0].id)
    members = []
    for at, node in enumerate(nodes):
        root = node_root(data, node.pool_id, node.id)
        directory = root / task.directory
        packages = packages_of(task.body, site.applications, root)
        own = {
            **node_variables(site, node, root),
            **package_variables(packages),
            "AZ_BATCH_JOB_ID": task.job_id,
            "AZ_BATCH_TASK_ID": task.id,
            **_preparation_variables(job, root),
        }
        if SETTINGS in task.body:
            own |= gang_variables(nodes, at, first / task.directory, site.cores)
        environment = compose(
            site,
            own,
            directory,
            job.body.get("commonEnvironmentSettings", ()),
            task.body.get("environmentSettings", ()),
        )
        members.append(Member(at, directory, environment, packages))
    primary = members[0]
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
        gang=gang_of(task, members) if SETTINGS in task.body else None,
        limits=site.limits,
    )
    return _contained(site, launch, task.body, pool, required=True)


def special_launch(
    site: Site,
    data: Path,
    job: Job,
    node: Node,
    *,
    pool: Pool,
    key: str,
    release: bool,
    fresh: bool,
) -> Launch:
    """The preparation or the ``release`` task of ``job`` on ``node``."""
    root = node_root(data, node.pool_id, node.id)
    settings = job.body["jobReleaseTask" if release else "jobPreparationTask"]
    directory = root / special_directory(job, release=release)
    limit = settings if release else settings["constraints"]
    own = {
        **node_variables(site, node, root),
        "AZ_BATCH_JOB_ID": job.id,
        "AZ_BATCH_TASK_ID": settings["id"],
        **(_preparation_variables(job, root) if release else {}),
    }
    launch = Launch(
        key=key,
        node_root=root,
        directory=directory,
        command_line=settings["commandLine"],
        environment=compose(
            site,
            own,
            directory,
            job.body.get("commonEnvironmentSettings", ()),
            settings.get("environmentSettings", ()),
        ),
        resource_files=tuple(settings.get("resourceFiles", ())),
        max_wall_clock_time=read_duration(limit["maxWallClockTime"]),
        fresh=fresh,
    )
    return _contained(site, launch, settings, pool, required=False)


def special_directory(job: Job, *, release: bool) -> str:
    """Where the preparation or the ``release`` task lies, relative to its node's root."""
    settings = job.body["jobReleaseTask" if release else "jobPreparationTask"]
    return task_directory(job.id, settings["id"])


def _preparation_variables(job: Job, root: Path) -> dict[str, str]:
    if "jobPreparationTask" not in job.body:
        return {}
    directory = root / special_directory(job, release=False)
    return {
        "AZ_BATCH_JOB_PREP_DIR": str(directory),
        "AZ_BATCH_JOB_PREP_WORKING_DIR": str(directory / "wd"),
    }


def installation(site: Site, data: Path, node: Node, pool: Pool) -> Installation:
    """The packages of ``pool`` on ``node``."""
    root = node_root(data, node.pool_id, node.id)
    return Installation(packages_key(node), packages_of(pool.body, site.applications, root))


def start_launch(site: Site, data: Path, node: Node, pool: Pool) -> Launch:
    """The start task of ``pool`` on ``node``: it has the node to itself, and is re-entered."""
    root = node_root(data, node.pool_id, node.id)
    start_task = pool.body["startTask"]
    launch = Launch(
        key=start_key(node),
        node_root=root,
        directory=root / "startup",
        command_line=start_task["commandLine"],
        environment=compose(
            site,
            node_variables(site, node, root),
            root / "startup",
            start_task.get("environmentSettings", ()),
        ),
        resource_files=tuple(start_task.get("resourceFiles", ())),
        fresh=False,
    )
    return _contained(site, launch, start_task, pool, required=False)


def _contained(site: Site, launch: Launch, settings: Wire, pool: Pool, *, required: bool) -> Launch:
    inside = without_system(site, launch.environment, launch.directory)
    return contain(launch, settings, pool.body, inside, required=required)
