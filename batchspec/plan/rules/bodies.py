"""The bodies of all tasks of a spec, with the positions of their properties in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from batchspec.diagnostics import Place
from batchspec.plan.rules.rule import RuleContext, record
from batchspec.spec import Record, Spec, Stage, Value

_CAPITAL = re.compile(r"(?<=[a-z0-9])[A-Z]")
_LAST = re.compile(r"(?:\.[^.\[\]]+|\[\d+\])$")


@dataclass(frozen=True, slots=True)
class TaskBody:
    """A body of a task as the spec describes it; ``path`` is that of its keys in the spec.

    ``name`` is how messages refer to it. ``stage`` is ``None`` for the start task and the special
    tasks of the job.
    """

    name: str
    path: str
    body: Record
    where: Place
    stage: Stage | None = None


def task_bodies(context: RuleContext) -> Iterator[TaskBody]:
    """The start task, the special tasks of the job, and one body for each stage."""
    spec, job = context.spec, context.spec.job.properties
    if not context.existing:
        start = spec.pool.properties.get("startTask")
        if isinstance(start, Record):
            at = spec.place("pool.start_task") or spec.pool.where
            yield TaskBody("the start task", "pool.start_task", start, at)
    for key, name in (
        ("jobManagerTask", "the job manager task"),
        ("jobPreparationTask", "the job preparation task"),
        ("jobReleaseTask", "the job release task"),
    ):
        task = job.get(key)
        if isinstance(task, Record):
            path = f"job.{rest_to_key(key)}"
            yield TaskBody(name, path, task, spec.place(path) or spec.job.where)
    for stage in spec.stages:
        yield TaskBody(
            f"tasks of {stage.name}", f"tasks.{stage.name}", stage.body, stage.where, stage
        )


def rest_to_key(name: str) -> str:
    """The key of a REST property: ``httpUrl`` → ``http_url``."""
    return _CAPITAL.sub(lambda match: f"_{match.group().lower()}", name)


def place_of(spec: Spec, path: str, default: Place) -> Place:
    """The position of a property, or of the nearest one above it that the file contains."""
    while path:
        if (found := spec.place(path)) is not None:
            return found
        shorter = _LAST.sub("", path)
        path = shorter if shorter != path else ""
    return default


def resource_files(body: Record, path: str) -> Iterator[tuple[str, Record]]:
    """The ResourceFiles of a body, each with its path in the spec."""
    yield from records_at(body, "resourceFiles", path)
    settings = record(body.get("multiInstanceSettings"))
    yield from records_at(settings, "commonResourceFiles", f"{path}.multi_instance_settings")


def records_at(body: Record, key: str, path: str) -> Iterator[tuple[str, Record]]:
    """The objects of a list, each with its path in the spec."""
    listed: Value = body.get(key)
    for number, item in enumerate(listed if isinstance(listed, tuple) else ()):
        if isinstance(item, Record):
            yield f"{path}.{rest_to_key(key)}[{number}]", item
