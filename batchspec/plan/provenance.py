"""Who applied a spec, from where and when: metadata of pools, jobs and job schedules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from batchspec.plan.digest import content_digest, digest
from batchspec.plan.observed import Observed
from batchspec.spec import Record, Rows, Spec

BY = "batchspec:by"
"""``user@host`` of the client that created or last updated a pool, a job or a schedule."""
AT = "batchspec:at"
"""When it did so: ISO 8601, with the offset from UTC."""
ORIGIN = "batchspec:origin"
"""A digest of that client's host name and the absolute path of its spec."""
VERSION = "batchspec:version"
"""The job's digest of the spec with its parameters, and of all files that the spec names.

Equal versions make equal tasks, so that a job without tasks can be compared, too.
"""


@dataclass(frozen=True, slots=True)
class Provenance:
    """What the metadata record; each is empty, or ``None``, where they do not."""

    by: str
    at: datetime | None
    origin: str
    version: str


def provenance(observed: Observed) -> tuple[Record, ...]:
    """The metadata that record who plans this, and when."""
    pairs = {BY: observed.origin.by, AT: observed.now.isoformat(), ORIGIN: observed.origin.id}
    return tuple(Record(name=name, value=value) for name, value in pairs.items() if value)


def read_provenance(metadata: Mapping[str, str]) -> Provenance:
    """What the metadata of a pool, a job or a schedule record."""
    try:
        at = datetime.fromisoformat(metadata.get(AT, ""))
    except ValueError:
        at = None  # Not recorded, or edited by another client.
    return Provenance(metadata.get(BY, ""), at, metadata.get(ORIGIN, ""), metadata.get(VERSION, ""))


def version(spec: Spec, observed: Observed) -> str:
    """The value of :data:`VERSION`; goes through all files and rows of the spec once."""
    files = tuple(content_digest(observed.containers[key].files) for key in spec.containers)
    rows = tuple(
        _rows(observed.rows[stage.name])
        for stage in spec.stages
        if isinstance(stage.for_each, Rows) and stage.name in observed.rows
    )
    return digest(spec.digest, files, rows)


def _rows(rows: Iterable[Record]) -> str:
    """A digest of rows, which may be millions."""
    hasher = hashlib.sha256()
    for row in rows:
        hasher.update(digest(row).encode())
    return hasher.hexdigest()
