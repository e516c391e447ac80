"""What becomes of the tasks of a stage: each by the newest task that was ever made of its item.

One pass over the tasks counts them; the streams of those to submit, to retry and to wait for decide
again for each task, so that none is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from batchspec.plan.observed import JobFacts, Stream, TaskFacts, TaskIndex
from batchspec.plan.selection import Selection
from batchspec.plan.streams import Taken
from batchspec.plan.tasks import Task
from batchspec.spec import Stage


@dataclass(frozen=True, slots=True)
class StageWork:
    """A stage's tasks: how many there are, are done, are in progress; those to submit or retry.

    ``here`` are the ids of those that are in the job, or will be: what others may wait for.
    ``before`` of those that are done are in an earlier job. ``again`` of those to submit were in
    an earlier job and did not succeed there, ``changed`` have other work than the newest task of
    their item. ``left`` are not done, and are not to be done now: a selection leaves them out.
    ``other`` of those done or in progress are of an earlier version of the program. ``lost`` of
    those to submit succeeded before, and what they wrote is needed and gone.
    """

    stage: Stage
    total: int
    done: int
    under_way: int
    submit: Stream[Task]
    retry: Stream[Task]
    here: Stream[str]
    before: int = 0
    again: int = 0
    changed: int = 0
    left: int = 0
    other: int = 0
    lost: int = 0


class _Kind(Enum):
    """What is to become of a task."""

    NEW = auto()
    AGAIN = auto()
    """It was in an earlier job, and did not succeed there; or it needs what runs again."""
    CHANGED = auto()
    """The newest task of its item has other work."""
    LOST = auto()
    """It succeeded, and what it wrote is needed and gone."""
    RETRY = auto()
    """It failed in the open job."""
    UNDER_WAY = auto()
    DONE_HERE = auto()
    DONE_BEFORE = auto()
    LEFT_HERE = auto()
    """It failed in the open job, and was not picked."""
    LEFT_OUT = auto()
    """It is missing or failed in an earlier job, and was not picked."""


_SUBMIT = frozenset({_Kind.NEW, _Kind.AGAIN, _Kind.CHANGED, _Kind.LOST})
_STAYS = frozenset({_Kind.RETRY, _Kind.UNDER_WAY, _Kind.DONE_HERE, _Kind.LEFT_HERE})
"""What is in the open job and stays there."""
_HERE = _SUBMIT | _STAYS
_DONE = frozenset({_Kind.DONE_HERE, _Kind.DONE_BEFORE})
_KEPT = _DONE | {_Kind.UNDER_WAY}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a task stands: ``facts`` are of the newest task of its item, if one counts.

    ``clash`` is the state of a task in the open job that has its id and makes way for it. With
    ``other`` the newest task is of an earlier version.
    """

    kind: _Kind
    facts: TaskFacts | None = None
    clash: str = ""
    other: bool = False


@dataclass(frozen=True, slots=True)
class Sorter:
    """Decides what becomes of the tasks of a stage by their facts.

    ``by_id`` says that ids tell the work. ``others`` keeps what an earlier version of the program
    has done with the same item. ``rerun`` says that tasks run that the stage needs, ``blocked``
    that some of them are left out, ``complete`` that all of them are done. ``is_lost`` answers
    whether what a task has written, as one of that work in that job, is needed and gone.
    """

    index: TaskIndex
    open_job: str | None
    only: Selection | None
    others: bool
    by_id: bool
    rerun: bool
    blocked: bool
    complete: bool
    is_lost: Callable[[Task, str, str], bool]

    @classmethod
    def of(
        cls,
        stage: Stage,
        index: TaskIndex,
        open_job: JobFacts | None,
        only: Selection | None,
        *,
        others: bool,
        needed: Iterable[Survey],
        is_lost: Callable[[Task, str, str], bool],
    ) -> Sorter:
        """The sorter of a stage; ``needed`` are the surveys of those that it needs."""
        works = [survey.work for survey in needed]
        return cls(
            index,
            open_job.id if open_job is not None else None,
            only,
            others,
            stage.id is None,
            any(len(work.submit) or len(work.retry) for work in works),
            any(work.left for work in works),
            bool(works) and all(work.done == work.total for work in works),
            is_lost,
        )

    def place(self, task: Task) -> _Place:
        """What becomes of a task."""
        versions = self.index.versions(task.id, task.marks.item)
        for job, facts in versions:
            same = self._is_same(task, facts)
            # What never started has written nothing, and counts for nothing once it has ended.
            if same or facts.started or facts.succeeded is None:
                kind, other = self._kind(task, facts, job, same=same)
                break
        else:
            return self._made(_Kind.NEW if self._picks(None, None) else _Kind.LEFT_OUT, None, task)
        return self._made(kind, facts, task, other=other)

    def _made(
        self, kind: _Kind, facts: TaskFacts | None, task: Task, *, other: bool = False
    ) -> _Place:
        clash = ""
        if kind in _SUBMIT and self.open_job is not None:
            same_id = (
                state_of(there)
                for job, there in self.index.versions(task.id)
                if job == self.open_job
            )
            clash = next(same_id, "")
        return _Place(kind, facts, clash, other)

    def _is_same(self, task: Task, facts: TaskFacts) -> bool:
        if facts.marks.work:
            return facts.marks.work == task.marks.work
        return self.by_id

    def _kind(self, task: Task, facts: TaskFacts, job: str, *, same: bool) -> tuple[_Kind, bool]:
        here = job == self.open_job
        kept = same or (self.others and _same_item(task, facts))
        if kept and facts.succeeded:
            return self._succeeded(task, facts, job), not same
        if here and facts.succeeded is None and (same or (kept and self.only is not None)):
            return _Kind.UNDER_WAY, not same
        if not self._picks(facts, job):
            return (_Kind.LEFT_HERE if here else _Kind.LEFT_OUT), not same
        if not same:
            return _Kind.CHANGED, True
        return (_Kind.RETRY if here else _Kind.AGAIN), False

    def _succeeded(self, task: Task, facts: TaskFacts, job: str) -> _Kind:
        """What becomes of a task that has succeeded: it is done, unless something is missing."""
        if self.rerun:
            return _Kind.AGAIN
        if self.is_lost(task, facts.marks.work or task.marks.work, job):
            return _Kind.LOST
        return _Kind.DONE_HERE if job == self.open_job else _Kind.DONE_BEFORE

    def _picks(self, facts: TaskFacts | None, job: str | None) -> bool:
        """Whether a task that is not done is to be done now."""
        if self.only is None:
            return True
        if self.blocked:
            return False
        return self.rerun or (self.complete and self.only.all) or self.only.picks(facts, job)


def _same_item(task: Task, facts: TaskFacts) -> bool:
    """Whether a task was made of the same item with the same content."""
    mine, theirs = task.marks, facts.marks
    return mine.item == theirs.item != "" and mine.content == theirs.content


def state_of(facts: TaskFacts) -> str:
    """The state of a task as :meth:`~batchspec.plan.observed.TaskIndex.states` counts it."""
    if facts.succeeded is not None:
        return "succeeded" if facts.succeeded else "failed"
    return "active" if facts.state == "active" else "running"


@dataclass(frozen=True, slots=True)
class Survey:
    """What one pass over a stage's tasks comes to.

    ``states`` are of the tasks in the open job that stay, ``clashes`` of those in it that make way
    for one of the same id. ``since`` is when the first of the kept ones was created.
    """

    work: StageWork
    tasks: Stream[Task]
    sorter: Sorter | None = None
    states: Counter[str] = field(default_factory=Counter)
    clashes: Counter[str] = field(default_factory=Counter)
    since: datetime | None = None
    superseded: int = 0
    superseded_failed: int = 0

    def works(self) -> Iterator[str]:
        """The digests of the work of all tasks of the run, as they were run or will be."""
        for task in self.tasks:
            place = self.sorter.place(task) if self.sorter is not None else None
            kept = place.facts if place is not None and place.kind in _KEPT else None
            yield (kept.marks.work if kept is not None else "") or task.marks.work

    def kept_here(self) -> Iterator[str]:
        """The ids of the tasks in the open job that stay."""
        if self.sorter is not None:
            for task in self.tasks:
                place = self.sorter.place(task)
                if place.kind in _STAYS and place.facts is not None:
                    yield place.facts.id

    def clashing(self) -> Iterator[str]:
        """The ids of the tasks in the open job that make way for one of the same id."""
        if self.sorter is not None:
            for task in self.tasks:
                if self.sorter.place(task).clash:
                    yield task.id


def survey(stage: Stage, tasks: Stream[Task], sorter: Sorter | None) -> Survey:
    total = len(tasks)
    if sorter is None:
        ids = Taken(tasks, lambda task: task.id, total)
        return Survey(StageWork(stage, total, 0, 0, tasks, (), ids), tasks)
    counts: Counter[_Kind] = Counter()
    states: Counter[str] = Counter()
    clashes: Counter[str] = Counter()
    since: datetime | None = None
    other = superseded = superseded_failed = 0
    for task in tasks:
        place = sorter.place(task)
        counts[place.kind] += 1
        if place.clash:
            clashes[place.clash] += 1
        facts = place.facts
        if facts is None:
            continue
        if place.kind in _STAYS:
            states[state_of(facts)] += 1
        if place.kind in _KEPT:
            other += place.other
            if facts.created is not None and (since is None or facts.created < since):
                since = facts.created
        elif place.kind is _Kind.CHANGED and _same_item(task, facts):
            superseded += facts.succeeded is True
            superseded_failed += facts.succeeded is False

    def of(kinds: frozenset[_Kind]) -> int:
        return sum(counts[kind] for kind in kinds)

    work = StageWork(
        stage,
        total,
        of(_DONE),
        counts[_Kind.UNDER_WAY],
        Taken(tasks, _picked(sorter, _SUBMIT), of(_SUBMIT)),
        Taken(tasks, _picked(sorter, frozenset({_Kind.RETRY})), counts[_Kind.RETRY]),
        Taken(tasks, _ids_here(sorter), of(_HERE)),
        before=counts[_Kind.DONE_BEFORE],
        again=counts[_Kind.AGAIN],
        changed=counts[_Kind.CHANGED],
        left=counts[_Kind.LEFT_OUT] + counts[_Kind.LEFT_HERE],
        other=other,
        lost=counts[_Kind.LOST],
    )
    return Survey(work, tasks, sorter, states, clashes, since, superseded, superseded_failed)


def _picked(sorter: Sorter, kinds: frozenset[_Kind]) -> Callable[[Task], Task | None]:
    """Takes the tasks of these kinds; one that is in the job has the id that it has there."""

    def pick(task: Task) -> Task | None:
        place = sorter.place(task)
        if place.kind not in kinds:
            return None
        if place.kind in _STAYS and place.facts is not None:
            return replace(task, id=place.facts.id)
        return task

    return pick


def _ids_here(sorter: Sorter) -> Callable[[Task], str | None]:
    """Takes the ids of the tasks that are, or will be, in the job."""

    def pick(task: Task) -> str | None:
        place = sorter.place(task)
        if place.kind in _STAYS and place.facts is not None:
            return place.facts.id
        return task.id if place.kind in _SUBMIT else None

    return pick
