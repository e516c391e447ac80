"""The application packages that a spec refers to."""

from __future__ import annotations

from collections.abc import Iterator

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
