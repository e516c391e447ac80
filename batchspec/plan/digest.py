"""Stable digests: the same content gives the same digest on every machine at any time.

Signatures, secret values, account names and modification times are never part of a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

from batchspec.diagnostics import Secret
from batchspec.plan.observed import LocalFile, Observed
from batchspec.spec import Record, Spec, Stage, Template, Text, Value, thaw

_LENGTH = 16
"""Hexadecimal digits kept: 64 bits distinguish the states of a pool or job."""


def digest(*values: Value) -> str:
    """A short hexadecimal digest of JSON values, deferred texts by what they say."""
    hasher = hashlib.sha256()
    for value in values:
        plain = thaw(value, Text.identity)
        hasher.update(json.dumps(plain, sort_keys=True, separators=(",", ":")).encode())
        hasher.update(b"\n")
    return hasher.hexdigest()[:_LENGTH]


def content_digest(files: Iterable[LocalFile]) -> str:
    """A digest of files by name and content."""
    hasher = hashlib.sha256()
    for file in files:
        hasher.update(file.blob.encode() + b"\0" + file.md5)
    return hasher.hexdigest()[:_LENGTH]


_POOL_PROPERTIES = ("applicationPackageReferences", "virtualMachineConfiguration")
"""What of a pool the work of its tasks depends on."""


def run_definition(spec: Spec, observed: Observed) -> str:
    """The digest of a spec's stages, parameters, image and shared files."""
    around = (*spec.pool.start_containers, *spec.job.prepare_containers)
    shared = dict.fromkeys((*around, *(key for s in spec.stages for key in s.resources or ())))
    return digest(
        tuple(map(_stage_value, spec.stages)),
        Record({k: v for k, v in spec.parameters.items() if not isinstance(v, Secret)}),
        spec.pool.image.name if spec.pool.image is not None else None,
        tuple(_with_sources(spec.pool.properties.get(key)) for key in _POOL_PROPERTIES),
        _with_sources(spec.job.properties.get("commonEnvironmentSettings")),
        tuple((key, content_digest(observed.containers[key].files)) for key in shared),
    )


def _stage_value(stage: Stage) -> Value:
    command = stage.command
    return (
        stage.name,
        _with_sources(command.template),
        tuple(map(_with_sources, command.arguments)),
        _with_sources(stage.id),
        _with_sources(stage.body),
        stage.resources,
        stage.needs,
    )


def _with_sources(value: Value) -> Value:
    """A value with the source text of its templates."""
    match value:
        case Template(source=source):
            return source
        case Record():
            return Record({key: _with_sources(item) for key, item in value.items()})
        case tuple():
            return tuple(map(_with_sources, value))
    return value
