"""What a plan rests on: facts by name, in a form that tells what moved and holds no secret.

Two plans of the same grounds are the same plan. That tasks start and succeed is no ground of its
own, nor is the number of nodes of a pool that scales itself: both move all the time, and what they
mean for a plan shows in its steps. What is large is a count and a digest; only of a few are the
members told apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from batchspec.diagnostics import Diagnostics, Secret
from batchspec.plan.digest import digest
from batchspec.plan.images import resolve_image
from batchspec.plan.live import ABSENT, job_ground, pool_ground, schedule_ground, told
from batchspec.plan.observed import Blob, ContainerFacts, LocalFile, Observed, Stream, TaskIndex
from batchspec.plan.plan import Ground, Step
from batchspec.spec import ImageAlias, Record, Rows, Spec, Value

SINGLY = 500
"""Of so many members at most each is told apart; of more, only their number, size and digest."""


def grounds(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Mapping[str, Ground]:
    """The grounds of a plan, by what they are called in the user's words."""
    return dict(_grounds(spec, observed, steps))


def _grounds(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Iterator[tuple[str, Ground]]:
    account = observed.account
    yield "the account", Ground(f"{account.target}: {account.batch}, {account.storage}")
    yield "the spec", Ground(f"#{spec.digest}")
    for name, value in spec.parameters.items():
        if not isinstance(value, Secret):
            yield f"parameter {name}", Ground(told(value))
    yield from _data(spec, observed)
    if isinstance(spec.pool.image, ImageAlias):
        size = spec.pool.properties.get("vmSize")
        yield f"image {spec.pool.image.name}", _image(spec.pool.image, observed, size)
    yield f"pool {spec.pool.id}", pool_ground(observed.pool)
    if observed.schedule is not None:
        yield f"schedule {observed.schedule.id}", schedule_ground(observed.schedule)
    if spec.job.schedule is None:
        yield from _work(spec, observed)
    yield (
        "the steps",
        Ground("#" + digest(tuple((s.id, s.verb, s.reason, s.items) for s in steps))),
    )


def _work(spec: Spec, observed: Observed) -> Iterator[tuple[str, Ground]]:
    """Jobs, tasks and results; those of a schedule come and go by themselves."""
    names = ", ".join(job.id for job in observed.jobs)
    yield f"the jobs of {spec.job.id}", Ground(names or ABSENT)
    for job in observed.jobs:
        yield f"job {job.id}", job_ground(job)
    if observed.tasks is not None:
        yield f"the tasks of {spec.job.id}", _tasks(observed.tasks)
    yield "the results on this disk", _results(observed)


def _data(spec: Spec, observed: Observed) -> Iterator[tuple[str, Ground]]:
    """The grounds that are files and blobs."""
    for key, container in spec.containers.items():
        facts = observed.containers[key]
        yield f"container {container.id}", _container(facts)
        if container.upload:
            yield f"the files for {container.id}", _listing("file", map(_file, facts.files))
        if facts.exists:
            yield f"the blobs of {container.id}", _listing("blob", map(_blob, facts.blobs))
    for stage in spec.stages:
        if isinstance(stage.for_each, Rows) and stage.name in observed.rows:
            name = f"the rows of {stage.for_each.path.name} (stage {stage.name})"
            yield name, _rows(observed.rows[stage.name])


def _container(facts: ContainerFacts) -> Ground:
    if facts.metadata is None:
        return Ground(ABSENT)
    pairs = sorted(facts.metadata.items())
    return Ground("there", tuple((f"metadata.{name}", told(text)) for name, text in pairs))


def _image(alias: ImageAlias, observed: Observed, size: Value) -> Ground:
    found = resolve_image(alias, observed.images, observed.now, Diagnostics(), size)
    reference = found.get("imageReference")
    words = [*reference.values()] if isinstance(reference, Record) else []
    return Ground(":".join(map(str, [*words, found.get("nodeAgentSKUId", ABSENT)])))


def _results(observed: Observed) -> Ground:
    receipt = observed.receipt
    if receipt is None:
        return Ground(ABSENT)
    return Ground(f"{receipt.files} of job {receipt.job}, {receipt.missing} gone or changed")


def _file(file: LocalFile) -> _Member:
    return _Member(file.blob, file.size, f"{file.md5.hex()} {file.content_type or ''}".strip())


def _blob(blob: Blob) -> _Member:
    # Where the service keeps no MD5, a blob that was written again is another.
    modified = blob.modified.isoformat() if blob.modified else ""
    return _Member(blob.name, blob.size, blob.md5.hex() if blob.md5 else modified)


def _tasks(index: TaskIndex) -> Ground:
    """Which tasks there are, in which job, and which of them failed."""

    def members() -> Iterator[_Member]:
        for name, job, succeeded in index.ends():
            yield _Member(name, None, f"{'failed' if succeeded is False else 'there'} in {job}")

    return _listing("task", members())


def _rows(rows: Stream[Record]) -> Ground:
    hasher, count = hashlib.sha256(), 0
    for row in rows:
        hasher.update(digest(row).encode())
        count += 1
    return Ground(f"{_counted(count, 'row')} #{hasher.hexdigest()[:16]}")


@dataclass(frozen=True, slots=True)
class _Member:
    """A file, a blob or a task: ``size`` in bytes if it has one; ``content`` is what it is."""

    name: str
    size: int | None
    content: str

    @property
    def words(self) -> str:
        return self.content if self.size is None else f"{self.size} bytes #{self.content}"


def _listing(noun: str, members: Iterable[_Member]) -> Ground:
    """How many there are, of what size in all, and each by itself if they are few."""
    gathered = _Gathered()
    for member in members:
        gathered.add(member)
    size = "" if gathered.size is None else f", {gathered.size} bytes"
    return Ground(
        f"{_counted(gathered.count, noun)}{size} #{gathered.hasher.hexdigest()[:16]}",
        tuple(gathered.singly),
    )


@dataclass(slots=True)
class _Gathered:
    """What is kept of a stream that may be long."""

    count: int = 0
    size: int | None = None
    hasher: hashlib._Hash = field(default_factory=hashlib.sha256)
    singly: list[tuple[str, str]] = field(default_factory=list)

    def add(self, member: _Member) -> None:
        self.count += 1
        if member.size is not None:
            self.size = (self.size or 0) + member.size
        self.hasher.update(f"{member.name}\0{member.size}\0{member.content}\n".encode())
        if self.count <= SINGLY:
            self.singly.append((member.name, member.words))
        else:
            self.singly.clear()


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
