"""The context and the result of a step, and the state that the steps of a run share.

The steps share the progress of uploads, so that a task waits only for its own inputs; the ids of
submitted tasks, so that a missing task is noticed before the job is closed; and the objects that
they have created, to name those that a run leaves in the account.
"""

from __future__ import annotations

import asyncio
from array import array
from bisect import bisect_left
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias

from batchspec.apply.concurrency import for_each
from batchspec.apply.events import Emit, Outcome, StepProgress
from batchspec.apply.monitor import Monitor
from batchspec.apply.ports import Runtime
from batchspec.diagnostics import BatchspecError, Diagnostic, ServiceError
from batchspec.frozen import frozen
from batchspec.plan import Step, containers_subject
from batchspec.plan.actions import (
    Action,
    CreateContainer,
    CreateJob,
    CreatePool,
    DeleteContainers,
    DeleteJob,
    DeletePool,
    DeleteSchedule,
    ReplaceJob,
    ReplacePool,
)
from batchspec.plan.observed import Blob


@frozen
class StoredOutputs:
    """The blobs of a container among which the outputs of all tasks were found.

    They are the ``count`` blobs with the ``prefix`` that were written ``since`` a time of storage.
    """

    prefix: str
    since: datetime
    count: int

    def includes(self, blob: Blob) -> bool:
        """Whether a blob is one of them, or was written later."""
        new = blob.modified is None or blob.modified >= self.since
        return new and blob.name.startswith(self.prefix)


@frozen
class StepContext:
    """A step, and the objects that all steps of a run share.

    ``monitor`` watches the pool and the job for every wait. ``receipt`` is the file that lists the
    results on this disk. ``verified_later`` are the jobs for which a later step verifies
    ``submitted``. ``incomplete`` are the jobs whose tasks did not write their required outputs.
    ``stored`` are the outputs that exist, by the id of their container.
    """

    step: Step
    runtime: Runtime
    emit: Emit
    receipt: Path
    monitor: Monitor
    uploads: UploadProgress
    submitted: SubmittedIds
    verified_later: frozenset[str]
    incomplete: set[str]
    stored: dict[str, StoredOutputs]

    def progress(self, *, items: int | None, size: int | None = None) -> Progress:
        """A progress counter; ``items`` is ``None`` if the total is not known in advance."""
        now, growing = self.runtime.clock.monotonic, items is None
        return Progress(self.step, self.emit, now, items or 0, size, growing=growing)


@frozen
class StepResult:
    """How a step that did not fail ended.

    ``outcome`` is set if the run can no longer succeed although the step itself is done: tasks
    failed, or the time limit has passed. ``created`` is false if the object existed already.
    """

    items: int = 1
    size: int | None = None
    note: str = ""
    outcome: Outcome | None = None
    created: bool = True


_EVERY = 0.1


@dataclass(slots=True)
class Progress:
    """Counts the items and bytes of a step; emits at most every 0.1 seconds and at the end.

    With ``growing``, the total still grows, and ``done == items`` is not the end: call :meth:`end`
    when all items are found.
    """

    step: Step
    emit: Emit
    now: Callable[[], float]
    items: int
    size: int | None = None
    growing: bool = False
    done: int = 0
    moved: int = 0
    _emitted_at: float = field(default=float("-inf"), init=False)
    _emitted: tuple[int, int] = field(default=(0, 0), init=False)

    def move(self, count: int) -> None:
        """Add ``count`` transferred bytes."""
        self.moved += count
        self._emit()

    def finish(self, count: int = 1) -> None:
        """Add ``count`` finished items."""
        self.done += count
        self._emit()

    def end(self) -> None:
        """No more items will be found."""
        self.growing = False
        if self.done and (self.done, self.moved) != self._emitted:
            self._emit()

    def _emit(self) -> None:
        now = self.now()
        ended = self.done == self.items and not self.growing
        if now - self._emitted_at >= _EVERY or ended:
            self._emitted_at, self._emitted = now, (self.done, self.moved)
            self.emit(
                StepProgress(
                    self.step.id, self.done, self.items, self.moved, self.size, self.growing
                )
            )


@dataclass(slots=True)
class _Upload:
    """The upload to one container; every blob up to ``low`` is complete."""

    started: deque[str] = field(default_factory=deque)
    completed: set[str] = field(default_factory=set)
    low: str = ""
    ended: bool = False
    succeeded: bool = False
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)


class UploadProgress:
    """Which files of the uploads of a run are complete, by container.

    Uploads start in the order of the blob names and end in any order. This object contains the last
    name up to which all uploads are complete, and the completed names after it: at most one for
    each worker.
    """

    def __init__(self) -> None:
        self._uploads: defaultdict[str, _Upload] = defaultdict(_Upload)

    def start(self, container: str, blob: str) -> None:
        """Record the start of a file; files start in the order of their names."""
        self._uploads[container].started.append(blob)

    async def complete(self, container: str, blob: str) -> None:
        """Record that a file is uploaded."""
        upload = self._uploads[container]
        upload.completed.add(blob)
        while upload.started and upload.started[0] in upload.completed:
            upload.low = upload.started.popleft()
            upload.completed.discard(upload.low)
        await _notify(upload)

    async def end(self, container: str, *, succeeded: bool) -> None:
        """Record the end of the upload; ``succeeded`` if every file is uploaded."""
        upload = self._uploads[container]
        upload.ended, upload.succeeded = True, succeeded
        await _notify(upload)

    async def wait(self, container: str, blob: str) -> bool:
        """Wait until an upload has created a blob or found it up to date.

        ``False`` if the upload ended without this blob.
        """
        upload = self._uploads[container]

        def settled() -> bool:
            return upload.ended or blob <= upload.low or blob in upload.completed

        async with upload.changed:
            await upload.changed.wait_for(settled)
        if not upload.ended or upload.succeeded:
            return True
        return blob <= upload.low or blob in upload.completed


async def _notify(upload: _Upload) -> None:
    async with upload.changed:
        upload.changed.notify_all()


_ATTEMPTS = 4
"""How many times the tasks are listed at most, because the list may lag behind."""
_AT_ONCE = 16
"""How many parts of the list are read at the same time."""
_PART, _PARTS = 800, 64
"""The expected number of ids in a part, and the largest number of parts.

A page has 1,000 ids, so a part that is larger than expected is still one page. With the largest
number of parts, a part has several pages.
"""
_SAMPLE, _STRIDE = 2000, 8
"""The largest number of ids in a sample, and the first stride of the sample."""
_GROUP_BITS = 8
"""Digests are sorted in groups with the same first bits."""
_Range: TypeAlias = tuple[str, str]
"""The first id of a range, and the first id after the range; an empty text is no limit."""
_WHOLE: Sequence[_Range] = (("", ""),)


@dataclass(slots=True)
class _Ids:
    """The digests of ids in the order of their submission, and every ``stride``-th id."""

    digests: array[int] = field(default_factory=lambda: array("Q"))
    sample: list[str] = field(default_factory=list)
    stride: int = _STRIDE

    def add(self, ids: Iterable[str]) -> None:
        """Add ids."""
        for name in ids:
            if len(self.digests) % self.stride == 0:
                self.sample.append(name.lower())
            self.digests.append(id_digest(name))
        if len(self.sample) > _SAMPLE:
            del self.sample[1::2]
            self.stride *= 2

    def ordered(self) -> array[int]:
        """The digests in ascending order, each once.

        Sorted in parts, because the list that ``sorted`` returns takes five times the memory of
        an array.
        """
        groups = [array("Q") for _ in range(1 << _GROUP_BITS)]
        for digest in self.digests:
            groups[digest >> (64 - _GROUP_BITS)].append(digest)
        ordered = array("Q")
        for group in groups:
            ordered.extend(sorted(set(group)))
        return ordered

    def ranges(self) -> Sequence[_Range]:
        """Ranges that together contain every id, with about the same number of these ids in each.

        The ranges contain every id in any sort order of the service: at each limit, an id is either
        before it or not.
        """
        parts = min(_PARTS, -(-len(self.digests) // _PART))
        if parts < 2:
            return _WHOLE
        ordered = sorted(set(self.sample))
        bounds = (ordered[len(ordered) * number // parts] for number in range(1, parts))
        return tuple(pairwise(("", *dict.fromkeys(bounds), "")))


@dataclass(slots=True)
class SubmittedIds:
    """The ids of the tasks that a run has submitted, by job.

    It keeps an 8-byte digest of each id. Before the job is closed, its task ids are
    listed and compared with the digests. A million tasks take 8 MB and a thousand requests, several
    at a time.
    """

    _ids: dict[str, _Ids] = field(default_factory=dict)

    def add(self, job: str, ids: Iterable[str]) -> None:
        """Add the ids of tasks that the service has accepted."""
        self._ids.setdefault(job, _Ids()).add(ids)

    async def verify(self, job: str, runtime: Runtime) -> int:
        """Check that the job contains all tasks added since the last check; returns their number.

        Raises:
            ServiceError: some of them are missing.
        """
        ids = self._ids.pop(job, _Ids())
        # An array takes a tenth of the memory of a set.
        expected = ids.ordered()
        if not expected:
            return 0
        missing, ranges = 0, ids.ranges()
        for attempt in range(_ATTEMPTS):
            if attempt:
                await runtime.clock.sleep(runtime.shortest_poll_interval)
                runtime.cancellation.check()
            missing = await _count_missing(job, expected, ranges, runtime)
            if not missing:
                return len(expected)
            ranges = _WHOLE
        raise _missing(job, missing, len(expected))


async def _count_missing(
    job: str, expected: array[int], ranges: Sequence[_Range], runtime: Runtime
) -> int:
    """How many of these digests belong to no task that the service lists in these id ranges."""
    found = bytearray(len(expected))

    async def read(ids: _Range) -> None:
        async for name in runtime.account.tasks.list_ids(job, *ids):
            digest = id_digest(name)
            at = bisect_left(expected, digest)
            if at < len(expected) and expected[at] == digest:
                found[at] = 1

    try:
        await for_each(ranges, read, workers=_AT_ONCE, cancellation=runtime.cancellation)
    except ServiceError as error:
        # The service refuses the filter; ids that it has not listed count as missing.
        if error.status != 400 or ranges is _WHOLE:
            raise
    return found.count(0)


def id_digest(name: str) -> int:
    """A digest of a task id, as a number of 64 bits; ids are case-insensitive.

    A million digests take 60 MB less than a million ids.
    """
    return int.from_bytes(blake2b(name.lower().encode(), digest_size=8).digest())


def _missing(job: str, missing: int, submitted: int) -> ServiceError:
    problem = Diagnostic(
        "tasks-missing",
        f"{missing:,} of {submitted:,} tasks are not in the job {job!r}, although the service"
        " accepted them",
        fix="Apply again to add them.",
    )
    return ServiceError(problem, code="tasks-missing")


_UNDECIDED = frozenset({408, 409, 429})
"""The statuses after which an object may exist, because an earlier request created it."""

Delete: TypeAlias = DeletePool | DeleteJob | DeleteSchedule | DeleteContainers


@dataclass(slots=True)
class RemainingResources:
    """Records which objects the steps of a run have ``created``, and which are ``absent``.

    The action that deletes an object identifies it. Each container has a separate action.
    """

    runtime: Runtime
    created: set[Delete] = field(default_factory=set)
    absent: set[Delete] = field(default_factory=set)

    def skipped(self, action: Action | None) -> None:
        """Record that a step did not run; a pool that it would have replaced still exists."""
        if not isinstance(action, ReplacePool):
            self.absent.update(_deletions(action))

    def done(self, action: Action | None) -> None:
        """Record that a step has created an object that did not exist before."""
        self.created.update(_deletions(action))

    async def failed(self, action: Action | None, error: BatchspecError) -> None:
        """Record that a step failed; if the response is ambiguous, check if the object exists."""
        status = error.status if isinstance(error, ServiceError) else None
        for deletion in _deletions(action):
            if status is None:
                continue  # There was no response, and another request may take as long.
            refused = status not in _UNDECIDED and (400 <= status < 500 or status == 501)
            refused = refused and not isinstance(action, ReplacePool)
            if refused or not await self.exists(deletion):
                self.absent.add(deletion)

    async def check(self, steps: Iterable[Step]) -> None:
        """Record which of the objects that these steps delete no longer exist.

        Another client may have deleted them, which can be the reason why a run has failed.
        """
        for step in steps:
            for part in _parts(step.action) if isinstance(step.action, Delete) else ():
                if part not in self.absent and not await self.exists(part):
                    self.absent.add(part)

    async def exists(self, deletion: Action | None) -> bool:
        """Whether the object that an action deletes exists; true if that cannot be read."""
        try:
            match deletion:
                case DeletePool(pool=pool):
                    return await self.runtime.account.pools.get(pool) is not None
                case DeleteJob(job=job):
                    return await self.runtime.account.jobs.get(job) is not None
                case DeleteContainers(containers=names):
                    found = [
                        await self.runtime.account.containers.get_metadata(name) for name in names
                    ]
                    return any(metadata is not None for metadata in found)
        except ServiceError:
            pass
        return True

    def subjects(self, steps: Iterable[Step], *, conflict: bool) -> Iterator[str]:
        """The objects that still exist because these steps, which delete them, did not run.

        In a ``conflict``, another run uses the same pool and job, and the result contains only
        objects that this run created.
        """
        for step in steps:
            if not isinstance(step.action, Delete):
                continue
            parts = list(_parts(step.action))
            found = [
                part
                for part in parts
                if part not in self.absent and (not conflict or part in self.created)
            ]
            names = [
                name
                for part in found
                if isinstance(part, DeleteContainers)
                for name in part.containers
            ]
            if found == parts:
                yield step.subject
            elif names:
                yield containers_subject(names)


def _deletions(action: Action | None) -> Iterator[Delete]:
    """The actions that delete the objects that an action creates."""
    match action:
        case CreatePool(pool=pool) | ReplacePool(pool=pool):
            yield DeletePool(pool)
        case CreateJob(job=job) | ReplaceJob(job=job):
            yield DeleteJob(job)
        case CreateContainer(container=container):
            yield DeleteContainers((container,))


def _parts(deletion: Delete) -> Iterator[Delete]:
    """A deletion of several containers as one deletion for each."""
    if isinstance(deletion, DeleteContainers):
        yield from (DeleteContainers((name,)) for name in deletion.containers)
    else:
        yield deletion
