"""The definition of a run: everything that all tasks have in common, as one digest.

`batchspec retry` keeps tasks that an earlier version of the program has run. Its job records for
which definition they are kept, so that `apply` counts them as done as long as the definition is
the same. What belongs to single items (the content of their files) is compared item by item.
"""

from __future__ import annotations

from batchspec.diagnostics import Secret
from batchspec.plan.digest import content_digest, digest
from batchspec.plan.observed import Observed
from batchspec.spec import Record, Spec, Stage, Template, Value

KEEPS = "batchspec:keeps"
"""The job's metadata with the definition for which tasks of earlier versions are kept."""

_SET = ("applicationPackageReferences", "virtualMachineConfiguration")
"""What of a pool the work of its tasks depends on."""


def definition(spec: Spec, observed: Observed) -> str:
    """The digest of a spec's stages, parameters, image and shared files."""
    around = (*spec.pool.start_containers, *spec.job.prepare_containers)
    shared = dict.fromkeys((*around, *(key for s in spec.stages for key in s.resources or ())))
    return digest(
        tuple(map(_stage, spec.stages)),
        Record({k: v for k, v in spec.parameters.items() if not isinstance(v, Secret)}),
        spec.pool.image.name if spec.pool.image is not None else None,
        tuple(_plain(spec.pool.properties.get(key)) for key in _SET),
        _plain(spec.job.properties.get("commonEnvironmentSettings")),
        tuple((key, content_digest(observed.containers[key].files)) for key in shared),
    )


def _stage(stage: Stage) -> Value:
    command = stage.command
    return (
        stage.name,
        _plain(command.template),
        tuple(map(_plain, command.arguments)),
        _plain(stage.id),
        _plain(stage.body),
        stage.resources,
        stage.needs,
    )


def _plain(value: Value) -> Value:
    """A value with the source text of its templates."""
    match value:
        case Template(source=source):
            return source
        case Record():
            return Record({key: _plain(item) for key, item in value.items()})
        case tuple():
            return tuple(map(_plain, value))
    return value
