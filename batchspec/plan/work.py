"""Which tasks are still to be done, and in which job: the heart of "the same command goes on".

A task that succeeded in a job of this run is done. One that waits or runs in the job that is still
open is on its way. One that failed in the open job is tried again there. All others are submitted,
to the open job, or to a new one when the last has ended: a job that has ended takes no tasks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import Enum, auto

from batchspec.plan.observed import JobFacts, Observed, Stream, TaskIndex
from batchspec.plan.selection import Selection
from batchspec.plan.streams import Chosen
from batchspec.plan.tasks import Task, expand
from batchspec.spec.model import Spec, Stage

_LONGEST_BASE = 60
"""Job ids have at most 64 characters; ``-r2`` and so on must fit behind."""


@dataclass(frozen=True, slots=True)
class StageWork:
    """A stage's tasks: how many there are, are done, are on their way; those to submit or retry.

    ``here`` are those that are in the job, or will be: what others may wait for. ``again`` of those
    to submit were in an earlier job and did not succeed there. ``left`` are not done, and are not
    to be done now: a selection leaves them out.
    """

    stage: Stage
    total: int
    done: int
    under_way: int
    submit: Stream[Task]
    retry: Stream[Task]
    here: Stream[Task]
    again: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Ending:
    """A job that is open and has to end, since the work goes to another one; and why."""

    job: JobFacts
    reason: str


@dataclass(frozen=True, slots=True)
class Work:
    """All that is to be done. ``job`` is the job's id, ``open_job`` its facts if it is there.

    ``whole`` says that the job holds every task of the run; otherwise earlier jobs hold the rest.
    ``ends`` is the one that makes way for it.
    """

    job: str
    open_job: JobFacts | None
    whole: bool
    stages: tuple[StageWork, ...]
    ends: Ending | None = None

    @property
    def finished(self) -> bool:
        """Whether every task of every stage is done."""
        return all(stage.done == stage.total for stage in self.stages)

    @property
    def fresh(self) -> int:
        """How many tasks are to be submitted."""
        return sum(len(stage.submit) for stage in self.stages)


def build_work(
    spec: Spec,
    observed: Observed,
    *,
    windows: bool,
    again: bool = False,
    only: Selection | None = None,
    ends: Ending | None = None,
) -> Work:
    """The work that is left, or ``only`` these failed tasks of it.

    ``again`` leaves all that was done out of account. ``ends`` is an open job that takes none of
    it; its tasks that have not succeeded are submitted again.
    """
    open_job = None if again or ends is not None else newest_open(observed)
    known = None if again or observed.tasks is None or not len(observed.tasks) else observed.tasks
    sorter = None if known is None else _Sorter(known, open_job, only)
    stages = tuple(
        _stage_work(stage, expand(spec, stage, observed, windows=windows), sorter)
        for stage in spec.stages
    )
    job = open_job.id if open_job is not None else _next_id(spec, observed.jobs)
    earlier = any(stage.done for stage in stages) and len(observed.jobs) > (open_job is not None)
    whole = scope_is_whole(open_job) if open_job is not None else not (earlier or only)
    return Work(job, open_job, whole, stages, ends)


OPEN = frozenset({"active", "disabled", "disabling", "enabling"})
"""The states of a job that still takes tasks."""


def newest_open(observed: Observed) -> JobFacts | None:
    """The newest job of the run, if it still takes tasks."""
    newest = observed.jobs[-1] if observed.jobs else None
    return newest if newest is not None and newest.state in OPEN else None


def scope_is_whole(job: JobFacts) -> bool:
    """Whether a job was made to hold every task of the run."""
    return job.metadata.get("batchspec:scope", "whole") == "whole"


class _Kind(Enum):
    """What is to become of a task."""

    NEW = auto()
    AGAIN = auto()
    """It was in an earlier job, and did not succeed there."""
    RETRY = auto()
    """It failed in the open job."""
    UNDER_WAY = auto()
    DONE_HERE = auto()
    DONE_BEFORE = auto()
    LEFT_HERE = auto()
    """It failed in the open job, and was not picked."""
    LEFT_OUT = auto()
    """It is missing or failed in an earlier job, and was not picked."""


_SUBMIT = frozenset({_Kind.NEW, _Kind.AGAIN})
_HERE = frozenset({*_SUBMIT, _Kind.RETRY, _Kind.UNDER_WAY, _Kind.DONE_HERE, _Kind.LEFT_HERE})
_DONE = frozenset({_Kind.DONE_HERE, _Kind.DONE_BEFORE})


@dataclass(frozen=True, slots=True)
class _Sorter:
    """Tells what becomes of a task by its facts."""

    index: TaskIndex
    open_job: JobFacts | None
    only: Selection | None = None

    def kind(self, task: Task) -> _Kind:
        facts, job = self.index.state(task.id), self.index.job_of(task.id)
        here = self.open_job is not None and job == self.open_job.id
        if facts is not None and facts.succeeded:
            return _Kind.DONE_HERE if here else _Kind.DONE_BEFORE
        if here and facts is not None and facts.succeeded is None:
            return _Kind.UNDER_WAY
        if self.only is not None and not self.only.picks(facts, job):
            return _Kind.LEFT_HERE if here else _Kind.LEFT_OUT
        if here:
            return _Kind.RETRY
        return _Kind.NEW if facts is None else _Kind.AGAIN


def _stage_work(stage: Stage, tasks: Stream[Task], sorter: _Sorter | None) -> StageWork:
    total = len(tasks)
    if sorter is None:
        return StageWork(stage, total, 0, 0, tasks, (), tasks)
    counts = Counter(map(sorter.kind, tasks))

    def of(kinds: frozenset[_Kind]) -> Chosen[Task]:
        number = sum(counts[kind] for kind in kinds)
        return Chosen(tasks, lambda task: sorter.kind(task) in kinds, number)

    return StageWork(
        stage,
        total,
        sum(counts[kind] for kind in _DONE),
        counts[_Kind.UNDER_WAY],
        of(_SUBMIT),
        of(frozenset({_Kind.RETRY})),
        of(_HERE),
        counts[_Kind.AGAIN],
        counts[_Kind.LEFT_OUT] + counts[_Kind.LEFT_HERE],
    )


def job_base(spec: Spec) -> str:
    """What the ids of all jobs of a spec begin with."""
    return spec.job.id[:_LONGEST_BASE]


def _next_id(spec: Spec, jobs: tuple[JobFacts, ...]) -> str:
    """The id of the next job: the spec's own, then ``ID-r2``, ``ID-r3`` ..."""
    taken = {job.id.lower() for job in jobs if job.state != "deleting"}
    if spec.job.id.lower() not in taken:
        return spec.job.id
    number = 2
    while f"{job_base(spec)}-r{number}".lower() in taken:
        number += 1
    return f"{job_base(spec)}-r{number}"
