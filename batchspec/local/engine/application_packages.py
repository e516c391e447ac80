"""Application packages of pools and tasks: source, target directory and environment variables.

Sources for the names of the variables: the article "Deploy applications to compute nodes" (periods,
hyphens and number signs become underscores, the id keeps its case) and "Azure Batch runtime
environment variables" (all in lower case). They contradict each other, so both names are set.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from batchspec.local.agent import Package
from batchspec.local.model import Node, Wire
from batchspec.local.store import Applications, application_id

PACKAGE_REFERENCES = "applicationPackageReferences"
_PREFIX = "AZ_BATCH_APP_PACKAGE_"


def referenced_packages(
    body: Wire, applications: Applications | None, root: Path
) -> tuple[Package, ...]:
    """The packages that ``body``, of a pool or a task, references, on the node at ``root``."""
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
    """The detail of ``node`` after ``packages`` were installed on it."""
    noted = [
        {"application": one.application, "version": one.version, "directory": str(one.target)}
        for one in packages
    ]
    return {**node.detail, "packages": noted}


def without_packages(node: Node) -> Wire:
    """The detail of ``node`` when it boots: its packages must be checked again."""
    return {name: value for name, value in node.detail.items() if name != "packages"}


def has_packages(node: Node, pool: Wire) -> bool:
    """Whether nothing has to be installed on ``node`` for a pool with this body."""
    return "packages" in node.detail or not pool.get(PACKAGE_REFERENCES)


def node_package_variables(node: Node) -> dict[str, str]:
    """The variables of the pool's packages, for everything that runs on the node."""
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
