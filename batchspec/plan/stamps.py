"""The stamps of outputs: metadata of each output blob names the work that wrote it.

The service sets the headers of an output file's destination when it uploads the file
(``OutputFileBlobContainerDestination.uploadHeaders``). Stamps distinguish results of an earlier
version from current ones, and deleted results from those that were never written.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from batchspec.plan.identity import is_log
from batchspec.plan.observed import Blob, ContainerFacts
from batchspec.spec import EachBlob, Record, Spec, Text, Value

STAMP = "batchspec_work"
"""The name of the metadata. It must be a C# identifier."""
_HEADER = f"x-ms-meta-{STAMP}"


def stamped(files: Value, work: str) -> Value:
    """Output files that stamp what they upload; logs are left as they are."""
    if not isinstance(files, tuple):
        return files
    return tuple(file if is_log(file) else _stamped(file, work) for file in files)


def unstamped(files: Value) -> Value:
    """Output files without their stamps."""
    if not isinstance(files, tuple):
        return files
    return tuple(_stamped(file, None) for file in files)


def _stamped(file: Value, work: str | None) -> Value:
    target = destination_of(file)
    if target is None or not isinstance(file, Record):
        return file
    headers = target.get("uploadHeaders")
    given = headers if isinstance(headers, tuple) else ()
    others = [h for h in given if not (isinstance(h, Record) and h.get("name") == _HEADER)]
    ours = [] if work is None else [Record(name=_HEADER, value=work)]
    target = target.with_(uploadHeaders=(*others, *ours) or None)
    return file.with_(destination=Record(container=target))


def destination_of(file: Value) -> Record | None:
    """The container destination of an output file (``OutputFileBlobContainerDestination``)."""
    destination = file.get("destination") if isinstance(file, Record) else None
    target = destination.get("container") if isinstance(destination, Record) else None
    return target if isinstance(target, Record) else None


def container_of(url: Value) -> str | None:
    """The container of the account that a URL names; ``None`` of another URL."""
    found = [each.container for each in url.urls()] if isinstance(url, Text) else []
    return found[0] if len(found) == 1 else None


def containers_written(body: Record) -> Iterator[str]:
    """The containers (ids) that a task with this body uploads to when it succeeds."""
    files = body.get("outputFiles")
    for file in files if isinstance(files, tuple) else ():
        target = destination_of(file)
        if target is None or not isinstance(file, Record) or is_log(file):
            continue
        options = file.get("uploadOptions")
        condition = options.get("uploadCondition") if isinstance(options, Record) else None
        container = container_of(target.get("containerUrl"))
        if condition != "taskfailure" and container is not None:
            yield container


def input_containers(spec: Spec) -> frozenset[str]:
    """The containers (keys) that the spec uploads to or that nodes and tasks read from."""
    uploads = {key for key, container in spec.containers.items() if container.upload}
    sources = {s.for_each.container for s in spec.stages if isinstance(s.for_each, EachBlob)}
    resources = {key for stage in spec.stages for key in stage.resources or ()}
    around = (spec.pool.start_containers, spec.job.prepare_containers, spec.job.release_containers)
    return frozenset(uploads | sources | resources).union(*around)


class WorkSet:
    """Digests of work, eight bytes each."""

    def __init__(self, works: Iterable[str]) -> None:
        self._works = array("Q", sorted(int(work, 16) for work in works if work))

    def __contains__(self, work: str) -> bool:
        number = work_number(work)
        return number is not None and self._has(number)

    def others(self, numbers: Iterable[int]) -> int:
        """How many of these digests, as numbers, are not in the set."""
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
    """What is known of the blobs that tasks wrote to the containers of a spec."""

    spec: Spec
    containers: Mapping[str, ContainerFacts]
    _known: dict[str, tuple[WorkSet, bool]] = field(default_factory=dict)

    def lacks(self, body: Record, work: str, among: frozenset[str]) -> bool:
        """Whether what a task of that work wrote to one of these containers (keys) is gone.

        ``body`` is that of Create Task.

        Where a blob in the container has no stamp, its task is unknown, and nothing is missing.
        """
        ids = {self.spec.container_id(key): key for key in among}
        for container in containers_written(body):
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
    """Whether a task of other work than these wrote a blob."""
    return bool(blob.work) and blob.work not in works
