"""The plan: ordered steps, kept resources, findings, the snapshot that it is based on, and the
release of the nodes by the service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from batchspec.catalog import NODE_RELEASE
from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.frozen import frozen
from batchspec.plan.actions import (
    Action,
    CreateJob,
    CreatePool,
    CreateSchedule,
    ReplaceJob,
    ReplacePool,
    ReplaceSchedule,
    ResizePool,
    ScalePool,
    SubmitTasks,
    UpdateJob,
    UpdatePool,
    UpdateSchedule,
)
from batchspec.plan.observed import AccountNames
from batchspec.spec import place_of_property

if TYPE_CHECKING:
    from batchspec.plan.cost import Estimate


@frozen
class NodeRelease:
    """The delay of the release of nodes after the job.

    A pool that scales keeps its nodes for ``idle``, and then until the next evaluation of its
    formula; ``interval`` is the time between evaluations. For an auto pool, which ends with the
    job, both are 0.
    """

    idle: timedelta = timedelta()
    interval: timedelta = timedelta()

    def expected(self, over: datetime, evaluated: datetime | None) -> datetime:
        """The time at which the nodes are expected to be released.

        ``over`` is the end of the work, ``evaluated`` the time of the latest evaluation of the
        formula; ``None`` if it is not known.
        """
        due = over + self.idle
        if self.interval and evaluated is not None:
            due = evaluated + ceil((due - evaluated) / self.interval) * self.interval
        else:
            due += self.interval / 2
        return due + NODE_RELEASE


class Verb(StrEnum):
    """What a step does. Part of the published JSON."""

    CREATE = "create"
    UPDATE = "update"
    REPLACE = "replace"
    DELETE = "delete"
    UPLOAD = "upload"
    SUBMIT = "submit"
    WAIT = "wait"
    DOWNLOAD = "download"
    KEEP = "keep"
    RESIZE = "resize"
    TERMINATE = "terminate"


class Gate(StrEnum):
    """When a step may run after the steps in its ``after`` are done."""

    FLOW = "flow"
    """Immediately."""
    SUCCESS = "success"
    """If no step has failed."""
    END = "end"
    """When all other steps have ended, successfully or not."""
    ASK = "ask"
    """When all other steps have ended, successfully or not, and the user agrees."""


@frozen
class Step:
    """One step. ``after`` are the ids of the steps to wait for; ``items`` is the number of files,
    tasks or nodes.

    ``subject`` is the resource (``container input``, ``pool topn``), ``reason`` the reason why the
    step is in the plan. A step that keeps an existing resource has no ``action``. ``changes`` are
    the names of the changes in the work of tasks that are submitted again, if they are known.
    """

    id: str
    action: Action | None
    verb: Verb
    subject: str
    reason: str
    after: tuple[str, ...] = ()
    items: int = 1
    gate: Gate = Gate.FLOW
    changes: tuple[str, ...] = ()


def ids(steps: Iterable[Step]) -> tuple[str, ...]:
    """The ids of the steps that have an action."""
    return tuple(step.id for step in steps if step.action is not None)


class Fact(NamedTuple):
    """One fact of the snapshot that a plan is based on; ``parts`` are its properties or members.

    Text after ``#`` is a digest, which is compared but not shown. A fact is a tuple, so it can be
    part of a digest.
    """

    value: str
    parts: tuple[tuple[str, str], ...] = ()


@frozen
class Plan:
    """A whole plan. ``digest`` is that of the spec, ``fingerprint`` that of the ``snapshot``.

    ``snapshot`` are the facts that the plan is based on, by name. ``kept`` are the resources that
    do not change, each with its reason (verb ``keep``). A ``detached`` plan ends with the
    submission, a ``scheduled`` plan with the schedule, whose jobs start later. ``stays`` are the
    deletions that ``cleanup`` does not request: their resources remain in the account after the
    run. With ``nodes_stay``, neither clean-up nor the service releases the nodes of the pool.
    ``places`` are the positions of the keys of the spec by dotted path. ``estimate`` is the cost of
    the run if the spec or the command requests it. ``release`` is then the delay of the release of
    the nodes, ``None`` if the service does not release them.
    """

    account: AccountNames
    name: str
    description: str
    digest: str
    steps: tuple[Step, ...]
    kept: tuple[Step, ...]
    findings: tuple[Diagnostic, ...]
    fingerprint: str
    snapshot: Mapping[str, Fact] = field(default_factory=dict)
    detached: bool = False
    scheduled: bool = False
    stays: tuple[Step, ...] = ()
    nodes_stay: bool = False
    places: Mapping[str, Place] = field(default_factory=dict)
    estimate: Estimate | None = None
    release: NodeRelease | None = None

    def located(self, action: Action | None, problem: Diagnostic) -> Diagnostic:
        """The error of an action, with the position of the property that the service refused."""
        if not problem.property or problem.where is not None:
            return problem
        where = place_of_property(self.places, _parts(action), problem.property)
        return replace(problem, where=where)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of steps of each verb, kept resources included."""
        counts: dict[str, int] = {}
        for step in (*self.steps, *self.kept):
            counts[step.verb] = counts.get(step.verb, 0) + 1
        return counts

    @property
    def questions(self) -> tuple[Diagnostic, ...]:
        """The findings that need the user's consent before anything is sent."""
        return tuple(found for found in self.findings if found.severity is Severity.QUESTION)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.steps


def _parts(action: Action | None) -> tuple[str, ...]:
    """The parts of the spec that the request of an action contains."""
    match action:
        case CreatePool() | UpdatePool() | ResizePool() | ScalePool() | ReplacePool():
            return ("pool",)
        case CreateJob() | ReplaceJob() | UpdateJob():
            return ("job", "pool")
        case CreateSchedule() | UpdateSchedule() | ReplaceSchedule():
            return ("job", "pool", "tasks")
        case SubmitTasks(stage=stage):
            return (f"tasks.{stage}",)
        case _:
            return ()
