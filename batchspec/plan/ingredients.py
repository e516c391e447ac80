"""The ingredients of work, by name: which of them has changed since a job or pool was created.

A digest of work shows that a task has changed, but not which part. Jobs and pools therefore record
a short digest of each ingredient; a plan compares them with those of the spec and names the
differences. Secrets are not ingredients.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence

from batchspec.diagnostics import Secret
from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.plan.identity import content_digest, covered, digest, image_of, with_sources
from batchspec.plan.items import items
from batchspec.plan.observed import Observed
from batchspec.plan.tasks import mentions
from batchspec.spec import Record, Spec, Stage, Value

PARTS = "batchspec:parts"
"""The metadata with the ingredients: JSON ``{NAME: DIGEST}``."""

_DIGITS = 8
"""Hexadecimal digits: two versions of an ingredient have equal digests once in four billion."""
_SINGLY = 50
"""A container with more files counts as one ingredient, so that metadata stay short."""
_NAMES = {
    "environmentSettings": "environment",
    "containerSettings": "container image",
    "applicationPackageReferences": "packages",
    "multiInstanceSettings": "multi-instance settings",
    "resourceFiles": "resource files",
    "outputFiles": "outputs",
}
"""The properties of a task that its work covers, in words."""
_NEEDS, _RESOURCES = "needs", "resources"
_COMMON = (_POOL_PACKAGES, _JOB_ENVIRONMENT, _NODE_RESOURCES) = (
    "packages of the pool",
    "environment of the job",
    "resources of the nodes",
)
"""The properties of the pool and the job that the work of all tasks covers."""


@frozen
class Ingredient:
    """A part of a spec that work depends on; ``stage`` and ``container`` are empty if of none."""

    name: str
    digest: str
    stage: str = ""
    container: str = ""
    parameter: str = ""


def ingredients(spec: Spec, observed: Observed) -> Iterator[Ingredient]:
    """All ingredients of a spec."""
    for stage in spec.stages:
        yield from _of_stage(stage)
    for name, value in spec.parameters.items():
        if not isinstance(value, Secret):
            yield Ingredient(f"parameter {name}", _short(value), parameter=name)
    keys = (key for stage in spec.stages for key in stage.resources or ())
    yield from _of_containers(spec, observed, dict.fromkeys((*spec.node_containers, *keys)))
    yield Ingredient("image", _short(image_of(spec)))
    if packages := spec.pool.properties.get("applicationPackageReferences"):
        yield Ingredient(_POOL_PACKAGES, _short(packages))
    if settings := spec.job.properties.get("commonEnvironmentSettings"):
        yield Ingredient(_JOB_ENVIRONMENT, _short(with_sources(settings)))
    if spec.setup_containers:
        yield Ingredient(_NODE_RESOURCES, _short(tuple(spec.setup_containers)))


def _of_stage(stage: Stage) -> Iterator[Ingredient]:
    command = (stage.command.template, *stage.command.arguments)
    name = stage.name
    yield Ingredient(f"command of {name}", _short(tuple(map(with_sources, command))), name)
    for what, keys in ((_NEEDS, sorted(stage.needs)), (_RESOURCES, stage.resources)):
        if keys:
            yield Ingredient(f"{what} of {name}", _short(tuple(keys)), name)
    for key, value in covered(stage.body).items():
        yield Ingredient(f"{_NAMES[key]} of {name}", _short(with_sources(value)), name)


def _of_containers(spec: Spec, observed: Observed, keys: Iterable[str]) -> Iterator[Ingredient]:
    """The files in containers that nodes or all tasks of a stage read."""
    for key in keys:
        container, facts = spec.containers[key], observed.containers[key]
        if container.upload and len(facts.files) <= _SINGLY:
            for file in facts.files:
                found = f"{file.size} {file.md5.hex()}"
                yield Ingredient(f"file {key}/{file.blob}", _short(found), container=key)
        elif container.upload:
            content = content_digest(facts.files)
            yield Ingredient(f"files of {key}", _short(content), container=key)
        elif container.existing:
            blobs = tuple((b.name, b.size, b.content.hex()) for b in facts.blobs)
            yield Ingredient(f"blobs of {key}", _short(blobs), container=key)


def _short(value: Value) -> str:
    return digest(value)[:_DIGITS]


def parts_of_job(spec: Spec, observed: Observed) -> str:
    """The value of :data:`PARTS` of a job."""
    return _text(ingredients(spec, observed))


def parts_of_pool(spec: Spec, observed: Observed) -> str:
    """The value of :data:`PARTS` of a pool: the files that its nodes start with; may be empty."""
    found = tuple(_of_containers(spec, observed, spec.pool.start_containers))
    return _text(found) if found else ""


def _text(found: Iterable[Ingredient]) -> str:
    return json.dumps({each.name: each.digest for each in found}, separators=(",", ":"))


def read_parts(metadata: Mapping[str, Value]) -> Mapping[str, str]:
    """The ingredients that metadata records, by name; empty if there are none."""
    return json_object(str(metadata.get(PARTS, "")))


def changed_parts(found: Mapping[str, Value], wanted: Mapping[str, Value]) -> tuple[str, ...]:
    """The names of the ingredients that differ between two metadata, if both record them."""
    there, here = read_parts(found), read_parts(wanted)
    if not there or not here:
        return ()
    return tuple(name for name in {**here, **there} if there.get(name) != here.get(name))


def changed_files(spec: Spec, observed: Observed, found: Mapping[str, Value]) -> tuple[str, ...]:
    """The names of files for nodes that differ from those that the metadata of a job record."""
    there = read_parts(found)
    keys = dict.fromkeys(spec.node_containers)
    files = {each.name: each.digest for each in _of_containers(spec, observed, keys)}
    return tuple(name for name, value in files.items() if there and there.get(name) != value)


def changes_of_stage(
    spec: Spec, stage: Stage, observed: Observed, found: Mapping[str, Value]
) -> tuple[str, ...]:
    """What has changed in the work of a stage since a job with these metadata was applied."""
    there = read_parts(found)
    if not there:
        return ()
    here = tuple(ingredients(spec, observed))
    names = {each.name for each in here if _concerns(spec, stage, each)}
    # A file, a property or a need that was removed is in the record only.
    keys = (*spec.setup_containers, *(stage.resources or ()))
    prefixes = tuple(f"file {key}/" for key in keys)
    own = f" of {stage.name}"
    words = (_NEEDS, _RESOURCES, *_NAMES.values())
    stages = (stage.name, *needed_stages(spec, stage))
    properties = {*(f"{word} of {name}" for word in words for name in stages), *_COMMON}
    removed = (name for name in there if name.startswith(prefixes) or name in properties)
    digests = {each.name: each.digest for each in here}
    return tuple(
        name.removesuffix(own)
        for name in dict.fromkeys((*digests, *removed))
        if (name in names or name not in digests) and there.get(name) != digests.get(name)
    )


def definitions(spec: Spec, observed: Observed) -> Mapping[str, str]:
    """For each stage, a digest of everything that its work depends on, except its own items. An
    item that is added to a needed stage runs, and then the tasks that need it. Only the number of
    items shows that an item was removed.
    """
    found = tuple(ingredients(spec, observed))
    stages = {stage.name: stage for stage in spec.stages}
    return {
        name: digest(
            name,
            Record({each.name: each.digest for each in found if _concerns(spec, stage, each)}),
            Record({x: len(items(spec, stages[x], observed)) for x in needed_stages(spec, stage)}),
        )
        for name, stage in stages.items()
    }


def _concerns(spec: Spec, stage: Stage, each: Ingredient) -> bool:
    """Whether the work of a stage depends on an ingredient."""
    if each.stage:
        return each.stage == stage.name or each.stage in needed_stages(spec, stage)
    if each.parameter:
        stages = [other for other in spec.stages if other.name in needed_stages(spec, stage)]
        return any(_mentions(other, each.parameter) for other in (stage, *stages))
    return not each.container or each.container in (
        *spec.setup_containers,
        *(stage.resources or ()),
    )


def _mentions(stage: Stage, parameter: str) -> bool:
    command = (stage.command.template, *stage.command.arguments)
    return any(mentions(value, parameter) for value in (*command, stage.id, stage.body))


def needed_stages(spec: Spec, stage: Stage) -> frozenset[str]:
    """The names of the stages that a stage needs, directly and indirectly."""
    stages = {each.name: each for each in spec.stages}
    found: set[str] = set()
    left = list(stage.needs)
    while left:
        name = left.pop()
        if name not in found and name in stages:
            found.add(name)
            left += stages[name].needs
    return frozenset(found)


def named_changes(changes: Sequence[str], total: int | None = None) -> str:
    """The first of the changes and the number of the others: ``command and 2 more``.

    ``total`` is their number, if ``changes`` are only the first of them.
    """
    more = (len(changes) if total is None else total) - 1
    first = "".join(changes[:1])
    return f"{first} and {more:,} more" if first and more > 0 else first
