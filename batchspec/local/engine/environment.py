"""The environment variables and application packages of a task, as on a Linux node.

Source: the article "Azure Batch runtime environment variables". A task gets these variables and the
environment settings of its job and of itself, but no variable of the service.

Two articles contradict each other about the variables of packages: in the article above, the names
are in lower case; in "Deploy applications to compute nodes", periods, hyphens and number signs
become underscores and the id keeps its case. Therefore both names are set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchspec.local.agent import Package
from batchspec.local.model import Node, Wire
from batchspec.local.settings import NO_LIMITS, Limits, TrustFiles
from batchspec.local.store import Applications, application_id
from batchspec.local.task_users import AUTO_USER, NODE_PATH, TaskUser, UserIds

PACKAGE_REFERENCES = "applicationPackageReferences"
MOUNTS = "mountConfiguration"
_PREFIX = "AZ_BATCH_APP_PACKAGE_"


def referenced_packages(
    body: Wire, applications: Applications | None, root: Path
) -> tuple[Package, ...]:
    """The packages in the settings ``body`` of a pool or a task, on the node at ``root``."""
    return tuple(
        _package(reference, applications, root) for reference in body.get(PACKAGE_REFERENCES, ())
    )


def _package(reference: Wire, applications: Applications | None, root: Path) -> Package:
    name, version = reference["applicationId"], reference.get("version")
    application = applications.get(name) if applications is not None else None
    found = application.package(version) if application is not None else None
    if application is None or found is None:
        missing = root / "applications" / application_id(name)
        return Package(application_id(name), version, None, missing)
    target = root / "applications" / application.id.lower() / found[0].lower()
    return Package(application.id, version, found[1], target)


def with_packages(node: Node, packages: Iterable[Package]) -> Wire:
    """The ``detail`` of ``node`` after the installation of ``packages``."""
    noted = [
        {"application": one.application, "version": one.version, "directory": str(one.target)}
        for one in packages
    ]
    return {**node.detail, "packages": noted}


def without_packages(node: Node) -> Wire:
    """The ``detail`` of ``node`` at a boot, after which packages must be installed again."""
    return {name: value for name, value in node.detail.items() if name != "packages"}


def has_packages(node: Node, pool: Wire) -> bool:
    """Whether ``node`` has all packages and file systems of a pool with these settings."""
    return "packages" in node.detail or not (pool.get(PACKAGE_REFERENCES) or pool.get(MOUNTS))


def node_package_variables(node: Node) -> dict[str, str]:
    """The variables of the pool's packages, for all processes on the node."""
    variables: dict[str, str] = {}
    for noted in node.detail.get("packages", ()):
        variables |= _package_variables(noted["application"], noted["version"], noted["directory"])
    return variables


def package_variables(packages: Iterable[Package]) -> dict[str, str]:
    """The variables of a task's packages."""
    variables: dict[str, str] = {}
    for one in packages:
        variables |= _package_variables(one.application, one.version, str(one.target))
    return variables


def _package_variables(application: str, version: str | None, directory: str) -> Mapping[str, Any]:
    name = application if version is None else f"{application}_{version}"
    flat = re.sub(r"[.#-]", "_", name)
    return {_PREFIX + flat: directory, _PREFIX + flat.lower(): directory}


_RESERVED_DISK = "1000000"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """The configuration of all nodes: the account, the search path, limits.

    ``applications`` are the applications of the account, or ``None``. ``cores`` is the number of
    cores of every node. ``limits`` apply to every task, but not to start, preparation and release
    tasks. ``trust`` makes the programs of tasks trust the certificate of the services. ``users``
    are the user ids of tasks, if tasks run as separate users.
    """

    account: str
    url: str
    path: str = NODE_PATH
    applications: Applications | None = None
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    limits: Limits = NO_LIMITS
    trust: TrustFiles | None = None
    users: UserIds | None = None


def node_variables(node_config: NodeConfig, node: Node, root: Path) -> dict[str, str]:
    """The variables of every process on a node."""
    base = str(root)
    return {
        "AZ_BATCH_ACCOUNT_NAME": node_config.account,
        "AZ_BATCH_ACCOUNT_URL": node_config.url,
        "AZ_BATCH_POOL_ID": node.pool_id,
        "AZ_BATCH_NODE_ID": node.id,
        "AZ_BATCH_NODE_IS_DEDICATED": "true" if node.dedicated else "false",
        "AZ_BATCH_NODE_ROOT_DIR": base,
        "AZ_BATCH_NODE_SHARED_DIR": f"{base}/shared",
        "AZ_BATCH_NODE_STARTUP_DIR": f"{base}/startup",
        "AZ_BATCH_NODE_MOUNTS_DIR": f"{base}/fsmounts",
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": _RESERVED_DISK,
        **node_package_variables(node),
    }


def directory_variables(directory: Path) -> dict[str, str]:
    """The variables for the directory of a task."""
    base = str(directory)
    return {
        "AZ_BATCH_TASK_DIR": base,
        "AZ_BATCH_TASK_WORKING_DIR": f"{base}/wd",
        "AZ_BATCH_CERTIFICATES_DIR": f"{base}/certs",
    }


def task_environment(
    node_config: NodeConfig,
    own: Mapping[str, str],
    directory: Path,
    *settings: Iterable[Mapping[str, Any]],
    user: TaskUser | None = None,
) -> dict[str, str]:
    """The complete environment of a task.

    The variables of the system come first, then ``settings`` in order, then the variables ``own``
    of Batch. Later values replace earlier ones, so that no setting replaces a variable of Batch.
    """
    environment = _system_variables(node_config, directory, user)
    for entries in settings:
        environment |= {entry["name"]: entry.get("value") or "" for entry in entries}
    return {**environment, **own, **directory_variables(directory)}


def container_environment(
    node_config: NodeConfig, environment: Mapping[str, str], directory: Path
) -> dict[str, str]:
    """``environment`` without the variables of the node's system, which a container sets itself."""
    system = _system_variables(node_config, directory)
    return {name: value for name, value in environment.items() if system.get(name) != value}


def _system_variables(
    node_config: NodeConfig, directory: Path, user: TaskUser | None = None
) -> dict[str, str]:
    name = AUTO_USER if user is None else user.name
    work = f"{directory}/wd"
    return {
        "PATH": node_config.path,
        "HOME": work,
        "PWD": work,
        "LANG": "C.UTF-8",
        "USER": name,
        "LOGNAME": name,
        "SHELL": "/bin/sh",
        **(node_config.trust.variables() if node_config.trust else {}),
    }
