"""The environment variables of a task, as a Linux node sets them.

Source: the article "Azure Batch runtime environment variables". A task sees these, the settings of
its job and its own, and nothing of the service's environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from batchspec.local.engine.application_packages import node_package_variables
from batchspec.local.model import Node
from batchspec.local.settings import NO_LIMITS, Limits
from batchspec.local.store import Applications

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The search path for programs on a node."""
_RESERVED_DISK = "1000000"


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What is the same on all nodes: the account, the search path, limits.

    ``applications`` are those of the account, ``None`` if it has none. ``cores`` are those of every
    node. ``limits`` apply to every task, but not to start, preparation and release tasks.
    """

    account: str
    url: str
    path: str = PATH
    applications: Applications | None = None
    cores: int = field(default_factory=lambda: os.cpu_count() or 1)
    limits: Limits = NO_LIMITS


def node_variables(node_config: NodeConfig, node: Node, root: Path) -> dict[str, str]:
    """The variables of every process on a node."""
    return {
        "AZ_BATCH_ACCOUNT_NAME": node_config.account,
        "AZ_BATCH_ACCOUNT_URL": node_config.url,
        "AZ_BATCH_POOL_ID": node.pool_id,
        "AZ_BATCH_NODE_ID": node.id,
        "AZ_BATCH_NODE_IS_DEDICATED": "true" if node.dedicated else "false",
        "AZ_BATCH_NODE_ROOT_DIR": str(root),
        "AZ_BATCH_NODE_SHARED_DIR": f"{root}/shared",
        "AZ_BATCH_NODE_STARTUP_DIR": f"{root}/startup",
        "AZ_BATCH_NODE_MOUNTS_DIR": f"{root}/fsmounts",
        "AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": _RESERVED_DISK,
        **node_package_variables(node),
    }


def directory_variables(directory: Path) -> dict[str, str]:
    """The variables for the directory of a task."""
    return {
        "AZ_BATCH_TASK_DIR": str(directory),
        "AZ_BATCH_TASK_WORKING_DIR": f"{directory}/wd",
        "AZ_BATCH_CERTIFICATES_DIR": f"{directory}/certs",
    }


def task_environment(
    node_config: NodeConfig,
    own: Mapping[str, str],
    directory: Path,
    *settings: Iterable[Mapping[str, Any]],
) -> dict[str, str]:
    """The complete environment: the system's, then ``settings`` in turn, then Batch's ``own``.

    Later values win, so that no setting replaces a variable of the service.
    """
    environment = _system_variables(node_config, directory)
    for entries in settings:
        environment |= {entry["name"]: entry.get("value") or "" for entry in entries}
    return {**environment, **own, **directory_variables(directory)}


def container_environment(
    node_config: NodeConfig, environment: Mapping[str, str], directory: Path
) -> dict[str, str]:
    """``environment`` without the variables of the node's system: a container has its own."""
    system = _system_variables(node_config, directory)
    return {name: value for name, value in environment.items() if system.get(name) != value}


def _system_variables(node_config: NodeConfig, directory: Path) -> dict[str, str]:
    return {
        "PATH": node_config.path,
        "HOME": f"{directory}/wd",
        "PWD": f"{directory}/wd",
        "LANG": "C.UTF-8",
        "USER": "_azbatch",
        "LOGNAME": "_azbatch",
        "SHELL": "/bin/sh",
    }
