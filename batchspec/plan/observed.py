"""Facts about the disk and the account: the input of the planner, made by ``observe``.

Absent facts are ``None``. Large collections (files, blobs, tasks) are a :class:`Stream`, which can
be iterated any number of times and is not kept in memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from batchspec.diagnostics import Diagnostic, StalePlanError
from batchspec.frozen import frozen
from batchspec.spec import Record

if TYPE_CHECKING:
    from batchspec.plan.capacity import Capacity
    from batchspec.pricing import NodePrices

_LONGEST_NAME = 1024
"""Characters of a display name (``BatchTaskCreateOptions.displayName``)."""
_MARKS = re.compile(
    r"\[(?:(?P<stage>[A-Za-z0-9_-]+) )?"
    r"item (?P<item>[0-9a-f]{14})(?:\.(?P<content>[0-9a-f]{14}))? work (?P<work>[0-9a-f]{14})\]$"
)

START_TASK_FAILED = "starttaskfailed"
"""The state of a node whose start task failed (``BatchNodeState``)."""
NODE_UNUSABLE = "unusable"
"""The state of a node that the service cannot use (``BatchNodeState``)."""
START_TASK_RUNNING = "waitingforstarttask"
"""The state of a node whose start task runs; the service refuses to restart such a node."""
UNHEALTHY = (START_TASK_FAILED, NODE_UNUSABLE)
"""The states of a node that accepts no tasks until a client acts."""


@frozen
class Marks:
    """The digests in the display name of a task, which identify its item and its work.

    ``item`` covers the stage and the item (a path, the variables), ``content`` the item's files
    (empty if it has none), ``work`` everything that the task computes from. Versions of a task have
    the same ``item``. ``stage`` is the name of its stage; empty if the task only links stages, or
    was submitted by an earlier version of batchspec.
    """

    item: str
    content: str
    work: str
    stage: str = ""

    def named(self, text: str) -> str:
        """The display name: the text, shortened to the limit, and the marks."""
        item = f"{self.item}.{self.content}" if self.content else self.item
        stage = f"{self.stage} " if self.stage else ""
        marks = f"[{stage}item {item} work {self.work}]"
        text = text[: _LONGEST_NAME - len(marks) - 1]
        return f"{text} {marks}" if text else marks


UNMARKED = Marks("", "", "")
"""The marks of a task without marks: another client created it."""


def read_marks(display_name: str) -> Marks:
    """The marks in a display name; :data:`UNMARKED` if there are none."""
    found = _MARKS.search(display_name)
    if found is None:
        return UNMARKED
    return Marks(found["item"], found["content"] or "", found["work"], found["stage"] or "")


def unmarked(display_name: str) -> str:
    """A display name without its marks."""
    return _MARKS.sub("", display_name).rstrip()


T_co = TypeVar("T_co", covariant=True)


class Stream(Protocol[T_co]):
    """A finite sequence that can be iterated any number of times, such as a tuple."""

    def __iter__(self) -> Iterator[T_co]: ...

    def __len__(self) -> int: ...


@frozen
class AccountNames:
    """The names of an account, which contain no secret; ``target`` is ``local`` or ``azure``."""

    target: str
    batch: str
    storage: str


@frozen
class Origin:
    """The client that runs a spec: ``by`` is ``user@host``, ``id`` a digest of the host and the
    spec's path.

    Both are empty if they are not known.
    """

    by: str = ""
    id: str = ""


class LocalFile(NamedTuple):
    """A file that the spec uploads: its blob name, path, size in bytes and MD5.

    For a million files, tuples are created much faster than other objects; few need a ``Path``.
    """

    blob: str
    location: str
    size: int
    md5: bytes
    content_type: str | None = None

    @property
    def path(self) -> Path:
        """The path of the file on this disk."""
        return Path(self.location)


def file_changed(file: LocalFile, why: str) -> StalePlanError:
    """The error that a file cannot be read, or differs from the plan."""
    return StalePlanError(
        Diagnostic(
            "file-moved",
            f"{file.path} changed after the plan was made: {why}",
            fix="Run the command again; it makes a new plan.",
        )
    )


@frozen
class Blob:
    """A blob as listed; ``md5`` is ``None`` if the service has none.

    ``work`` is the digest of the work of the task that wrote it; empty if it is not known.
    ``archived``: its access tier allows neither reading nor replacing it.
    """

    name: str
    size: int
    md5: bytes | None
    modified: datetime | None = None
    work: str = ""
    archived: bool = False

    @property
    def content(self) -> bytes:
        """What differs between two contents of the same size: the MD5, or the time of the write.

        Many clients write large blobs in blocks without an MD5, for example azcopy.
        """
        if self.md5 is not None:
            return self.md5
        return b"" if self.modified is None else self.modified.isoformat().encode()


@frozen
class ContainerFacts:
    """A container of the spec: ``metadata`` is ``None`` when it does not exist.

    ``files`` (which the spec uploads) and ``blobs`` are in order of their names, by Unicode code
    point; both are empty if no rule needs them. ``archived`` is the number of blobs in the access
    tier Archive, ``first_archived`` the name of the first.
    """

    metadata: Mapping[str, str] | None
    files: Stream[LocalFile] = ()
    blobs: Stream[Blob] = ()
    archived: int = 0
    first_archived: str = ""

    @property
    def exists(self) -> bool:
        """Whether the container is in the account."""
        return self.metadata is not None


@frozen
class StoredPackage:
    """A version of an application package in the account.

    ``active``: nodes can get the version; otherwise its upload was not completed. ``content`` is
    the digest that batchspec stored with it, empty if another client uploaded it. ``md5`` and
    ``size`` (in bytes) are those of the archive; ``None`` if they are not known.
    """

    active: bool
    content: str = ""
    md5: bytes | None = None
    size: int | None = None


@frozen
class PackageFacts:
    """An application package of the spec: its files, and its version in the account, if any.

    ``content`` is a digest of the files, their paths and their executable bits.
    """

    files: Stream[LocalFile]
    content: str
    stored: StoredPackage | None = None


@frozen
class PoolFacts:
    """An existing pool. ``properties`` is Get Pool's body; counts are of nodes.

    ``resize_errors`` are pairs of code and message. ``allocation_since`` is the time of the latest
    change of the allocation state, at which the latest resize ended. ``autoscale_error`` is the
    code and message of the formula's latest evaluation (at ``autoscale_at``), if it failed.
    ``node_states`` are numbers of nodes by state; empty unless a plan may have to restart nodes.
    """

    id: str
    state: str
    allocation: str
    properties: Record
    metadata: Mapping[str, str]
    dedicated: int
    spot: int
    target_dedicated: int
    target_spot: int
    resize_errors: tuple[tuple[str, str], ...] = ()
    allocation_since: datetime | None = None
    autoscale_error: tuple[str, str] | None = None
    autoscale_at: datetime | None = None
    node_states: Mapping[str, int] = field(default_factory=dict)

    @property
    def scales(self) -> bool:
        """Whether the pool follows an autoscale formula."""
        return self.properties.get("enableAutoScale") is True

    @property
    def shortfall(self) -> str:
        """The error code of the latest resize if it failed; empty otherwise.

        An error does not count if the pool has reached its target since, or the target was lowered
        to the current number of nodes.
        """
        failed = self.resize_errors and self.allocation == "steady" and self.nodes < self.target
        return self.resize_errors[0][0] if failed else ""

    @property
    def nodes(self) -> int:
        """The current number of nodes of the pool, dedicated and Spot nodes together."""
        return self.dedicated + self.spot

    @property
    def target(self) -> int:
        """The target number of nodes of the pool, dedicated and Spot nodes together."""
        return self.target_dedicated + self.target_spot


@frozen
class JobFacts:
    """An existing job. ``properties`` is Get Job's body.

    ``pool`` is the id of the pool that the job runs on, which may be an auto pool.
    ``scheduling_error`` is the code and message of the error if the job could not be started.
    """

    id: str
    state: str
    created: datetime
    properties: Record
    metadata: Mapping[str, str]
    ended: datetime | None = None
    terminate_reason: str | None = None
    pool: str = ""
    scheduling_error: tuple[str, str] | None = None


@frozen
class ScheduleFacts:
    """An existing job schedule. ``properties`` is Get Job Schedule's body.

    ``next_run`` is the time at which the next job is due, ``recent_job`` the id of the newest job,
    ``ended`` the time at which the schedule was completed. Each can be ``None``.
    """

    id: str
    state: str
    created: datetime
    properties: Record
    metadata: Mapping[str, str]
    next_run: datetime | None = None
    recent_job: str | None = None
    ended: datetime | None = None


@frozen
class TaskFacts:
    """An existing task: ``succeeded`` is ``None`` until it is completed.

    ``code`` and ``message`` are those of its ``failureInfo``. ``started``: a node has started the
    task. A task that ended without a start has written nothing.
    """

    id: str
    state: str
    succeeded: bool | None = None
    exit_code: int | None = None
    code: str | None = None
    message: str | None = None
    node: str | None = None
    retries: int = 0
    marks: Marks = UNMARKED
    created: datetime | None = None
    started: bool = True


class TaskIndex(Protocol):
    """The tasks of every job of a run."""

    def __len__(self) -> int: ...

    def versions(self, task_id: str, item: str = "") -> Sequence[tuple[str, TaskFacts]]:
        """The tasks with this id (ignoring case) or of this item, each with its job, newest first.

        An empty ``item`` matches no task.
        """
        ...

    def states(self, job: str, stage: str = "") -> Mapping[str, int]:
        """The number of tasks of a job that are ``active``, ``running``, ``succeeded``, ``failed``.

        Tasks without marks, which other clients added, are not counted. With ``stage``, only tasks
        of this stage are counted.
        """
        ...

    def ends(self) -> Iterator[tuple[str, str, bool | None]]:
        """Each task in order of the ids: its id, its job, and whether it succeeded."""
        ...

    def works(self) -> Stream[str]:
        """The digest of the work of the newest task of each item."""
        ...


@frozen
class SupportedImage:
    """An image that the account supports, as List Supported Images returns it."""

    publisher: str
    offer: str
    sku: str
    node_agent: str
    windows: bool
    verified: bool
    capabilities: tuple[str, ...] = ()
    end_of_life: datetime | None = None
    version: str = "latest"


@frozen
class Receipt:
    """The receipt of earlier downloads of this spec, compared with the files on the disk.

    ``job`` is the job that wrote the results. ``files`` is the number of listed files, ``missing``
    the number of those that were deleted or changed on the disk, and ``lost`` the number of missing
    files that are not in the account either. ``edited`` is the number of files whose content was
    changed after the download; ``first_edited`` are some of them, and ``edited_by`` is the name of
    another spec that has downloaded the first of them. ``entries`` is the digest of the `results`
    for which the receipt was written, empty if none is recorded. ``works`` are the
    digests of the work that wrote the unchanged files, as numbers, where they are known;
    ``missing_works`` are those of the missing files, ``lost_works`` those of the lost ones.
    ``paths`` are the listed files that have the same
    size as when they were downloaded, each with the digest of its work, empty where it is not
    known; each iteration reads the receipt again.
    """

    job: str
    files: int
    missing: int
    lost: int = 0
    works: Sequence[int] = ()
    lost_works: Sequence[int] = ()
    missing_works: Sequence[int] = ()
    entries: str = ""
    paths: Iterable[tuple[str, Path]] = ()
    edited: int = 0
    first_edited: tuple[Path, ...] = ()
    edited_by: str = ""


@frozen
class Usage:
    """The use of the account's quotas.

    ``jobs`` are active jobs and schedules together, as the quota counts them.
    """

    pools: int
    jobs: int


@frozen
class EarlierRun:
    """The durations of an earlier job of the spec, in seconds.

    ``task`` is the average run time of a task, ``before`` the time from the creation of the job to
    the start of its first task, and ``after`` the time from the end of its last task to the end of
    the job.
    """

    job: str
    ended: datetime
    tasks: int
    task: float
    before: float
    after: float


@frozen
class CostFacts:
    """Facts for an estimate: the prices of the pool's nodes, and the latest known run."""

    prices: NodePrices
    earlier: EarlierRun | None = None


@frozen
class Observed:
    """All facts that a plan depends on.

    ``containers`` is by key. ``jobs`` are all jobs that this spec created and the job with its job
    id, oldest first; of the jobs of its ``schedule``, only the newest. ``pool_user`` is a job of
    another spec with open tasks on the pool; it is read only if the pool may be deleted.
    ``former_pools`` are pools that this spec created under other ids and that its jobs ran on.
    ``receipt`` is ``None`` if nothing was downloaded yet.

    ``usage`` is ``None`` if it was not read. ``longest_sas`` is the longest lifetime of a
    signature; ``None`` means no limit. ``occupied`` are the folders of results that contain other
    files, with the name of the spec that has downloaded them, if it is known; ``unwritable`` are
    those in which no file can be created, with the reason. ``origin`` is the user and machine of
    this client. ``applications`` are the versions of the account's application
    packages by the id of the application; ``None`` if the spec refers to none. ``packages`` are
    the packages of the spec by name; empty if no rule needs them. ``most_items`` is the number of
    items of each stage that are used; ``None`` means all. ``cost`` is ``None`` unless an estimate
    is requested. ``capacity`` are quotas and VM sizes; ``None`` unless the plan may create nodes
    on Azure.
    """

    account: AccountNames
    now: datetime
    containers: Mapping[str, ContainerFacts]
    pool: PoolFacts | None = None
    pool_user: JobFacts | None = None
    former_pools: tuple[PoolFacts, ...] = ()
    jobs: tuple[JobFacts, ...] = ()
    schedule: ScheduleFacts | None = None
    tasks: TaskIndex | None = None
    images: tuple[SupportedImage, ...] = ()
    receipt: Receipt | None = None
    rows: Mapping[str, Stream[Record]] = field(default_factory=dict)
    usage: Usage | None = None
    longest_sas: timedelta | None = None
    occupied: Mapping[Path, str] = field(default_factory=dict)
    unwritable: Mapping[Path, str] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)
    applications: Mapping[str, tuple[str, ...]] | None = None
    most_items: int | None = None
    cost: CostFacts | None = None
    capacity: Capacity | None = None
    packages: Mapping[str, PackageFacts] = field(default_factory=dict)


_BATCH = 1000
"""Files that are added up together, which takes less time than one at a time."""


def totals(files: Iterable[LocalFile]) -> tuple[int, int]:
    """The number of files and their total size in bytes, in one pass."""
    sizes = map(itemgetter(2), files)
    count = size = 0
    while some := list(islice(sizes, _BATCH)):
        count += len(some)
        size += sum(some)
    return count, size
