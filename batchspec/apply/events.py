"""The events of a run, a closed union, and the stamp that orders them.

The executor emits events and prints nothing; consumers print them or build a report from them.
Durations are in seconds, sizes in bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen


class Outcome(StrEnum):
    """How a run ended."""

    DONE = "done"
    NOTHING_TO_DO = "nothing_to_do"
    TASKS_FAILED = "tasks_failed"
    TIME_LIMIT = "time_limit"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    DETACHED = "detached"
    SCHEDULED = "scheduled"


@frozen
class RunStarted:
    """A run began: its spec, its account and the number of its steps."""

    name: str
    target: str
    batch: str
    storage: str
    steps: int


@frozen
class StepStarted:
    """A step began. ``items`` and ``size`` are the work that is known so far."""

    step: str
    verb: str
    subject: str
    items: int = 1
    size: int | None = None


@frozen
class StepProgress:
    """The progress of a step: ``done`` of ``items``, ``moved`` bytes of ``size``.

    ``growing``: more items may follow, so ``items`` is not final.
    """

    step: str
    done: int
    items: int
    moved: int = 0
    size: int | None = None
    growing: bool = False


@frozen
class NodesSeen:
    """The nodes of a pool by state, e.g. ``{"idle": 2, "starting": 1}``, of ``target`` requested.

    At ``service_time``, ``dedicated`` and ``spot`` nodes of ``vm_size`` existed; they are billed.
    When the pool is deleted, ``states`` is empty and ``target`` is 0.
    """

    pool: str
    states: Mapping[str, int]
    target: int
    vm_size: str = ""
    dedicated: int = 0
    spot: int = 0
    service_time: datetime | None = None


@frozen
class PricesSeen:
    """The price of a node of ``vm_size`` per hour, in ``currency``; for specs with ``cost``.

    A price that is not known is null, and ``unknown`` is the reason; ``source`` names the source of
    the prices. On the embedded service, which is free, they are the prices on Azure.
    """

    vm_size: str
    currency: str
    dedicated: float | None = None
    spot: float | None = None
    source: str = ""
    unknown: str = ""


@frozen
class TasksSeen:
    """The tasks of a job by state. ``left`` is the time until the limit, in seconds."""

    job: str
    total: int
    active: int
    running: int
    succeeded: int
    failed: int
    left: float | None = None


@frozen
class StagesSeen:
    """The tasks of each stage of a job, for specs with several stages. ``final``: it has ended.

    By the name of the stage: ``total``, ``active``, ``running``, ``succeeded`` and ``failed``, over
    all jobs of the run. Until the end, ``active`` includes tasks that are not submitted yet. Only
    :class:`TasksSeen` counts tasks that link stages.
    """

    job: str
    stages: Mapping[str, Mapping[str, int]]
    final: bool = True


@frozen
class RunningTask:
    """A task that has run on ``node`` for ``seconds``, by the service's clock."""

    task: str
    node: str
    seconds: float


@frozen
class LongestSeen:
    """The tasks that have run longest, at most three, the longest first.

    Each has ``task``, ``node`` and ``seconds``. It is reported again when other tasks run longest.
    """

    job: str
    tasks: tuple[RunningTask, ...]


@frozen
class FailedTasks:
    """How many tasks failed for a cause, a word that ``retry --cause`` accepts, and one of them."""

    cause: str
    count: int
    task: str


@frozen
class FailuresSeen:
    """The failed tasks of a job by cause, the most frequent first.

    Each has ``cause``, ``count`` and ``task``, the id of one of them.
    """

    job: str
    causes: tuple[FailedTasks, ...]


@frozen
class TaskFailed:
    """A task failed: the reason, and the last lines of its stderr (empty if there are none)."""

    job: str
    task: str
    exit_code: int | None
    code: str
    message: str
    stderr: str = ""
    node: str | None = None


@frozen
class NodeFailed:
    """A node accepts no tasks: its state, its start task's exit code and last lines of stderr."""

    pool: str
    node: str
    state: str
    exit_code: int | None
    message: str = ""
    stderr: str = ""


@frozen
class ScheduleSeen:
    """The state of a job schedule; ``next_run`` is the time of its next job, if there is one."""

    schedule: str
    state: str
    next_run: datetime | None = None
    recent_job: str | None = None


@frozen
class Waiting:
    """The cause for which a run, or part of it, waits, or the end of the cause (``resolved``).

    ``code`` is one of :data:`batchspec.apply.monitor.CAUSES`; code and ``subject`` (``pool topn``)
    identify a cause. It is reported again only when its text changes. ``since`` is the service's
    time; ``action`` is what to do; ``ends`` is true if the cause ends the run.
    """

    code: str
    subject: str
    summary: str = ""
    since: datetime | None = None
    action: str = ""
    detail: str = ""
    ends: bool = False
    resolved: bool = False


@frozen
class Noticed:
    """A finding or an error that does not fail the run."""

    problem: Diagnostic


@frozen
class StepDone:
    """A step succeeded after ``seconds``. ``note`` is a remark, e.g. ``already existed``."""

    step: str
    verb: str
    subject: str
    items: int
    seconds: float
    size: int | None = None
    note: str = ""


@frozen
class StepFailed:
    """A step failed."""

    step: str
    verb: str
    subject: str
    seconds: float
    problem: Diagnostic


@frozen
class StepSkipped:
    """A step was not run.

    ``because`` is a failed step's id, the outcome of the run, ``declined``, ``interrupted``, or
    ``in_use`` for a pool that other jobs use or may use.
    """

    step: str
    verb: str
    subject: str
    because: str


@frozen
class RunEnded:
    """The run ended. ``left`` names the resources that stay in the account.

    ``resume`` is the command that resumes an interrupted run; the command line adds it.
    ``released``, for specs with ``cost``, is the expected time on the service's clock at which the
    service has released the nodes without a client.
    """

    outcome: Outcome
    seconds: float
    exit: int
    left: tuple[str, ...] = ()
    resume: str = ""
    released: datetime | None = None


Event: TypeAlias = (
    RunStarted
    | StepStarted
    | StepProgress
    | NodesSeen
    | PricesSeen
    | TasksSeen
    | StagesSeen
    | LongestSeen
    | FailuresSeen
    | TaskFailed
    | NodeFailed
    | ScheduleSeen
    | Waiting
    | Noticed
    | StepDone
    | StepFailed
    | StepSkipped
    | RunEnded
)
"""Everything that can happen in a run."""

Emit: TypeAlias = Callable[[Event], None]
"""Receives events."""


@frozen
class Stamped:
    """An event with its number (from 1) and its time (UTC), the same for every consumer."""

    seq: int
    at: datetime
    event: Event


@dataclass(slots=True)
class Stamp:
    """Stamps events in the order of their arrival and passes them to every consumer."""

    now: Callable[[], datetime]
    consumers: tuple[Callable[[Stamped], None], ...]
    _seq: int = field(default=0, init=False)

    def __call__(self, event: Event) -> None:
        """Stamp one event and pass it on."""
        self._seq += 1
        stamped = Stamped(self._seq, self.now(), event)
        for consumer in self.consumers:
            consumer(stamped)
