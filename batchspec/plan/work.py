"""Which tasks are still to be done, and in which job: the heart of "the same command goes on".

A task that succeeded in a job of this run is done. One that waits or runs in the job that is still
open is on its way. One that failed in the open job is tried again there. All others are submitted,
to the open job, or to a new one when the last has ended: a job that has ended takes no tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchspec.plan.observed import JobFacts, Observed, Stream, TaskFacts, TaskIndex
from batchspec.plan.selection import Selection
from batchspec.plan.streams import chosen
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
class Work:
    """All that is to be done. ``job`` is the job's id, ``open_job`` its facts if it is there.

    ``whole`` says that the job holds every task of the run; otherwise earlier jobs hold the rest.
    """

    job: str
    open_job: JobFacts | None
    whole: bool
    stages: tuple[StageWork, ...]

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
) -> Work:
    """The work that is left, or ``only`` these failed tasks of it.

    ``again`` leaves all that was done out of account.
    """
    newest = observed.jobs[-1] if observed.jobs else None
    open_job = newest if newest is not None and newest.state in OPEN and not again else None
    sorter = _Sorter(None if again else observed.tasks, open_job, only)
    stages = tuple(
        _stage_work(stage, expand(spec, stage, observed, windows=windows), sorter)
        for stage in spec.stages
    )
    job = open_job.id if open_job is not None else _next_id(spec, observed.jobs)
    earlier = any(stage.done for stage in stages) and len(observed.jobs) > (open_job is not None)
    whole = scope_is_whole(open_job) if open_job is not None else not (earlier or only)
    return Work(job, open_job, whole, stages)


OPEN = frozenset({"active", "disabled", "disabling", "enabling"})
"""The states of a job that still takes tasks."""


def scope_is_whole(job: JobFacts) -> bool:
    """Whether a job was made to hold every task of the run."""
    return job.metadata.get("batchspec:scope", "whole") == "whole"


@dataclass(slots=True)
class _Sorter:
    """Tells what becomes of a task by its facts."""

    index: TaskIndex | None
    open_job: JobFacts | None
    only: Selection | None = None

    def facts(self, task: Task) -> TaskFacts | None:
        return None if self.index is None else self.index.state(task.id)

    def here(self, task: Task) -> bool:
        if self.index is None or self.open_job is None:
            return False
        return self.index.job_of(task.id) == self.open_job.id

    def picked(self, task: Task) -> bool:
        if self.only is None:
            return True
        job = None if self.index is None else self.index.job_of(task.id)
        return self.only.picks(self.facts(task), job)

    def to_submit(self, task: Task) -> bool:
        return self.missing(task) and self.picked(task)

    def to_retry(self, task: Task) -> bool:
        return self.failed_here(task) and self.picked(task)

    def stays(self, task: Task) -> bool:
        return self.here(task) or self.to_submit(task)

    def left(self, task: Task) -> bool:
        return (self.missing(task) or self.failed_here(task)) and not self.picked(task)

    def missing(self, task: Task) -> bool:
        facts = self.facts(task)
        return facts is None or not (facts.succeeded or self.here(task))

    def failed_here(self, task: Task) -> bool:
        facts = self.facts(task)
        return facts is not None and facts.succeeded is False and self.here(task)


def _stage_work(stage: Stage, tasks: Stream[Task], sorter: _Sorter) -> StageWork:
    total = len(tasks)
    if sorter.index is None or not len(sorter.index):
        return StageWork(stage, total, 0, 0, tasks, (), tasks)
    submit = chosen(tasks, sorter.to_submit)
    retry = chosen(tasks, sorter.to_retry)
    done = 0
    for task in tasks:
        facts = sorter.facts(task)
        done += bool(facts is not None and facts.succeeded)
    again = sum(sorter.facts(task) is not None for task in submit)
    left = 0 if sorter.only is None else len(chosen(tasks, sorter.left))
    under_way = total - done - len(submit) - len(retry) - left
    here = chosen(tasks, sorter.stays)
    return StageWork(stage, total, done, under_way, submit, retry, here, again, left)


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
