"""Facts about an account for the commands that read or change it.

The facts on which a plan depends are in :mod:`batchspec.plan.observed`.
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

    ``directory`` contains its files on the node; ``ended`` is when it ended.
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
    """A task with further facts, which the record of a run contains.

    ``name`` is its display name without the marks: the stage and the item, such as a file.
    ``category`` is the category of its ``failureInfo``. ``started`` and ``ended`` are the times of
    its latest run. ``requeued`` is how many times the service ran it again, for example after its
    node was lost.
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

    ``allocated`` is when it was added to the pool, ``booted`` when it last started. The other
    times, the exit code and the message are those of the latest start task; ``changed`` is when
    ``state`` last changed.
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

    ``slots`` is the number of slots that it needs on a node.
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
    ``None`` if they are not uploaded.
    """

    facts: TaskFacts
    kept: tuple[str, str] | None = None


@frozen
class ContainerProperties:
    """A container of the account, with its metadata; ``modified`` is when it was last changed."""

    name: str
    metadata: Mapping[str, str]
    modified: datetime | None = None
