"""Metadata that batchspec writes to pools, jobs, job schedules, containers and output blobs.

The names of the entries, the client that applied a spec (origin and time), the specs that use a
container, and the reason why a user stopped a task. State is in the account: these entries are what
the next run reads.

The stamp of an output blob is the work that wrote it. The service sets the headers of an output
file's destination when it uploads the file (``OutputFileBlobContainerDestination.uploadHeaders``).
Stamps distinguish results of an earlier version from current ones, and deleted results from those
that were never written.
"""

from __future__ import annotations

import json
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.plan.changes import Difference
from batchspec.plan.identity import content_digest, digest, is_log, rows_digest
from batchspec.plan.observed import Blob, ContainerFacts, JobFacts, Observed
from batchspec.spec import (
    EachBlob,
    Record,
    Rows,
    Spec,
    Text,
    Value,
)

BY = "batchspec:by"
"""``user@host`` of the client that created or last updated a pool, a job or a schedule."""
AT = "batchspec:at"
"""The time at which a spec was applied: ISO 8601, with the offset from UTC."""
ORIGIN = "batchspec:origin"
"""A digest of that client's host name and the absolute path of its spec."""
VERSION = "batchspec:version"
"""The job's digest of the spec with its parameters, and of all files that the spec names.

Equal versions make equal tasks, so that a job without tasks can be compared, too.
"""


@frozen
class Provenance:
    """The client that applied a spec, according to metadata; fields are empty or ``None`` if not
    recorded."""

    by: str
    at: datetime | None
    origin: str
    version: str


def provenance(observed: Observed) -> tuple[Record, ...]:
    """The metadata that record the client and the time of this plan."""
    pairs = provenance_pairs(observed)
    return tuple(Record(name=name, value=value) for name, value in pairs.items())


def provenance_pairs(observed: Observed) -> Mapping[str, str]:
    """The metadata that record the client and the time of this plan, by name."""
    pairs = {BY: observed.origin.by, AT: observed.now.isoformat(), ORIGIN: observed.origin.id}
    return {name: value for name, value in pairs.items() if value}


def read_provenance(metadata: Mapping[str, str]) -> Provenance:
    """The provenance in the metadata of a pool, a job or a schedule."""
    try:
        at = datetime.fromisoformat(metadata.get(AT, ""))
    except ValueError:
        at = None  # Not recorded, or edited by another client.
    return Provenance(metadata.get(BY, ""), at, metadata.get(ORIGIN, ""), metadata.get(VERSION, ""))


def version(spec: Spec, observed: Observed) -> str:
    """The value of :data:`VERSION`; reads all files and rows of the spec once."""
    files = tuple(content_digest(observed.containers[key].files) for key in spec.containers)
    rows = tuple(
        rows_digest(observed.rows[stage.name])
        for stage in spec.stages
        if isinstance(stage.for_each, Rows) and stage.name in observed.rows
    )
    return digest(spec.digest, files, rows)


SPEC = "batchspec:spec"
"""The metadata with the name of the spec that created a pool or a job."""
DIGEST = "batchspec:digest"
"""The metadata with the digest of the properties that a pool or a job was created from."""
START = "batchspec:start"
"""The pool's metadata with the digest of its start task and packages."""
MACHINE = "batchspec:machine"
"""The pool's metadata with the digest of properties that only a pool without nodes can change."""
_OURS = "batchspec:"


def metadata_of(body: Record) -> Mapping[str, Value]:
    """The name and value pairs of a body."""
    return {str(pair["name"]): pair["value"] for pair in body.records("metadata")}


def own_metadata(metadata: Mapping[str, Value]) -> Record:
    """The pairs that a user has set, without those of batchspec."""
    return Record({name: value for name, value in metadata.items() if not name.startswith(_OURS)})


def metadata_differences(body: Record, found: Mapping[str, Value]) -> Iterator[Difference]:
    """The pairs that a user has set and that differ between a body and existing metadata."""
    wanted, existing = own_metadata(metadata_of(body)), own_metadata(found)
    for name in dict.fromkeys((*wanted, *existing)):
        if wanted.get(name) != existing.get(name):
            yield Difference(f"metadata.{name}", wanted.get(name), existing.get(name))


SCOPE = "batchspec:scope"
"""The job's metadata: whether the job contains the ``whole`` run or the ``rest`` of one."""


KEPT = "batchspec:kept"
"""The job's metadata with the number of tasks of the run that succeeded in earlier jobs."""
STAGES = "batchspec:stages"
"""The job's metadata with the numbers of tasks of each stage, if the spec has several stages.

JSON: ``{STAGE: [total, succeeded in earlier jobs, succeeded in an earlier version, failed in
earlier jobs]}``; see :class:`~batchspec.plan.stage_tasks.StageTotals`.
"""


LEFT = "batchspec:left"
"""The job's metadata with the tasks of the run that are not done and not in the job.

JSON: ``[all of them, failed in earlier jobs]``.
"""


def left_before(job: JobFacts) -> tuple[int, int]:
    """The numbers of :data:`LEFT`; 0 if they are not recorded.

    The first is the number of tasks of the run that are neither done nor in the job, the second
    counts those of them that failed in earlier jobs.
    """
    found = re.fullmatch(r"\[(\d+),(\d+)\]", job.metadata.get(LEFT, ""), re.ASCII)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def kept_before(job: JobFacts) -> int:
    """The number of tasks of the run that succeeded in earlier jobs, according to this job."""
    recorded = job.metadata.get(KEPT, "")
    return int(recorded) if recorded.isdecimal() else 0


KEEPS = "batchspec:keeps"
"""The job's metadata with the stages whose tasks of earlier versions are kept.

The value has a digest for each stage (:func:`~batchspec.plan.ingredients.definitions`), separated
by spaces. After a later change of the stage, the digest differs and its tasks are not kept.
"""
UNTIL = "batchspec:until"
"""The pool's metadata with the time until which its nodes can read the files of their start task
(RFC 3339)."""
POOL_DIGEST = "batchspec:pool"
"""The schedule's metadata with the digest of the pool that has the schedule's lifetime."""


def scope_is_whole(job: JobFacts) -> bool:
    """Whether a job was created for every task of the run."""
    return job.metadata.get("batchspec:scope", "whole") == "whole"


def from_elsewhere(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether metadata name an origin other than that of this client."""
    theirs, own = found.get(ORIGIN), wanted.get(ORIGIN)
    return bool(theirs and own) and theirs != own


def is_other_run(found: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Whether the metadata of a job belong to a run other than the run that creates a job.

    For a job or container that another client created after the plan was made, and whose tasks are
    not known.
    """
    return from_elsewhere(found, wanted) and found.get(VERSION) != wanted.get(VERSION)


OWNER = "batchspec_spec"
"""The metadata name of the spec that created a container (names are C# identifiers there)."""
USERS = "batchspec_users"
"""The metadata name of all specs that use it: their names, separated by commas."""


APPLIED = "batchspec_applied"
"""The metadata name of the clients that applied the specs that use a container, as JSON.

``{SPEC: {"by": ..., "at": ..., "origin": ..., "version": ...}}``, in ASCII, since storage sends
metadata as headers. The members are those of :data:`BY`, :data:`AT`, :data:`ORIGIN` and
:data:`VERSION` of a job.
"""
_APPLIED_NAMES = (BY, AT, ORIGIN, VERSION)


def created_by(name: str, applied: Mapping[str, str]) -> Mapping[str, str]:
    """The metadata of a container that a spec creates; ``applied``: see :func:`with_user`."""
    created = {OWNER: name, USERS: _joined_names((name,))}
    return {**created, APPLIED: _applied_text({name: applied})} if applied else created


def applied_to(metadata: Mapping[str, str], name: str) -> Mapping[str, str]:
    """The client that applied a spec to a container, as pairs of a job's metadata."""
    return _all_applied(metadata).get(name, {})


def _all_applied(metadata: Mapping[str, str]) -> dict[str, Mapping[str, str]]:
    return {
        spec: {f"{_OURS}{key}": str(value) for key, value in members.items()}
        for spec, members in json_object(metadata.get(APPLIED, "")).items()
        if isinstance(members, dict)
    }


def _applied_text(applied: Mapping[str, Mapping[str, str]]) -> str:
    return json.dumps(
        {
            spec: {key.removeprefix(_OURS): pairs[key] for key in _APPLIED_NAMES if key in pairs}
            for spec, pairs in applied.items()
        }
    )


MOST_METADATA = 8_000
"""Characters of all metadata of a container, names and values. Azure Storage accepts 8 KiB."""


def _latest_applied(
    earlier: Mapping[str, Mapping[str, str]], name: str, applied: Mapping[str, str], room: int
) -> str:
    """The value of :data:`APPLIED` with a spec and the latest of the other specs in ``room``."""
    own = {name: applied}
    others = sorted(
        ((spec, pairs) for spec, pairs in earlier.items() if spec != name),
        key=lambda other: other[1].get(AT, ""),
    )
    while others and len(_applied_text({**dict(others), **own})) > room:
        del others[0]
    return _applied_text({**dict(others), **own})


def users(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The names of the specs that use a container; without a record of them, of its creator."""
    if USERS in metadata:
        return tuple(name for name in metadata[USERS].split(",") if name)
    return (metadata[OWNER],) if metadata.get(OWNER) else ()


def others(metadata: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The names of the other specs that use a container."""
    return tuple(user for user in users(metadata) if user != name)


def may_delete(metadata: Mapping[str, str], name: str) -> bool:
    """Whether a spec created the container, and only the spec of that name uses it."""
    return OWNER in metadata and users(metadata) == (name,)


def with_user(
    metadata: Mapping[str, str], name: str, applied: Mapping[str, str]
) -> Mapping[str, str] | None:
    """The metadata with this user and the client that applied it; ``None`` if they do not change.

    ``applied`` are the provenance and the version of the spec, by the names of a job's metadata.
    A container that no spec created is never deleted, so nothing is recorded there.
    """
    new = name not in users(metadata)
    if OWNER not in metadata or not (new or from_elsewhere(applied_to(metadata, name), applied)):
        return None
    joined = _joined_names((*users(metadata), name) if new else users(metadata))
    changed = {**metadata, USERS: joined}
    if applied:
        changed[APPLIED] = ""
        room = MOST_METADATA - sum(len(key) + len(value) for key, value in changed.items())
        changed[APPLIED] = _latest_applied(_all_applied(metadata), name, applied, room)
    return changed


def without_user(metadata: Mapping[str, str], name: str) -> Mapping[str, str] | None:
    """The metadata without a user; ``None`` if they need no change."""
    if name not in users(metadata):
        return None
    changed = {**metadata, USERS: _joined_names(others(metadata, name))}
    if APPLIED in metadata:
        left = {spec: pairs for spec, pairs in _all_applied(metadata).items() if spec != name}
        changed[APPLIED] = _applied_text(left)
    return changed


def _joined_names(names: tuple[str, ...]) -> str:
    # The service refuses an empty value.
    return ",".join(names) or ","


_STOPPED = "batchspec:stopped:"
"""Metadata of a job: the prefix of the id of a task that was ended. The service has no other place
for the reason."""
_MOST_STOPPED = 50
"""The number of tasks for which the reason is recorded; each is an entry of the job's metadata."""
_LONGEST_REASON = 400
"""Characters of a reason; the reference gives no limit of ``terminateReason``."""


def stop_reason(by: str, reason: str) -> str:
    """The recorded reason: ``stopped by ada@host: wrong input``."""
    words = " ".join(reason.split())[:_LONGEST_REASON]
    return f"stopped by {by}" + (f": {words}" if words else "")


def stopped_metadata(job: JobFacts, tasks: Sequence[str], reason: str) -> Record:
    """The body of Update Job that adds the reason why these tasks were ended to the metadata."""
    earlier = {name: value for name, value in job.metadata.items() if name.startswith(_STOPPED)}
    added = {f"{_STOPPED}{task}": reason for task in tasks}
    kept = dict([*earlier.items(), *added.items()][-_MOST_STOPPED:])
    other = {name: value for name, value in job.metadata.items() if name not in earlier}
    pairs = [Record(name=name, value=value) for name, value in {**other, **kept}.items()]
    return Record(metadata=tuple(pairs))


def why_stopped(metadata: Mapping[str, str], task: str) -> str:
    """The reason why a user ended a task of a job with this metadata; empty if not recorded."""
    return metadata.get(f"{_STOPPED}{task}", "")


STAMP = "batchspec_work"
"""The name of the metadata. It must be a C# identifier."""
_HEADER = f"x-ms-meta-{STAMP}"


def stamped(files: tuple[Value, ...], work: Value) -> tuple[Value, ...]:
    """Output files that stamp the blobs that they upload; logs do not change."""
    return tuple(file if is_log(file) else _stamped(file, work) for file in files)


def unstamped(files: tuple[Value, ...]) -> tuple[Value, ...]:
    """Output files without their stamps."""
    return tuple(_stamped(file, None) for file in files)


def _stamped(file: Value, work: Value) -> Value:
    target = destination_of(file)
    if target is None or not isinstance(file, Record):
        return file
    others = [each for each in target.records("uploadHeaders") if each.get("name") != _HEADER]
    ours = [] if work is None else [Record(name=_HEADER, value=work)]
    target = target.with_(uploadHeaders=(*others, *ours) or None)
    return file.with_(destination=Record(container=target))


def destination_of(file: Value) -> Record | None:
    """The container destination of an output file (``OutputFileBlobContainerDestination``)."""
    target = file.record("destination", "container") if isinstance(file, Record) else None
    return target or None


def container_of(url: Value) -> str | None:
    """The container of the account that a URL names; ``None`` of another URL."""
    found = [each.container for each in url.urls()] if isinstance(url, Text) else []
    return found[0] if len(found) == 1 else None


def containers_written(body: Record) -> Iterator[str]:
    """The containers (ids) that a task with this body uploads to when it succeeds."""
    for file in body.records("outputFiles"):
        container = container_of(file.record("destination", "container").get("containerUrl"))
        condition = file.string("uploadOptions", "uploadCondition")
        if container is not None and condition != "taskfailure" and not is_log(file):
            yield container


def input_containers(spec: Spec) -> frozenset[str]:
    """The containers (keys) that the spec uploads to or that nodes and tasks read from."""
    uploads = {key for key, container in spec.containers.items() if container.upload}
    sources = {s.for_each.container for s in spec.stages if isinstance(s.for_each, EachBlob)}
    resources = {key for stage in spec.stages for key in stage.resources or ()}
    return frozenset(uploads | sources | resources).union(spec.node_containers)


class WorkSet:
    """Digests of work, eight bytes each."""

    def __init__(self, works: Iterable[str]) -> None:
        self._works = array("Q", sorted(int(work, 16) for work in works if work))

    def __contains__(self, work: str) -> bool:
        number = work_number(work)
        return number is not None and self._has(number)

    def others(self, numbers: Iterable[int]) -> int:
        """The number of these digests (as numbers) that are not in the set."""
        return sum(not self._has(number) for number in numbers)

    def _has(self, number: int) -> bool:
        at = bisect_left(self._works, number)
        return at < len(self._works) and self._works[at] == number


def work_number(work: str) -> int | None:
    """A digest of work as a number of 64 bits; ``None`` if it is empty or no digest."""
    try:
        number = int(work, 16)
    except ValueError:
        return None
    return number if 0 <= number < 1 << 64 else None


@dataclass(slots=True)
class Written:
    """The known facts about the blobs that tasks wrote to the containers of a spec."""

    spec: Spec
    containers: Mapping[str, ContainerFacts]
    _known: dict[str, tuple[WorkSet, bool]] = field(default_factory=dict)

    def lacks(self, body: Record, work: str, among: frozenset[str]) -> bool:
        """Whether the outputs of a task of this work no longer exist in one of these containers.

        ``body`` is that of Create Task, ``among`` are keys of containers. Without containers, the
        members of ``body`` are not read. If a blob in the container has no stamp, its task is not
        known, and nothing counts as missing.
        """
        ids = {self.spec.container_id(key): key for key in among}
        for container in containers_written(body) if ids else ():
            key = ids.get(container)
            if key is not None:
                works, unknown = self._of(key)
                if not unknown and work not in works:
                    return True
        return False

    def _of(self, key: str) -> tuple[WorkSet, bool]:
        if key not in self._known:
            blobs = self.containers[key].blobs
            unknown = any(not blob.work for blob in blobs)
            self._known[key] = WorkSet(blob.work for blob in blobs), unknown
        return self._known[key]


def is_stale(blob: Blob, works: WorkSet) -> bool:
    """Whether a task with other work than ``works`` wrote the blob."""
    return bool(blob.work) and blob.work not in works
