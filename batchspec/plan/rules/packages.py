"""The application packages that a spec refers to."""

from __future__ import annotations

from collections.abc import Iterator

from batchspec.diagnostics import Diagnostic
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.rules.context import RuleContext
from batchspec.spec import Record, Spec, Value

_TASKS = ("jobManagerTask", "jobPreparationTask", "jobReleaseTask")


def package_references(spec: Spec) -> Iterator[tuple[str, str, str | None]]:
    """Each reference: the path of the part of the spec, the application, and its version.

    The version is ``None`` for the application's default version. References whose names differ
    from task to task are left out.
    """
    yield from _references("pool", spec.pool.properties)
    for key in _TASKS:
        task = spec.job.properties.get(key)
        if isinstance(task, Record):
            yield from _references("job", task)
    for stage in spec.stages:
        yield from _references(f"tasks.{stage.name}", stage.body)


def _references(path: str, body: Record) -> Iterator[tuple[str, str, str | None]]:
    listed: Value = body.get("applicationPackageReferences")
    for item in listed if isinstance(listed, tuple) else ():
        name = item.get("applicationId") if isinstance(item, Record) else None
        version = item.get("version") if isinstance(item, Record) else None
        if isinstance(name, str) and (version is None or isinstance(version, str)):
            yield path, name, version


def missing_packages(scene: RuleContext) -> Iterator[Diagnostic]:
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
