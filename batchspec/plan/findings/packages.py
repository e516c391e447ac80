"""Application packages that the account does not have."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.plan.findings.catalogue import finding
from batchspec.plan.findings.scene import Scene
from batchspec.plan.packages import package_references


def packages(scene: Scene) -> Iterator[Diagnostic]:
    """References to an application or a version of it that the account does not have.

    Whether an application has a default version, the Batch service does not show.
    """
    known = scene.observed.applications
    if known is None:
        return
    versions = {name.lower(): tuple(map(str.lower, found)) for name, found in known.items()}
    for path, name, version in dict.fromkeys(package_references(scene.spec)):
        found = versions.get(name.lower())
        if found is not None and (version is None or version.lower() in found):
            continue
        what = f"application {name!r}"
        what = what if found is None else f"version {version!r} of the {what}"
        has = ", ".join(found or sorted(known)) or "none"
        yield finding(
            "missing-package",
            f"the account has no {what}",
            detail=f"{'Applications' if found is None else 'Versions'} of the account: {has}",
            where=scene.spec.place(f"{path}.application_package_references", path),
        )
