"""Facts about an account that only the commands that read or change it need.

Those that a plan depends on are in :mod:`batchspec.plan.observed`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan.observed import TaskFacts


@frozen
class TaskCounts:
    """Get Task Counts: ``completed`` is ``succeeded + failed``; preparing counts as running."""

    active: int
    running: int
    succeeded: int
    failed: int

    def without(self, succeeded: int) -> TaskCounts:
        """The counts without this number of succeeded tasks."""
        return replace(self, succeeded=max(0, self.succeeded - succeeded))

    @property
    def completed(self) -> int:
        """How many tasks have ended."""
        return self.succeeded + self.failed

    @property
    def total(self) -> int:
        """How many tasks the job has."""
        return self.active + self.running + self.completed


@frozen
class NodeFacts:
    """A node of a pool: its state, and the exit code and failure of its start task.

    ``started`` is when the start task last started.
    """

    id: str
    state: str
    exit_code: int | None = None
    message: str = ""
    started: datetime | None = None


@frozen
class PreparationFacts:
    """The state of the preparation task of a job on one node.

    ``directory`` is where its files are on the node, ``ended`` is when it ended.
    """

    node: str
    failed: bool
    exit_code: int | None = None
    message: str = ""
    directory: str = ""
    ended: datetime | None = None


@frozen
class TaskTimes:
    """When a task started and ended, each ``None`` until it has."""

    id: str
    started: datetime | None
    ended: datetime | None = None


@frozen
class TaskRecord:
    """A task with the facts that the record of a run contains besides those of ``facts``.

    ``name`` is its display name without the marks: the stage and the item, such as a file.
    ``category`` is that of its ``failureInfo``. ``started`` and ``ended`` are of its latest start,
    ``requeued`` counts how often the service ran it again, for example after its node was lost.
    """

    facts: TaskFacts
    name: str = ""
    category: str = ""
    started: datetime | None = None
    ended: datetime | None = None
    requeued: int = 0


@frozen
class NodeRecord:
    """A node of a pool with the facts that the record of a run contains.

    ``allocated`` is when it was added to the pool, ``booted`` when it last started. The times, exit
    code and message are those of the latest start task; ``changed`` is when ``state`` last did.
    """

    id: str
    state: str
    vm_size: str = ""
    dedicated: bool = True
    allocated: datetime | None = None
    booted: datetime | None = None
    changed: datetime | None = None
    start_task_started: datetime | None = None
    start_task_ended: datetime | None = None
    exit_code: int | None = None
    message: str = ""


@frozen
class TaskSince:
    """A task, and the time at which it entered its present state."""

    facts: TaskFacts
    since: datetime


@frozen
class TaskAdded:
    """The result of adding one task: ``problem`` is ``None`` if it is in the job.

    ``existed``: it was in the job before this request.
    """

    id: str
    existed: bool = False
    problem: Diagnostic | None = None


@frozen
class TaskWaiting:
    """A task that has not started, and what it waits for: ids, and ranges of ids, ends included.

    ``slots`` is how many slots of a node it takes.
    """

    id: str
    needs: tuple[str, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    slots: int = 1


@frozen
class FilePart:
    """Bytes of a file or blob; ``length`` is the present length of the whole."""

    data: bytes
    length: int


@frozen
class NodeFile:
    """A file of a task or node: ``name`` is its path, ``modified`` when it was last changed."""

    name: str
    size: int
    modified: datetime | None = None


@frozen
class TaskDetails:
    """One task, with the location of its logs.

    ``kept`` is the container and folder to which stdout and stderr are uploaded when the task ends;
    ``None`` if they are not.
    """

    facts: TaskFacts
    kept: tuple[str, str] | None = None


@frozen
class ContainerProperties:
    """A container of the account, with its metadata; ``modified`` is when it was last changed."""

    name: str
    metadata: Mapping[str, str]
    modified: datetime | None = None
