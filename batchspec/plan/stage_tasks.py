"""The tasks of a stage, classified by the newest task in the account for the same item.

One pass counts the tasks. The streams of tasks to submit, to retry and to wait for classify each
task again, so no list of tasks is kept in memory. A job of a spec with several stages records for
each stage the number of tasks of the run, and how many of them succeeded in earlier jobs. With
these numbers, one list of the newest job's tasks gives the counts of the whole run.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, field, replace
from datetime import datetime
from enum import Enum, auto

from batchspec.frozen import frozen
from batchspec.json_object import json_object
from batchspec.plan.failures import Selection
from batchspec.plan.lazy import FilterMapped, Mapped
from batchspec.plan.metadata import STAGES
from batchspec.plan.observed import JobFacts, Stream, TaskFacts, TaskIndex
from batchspec.plan.tasks import Task
from batchspec.spec import Spec, Stage


@frozen
class StageTasks:
    """The tasks of a stage: numbers of tasks, and streams of tasks to submit and to retry.

    ``total`` is the number of all tasks. Each task is in one of five groups:

    - ``done``: it has succeeded. ``before`` of them are in an earlier job.
    - ``in_progress``: it waits or runs in the job.
    - ``submit``: it is added to the job. ``again`` of them did not succeed in an earlier job,
      ``dependent`` succeeded and need a task that runs again, ``changed`` have other work than
      the newest task of their item, and ``lost`` succeeded, but their outputs are needed and no
      longer exist.
    - ``retry``: it failed in the job.
    - ``left``: it is not done, and the user's selection excludes it. ``absent`` of them are not in
      the job; ``failed_before`` of these failed in an earlier job.

    ``other`` of the tasks that are done or in progress are of an earlier version. ``superseded`` is
    the number of tasks of an earlier version that have succeeded and remain in the job. ``here``
    are the ids of tasks that are or will be in the job, so that other tasks can wait for them;
    ``elsewhere`` are the ids of tasks that are done in an earlier job. ``changes`` are the first of
    ``changes_total`` names of changes in the work of changed tasks. ``tasks`` are all tasks; a kept
    task has the work with which it ran. ``is_before`` returns whether such a task is done in an
    earlier job.
    """

    stage: Stage
    total: int
    done: int
    in_progress: int
    submit: Stream[Task]
    retry: Stream[Task]
    here: Stream[str]
    elsewhere: Stream[str] = ()
    before: int = 0
    again: int = 0
    dependent: int = 0
    changed: int = 0
    left: int = 0
    other: int = 0
    lost: int = 0
    superseded: int = 0
    absent: int = 0
    failed_before: int = 0
    changes: tuple[str, ...] = ()
    changes_total: int = 0
    tasks: Stream[Task] = ()
    is_before: Callable[[Task], bool] = field(default=lambda _: False, compare=False)


class _Class(Enum):
    """The class of a task, which decides what the plan does with it."""

    NEW = auto()
    AGAIN = auto()
    """It did not succeed in an earlier job."""
    DEPENDENT = auto()
    """It succeeded, and needs a task that runs again."""
    CHANGED = auto()
    """The newest task of its item has other work."""
    LOST = auto()
    """It succeeded, but its outputs are needed and no longer exist."""
    RETRY = auto()
    """It failed in the open job."""
    IN_PROGRESS = auto()
    DONE_HERE = auto()
    DONE_BEFORE = auto()
    LEFT_HERE = auto()
    """It failed in the open job and was not selected."""
    LEFT_OUT = auto()
    """It does not exist or failed in an earlier job, and was not selected."""


_SUBMIT = frozenset({_Class.NEW, _Class.AGAIN, _Class.DEPENDENT, _Class.CHANGED, _Class.LOST})
_STAYS = frozenset({_Class.RETRY, _Class.IN_PROGRESS, _Class.DONE_HERE, _Class.LEFT_HERE})
"""Tasks that are in the open job and remain in it."""
_HERE = _SUBMIT | _STAYS
_DONE = frozenset({_Class.DONE_HERE, _Class.DONE_BEFORE})
_KEPT = _DONE | {_Class.IN_PROGRESS}


@frozen
class _Classified:
    """The class of a task. ``facts`` are those of the newest task of its item that counts, if any.

    ``clash`` is the state of a task in the open job with the same id, which is deleted first; empty
    if there is none. ``other``: the newest task is of an earlier version.
    """

    kind: _Class
    facts: TaskFacts | None = None
    clash: str = ""
    other: bool = False


@frozen
class TaskClassifier:
    """Classifies the tasks of a stage by their facts.

    ``by_id``: ids are derived from the work. ``others``: tasks that an earlier version of the
    program ran for the same item are kept. Of the tasks that the stage needs, ``rerun`` means that
    some run, ``blocked`` that some are left out, and ``complete`` that all are done. ``is_lost``
    returns for a task, its work and its job whether its outputs are needed and no longer exist.
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
    ) -> TaskClassifier:
        """The classifier of a stage; ``needed`` are the surveys of the stages that it needs."""
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

    def place(self, task: Task) -> _Classified:
        """The class of a task."""
        versions = self.index.versions(task.id, task.marks.item)
        for job, facts in versions:
            same = self._is_same(task, facts)
            # A task of other work that ended without a start has written nothing, and is ignored.
            if same or facts.started or facts.succeeded is None:
                kind, other = self._kind(task, facts, job, same=same)
                break
        else:
            return self._made(
                _Class.NEW if self._picks(None, None) else _Class.LEFT_OUT, None, task
            )
        return self._made(kind, facts, task, other=other)

    def _made(
        self, kind: _Class, facts: TaskFacts | None, task: Task, *, other: bool = False
    ) -> _Classified:
        clash = ""
        if kind in _SUBMIT and self.open_job is not None:
            same_id = (
                state_of(there)
                for job, there in self.index.versions(task.id)
                if job == self.open_job
            )
            clash = next(same_id, "")
        return _Classified(kind, facts, clash, other)

    def _is_same(self, task: Task, facts: TaskFacts) -> bool:
        if facts.marks.work:
            return facts.marks.work == task.marks.work
        return self.by_id

    def _kind(self, task: Task, facts: TaskFacts, job: str, *, same: bool) -> tuple[_Class, bool]:
        here = job == self.open_job
        kept = same or (self.others and _same_item(task, facts))
        if kept and facts.succeeded:
            return self._succeeded(task, facts, job), not same
        if here and facts.succeeded is None and (same or (kept and self.only is not None)):
            return _Class.IN_PROGRESS, not same
        if not self._picks(facts, job):
            return (_Class.LEFT_HERE if here else _Class.LEFT_OUT), not same
        if not same:
            return _Class.CHANGED, True
        return (_Class.RETRY if here else _Class.AGAIN), False

    def _succeeded(self, task: Task, facts: TaskFacts, job: str) -> _Class:
        """The class of a succeeded task: done, unless outputs or a needed task are missing."""
        if self.rerun:
            return _Class.DEPENDENT
        if self.is_lost(task, facts.marks.work or task.marks.work, job):
            return _Class.LOST
        return _Class.DONE_HERE if job == self.open_job else _Class.DONE_BEFORE

    def _picks(self, facts: TaskFacts | None, job: str | None) -> bool:
        """Whether a task that is not done runs now."""
        if self.only is None:
            return True
        if self.blocked:
            return False
        return self.rerun or (self.complete and self.only.all) or self.only.picks(facts, job)


def _same_item(task: Task, facts: TaskFacts) -> bool:
    """Whether a task was created for the same item with the same content of its files."""
    mine, theirs = task.marks, facts.marks
    return mine.item == theirs.item != "" and mine.content == theirs.content


_NAMED_INPUTS = 20
"""The number of changed inputs of a stage that are named."""


def _has_other_content(task: Task, facts: TaskFacts) -> bool:
    """Whether a task was created for the same item with other content of its files."""
    mine, theirs = task.marks, facts.marks
    return mine.item == theirs.item != "" and mine.content != theirs.content


def _name_of_inputs(task: Task) -> str:
    if len(task.inputs) == 1:
        container, blob = task.inputs[0]
        return f"file {container}/{blob}"
    return f"inputs of {task.id}"


def state_of(facts: TaskFacts) -> str:
    """The state of a task as :meth:`~batchspec.plan.observed.TaskIndex.states` counts it."""
    if facts.succeeded is not None:
        return "succeeded" if facts.succeeded else "failed"
    return "active" if facts.state == "active" else "running"


@frozen
class Survey:
    """The result of one pass over a stage's tasks.

    ``states`` counts the tasks in the open job that remain, ``clashes`` those that a new task of
    the same id replaces, both by state. ``since`` is the creation time of the first kept task.
    ``superseded`` and ``superseded_failed`` count changed tasks whose earlier version with the same
    files succeeded or failed.
    """

    work: StageTasks
    tasks: Stream[Task]
    classifier: TaskClassifier | None = None
    states: Counter[str] = field(default_factory=Counter)
    clashes: Counter[str] = field(default_factory=Counter)
    since: datetime | None = None
    superseded: int = 0
    superseded_failed: int = 0

    def kept_here(self) -> Iterator[str]:
        """The ids of the tasks in the open job that remain."""
        if self.classifier is not None:
            for task in self.tasks:
                place = self.classifier.place(task)
                if place.kind in _STAYS and place.facts is not None:
                    yield place.facts.id

    def clashing(self) -> Iterator[str]:
        """The ids of the tasks in the open job that a new task of the same id replaces."""
        if self.classifier is not None:
            for task in self.tasks:
                if self.classifier.place(task).clash:
                    yield task.id


@dataclass(slots=True)
class _Totals:
    """Counts of the tasks of a stage by their class, and by their states; see :class:`Survey`."""

    counts: Counter[_Class] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    clashes: Counter[str] = field(default_factory=Counter)
    since: datetime | None = None
    other: int = 0
    superseded: int = 0
    superseded_failed: int = 0
    failed_before: int = 0
    inputs: int = 0
    named: list[str] = field(default_factory=list)
    """The inputs of the first tasks with changed inputs."""

    def of(self, kinds: frozenset[_Class]) -> int:
        """The number of tasks of these classes."""
        return sum(self.counts[kind] for kind in kinds)

    def add(self, task: Task, place: _Classified) -> None:
        """Count a task."""
        self.counts[place.kind] += 1
        if place.clash:
            self.clashes[place.clash] += 1
        if (facts := place.facts) is None:
            return
        if place.kind in _STAYS:
            self.states[state_of(facts)] += 1
        if place.kind in _KEPT:
            self.other += place.other
            if facts.created is not None and (self.since is None or facts.created < self.since):
                self.since = facts.created
        elif place.kind is _Class.LEFT_OUT:
            self.failed_before += facts.succeeded is False
        elif place.kind is _Class.CHANGED:
            self._add_changed(task, facts)

    def _add_changed(self, task: Task, facts: TaskFacts) -> None:
        if _has_other_content(task, facts):
            self.inputs += 1
            if len(self.named) < _NAMED_INPUTS:
                self.named.append(_name_of_inputs(task))
        elif _same_item(task, facts):
            self.superseded += facts.succeeded is True
            self.superseded_failed += facts.succeeded is False


def survey(stage: Stage, tasks: Stream[Task], classifier: TaskClassifier | None) -> Survey:
    """Classify all tasks of a stage; without a classifier, all tasks are new."""
    total = len(tasks)
    if classifier is None:
        ids = FilterMapped(tasks, lambda task: task.id, total)
        return Survey(StageTasks(stage, total, 0, 0, tasks, (), ids, tasks=tasks), tasks)
    found = _Totals()
    for task in tasks:
        found.add(task, classifier.place(task))
    counts, of = found.counts, found.of
    work = StageTasks(
        stage,
        total,
        of(_DONE),
        counts[_Class.IN_PROGRESS],
        FilterMapped(tasks, _picked(classifier, _SUBMIT), of(_SUBMIT)),
        FilterMapped(tasks, _picked(classifier, frozenset({_Class.RETRY})), counts[_Class.RETRY]),
        FilterMapped(tasks, _ids_here(classifier), of(_HERE)),
        FilterMapped(tasks, _ids_elsewhere(classifier), counts[_Class.DONE_BEFORE]),
        before=counts[_Class.DONE_BEFORE],
        again=counts[_Class.AGAIN],
        dependent=counts[_Class.DEPENDENT],
        changed=counts[_Class.CHANGED],
        left=counts[_Class.LEFT_OUT] + counts[_Class.LEFT_HERE],
        other=found.other,
        lost=counts[_Class.LOST],
        absent=counts[_Class.LEFT_OUT],
        failed_before=found.failed_before,
        changes=tuple(found.named),
        changes_total=found.inputs,
        tasks=Mapped(tasks, _with_kept_work(classifier)),
        is_before=lambda task: classifier.place(task).kind is _Class.DONE_BEFORE,
    )
    return Survey(
        work,
        tasks,
        classifier,
        found.states,
        found.clashes,
        found.since,
        found.superseded,
        found.superseded_failed,
    )


def _picked(classifier: TaskClassifier, kinds: frozenset[_Class]) -> Callable[[Task], Task | None]:
    """A function that selects tasks of these classes; a task in the job gets its id there."""

    def pick(task: Task) -> Task | None:
        place = classifier.place(task)
        if place.kind not in kinds:
            return None
        if place.kind in _STAYS and place.facts is not None:
            return replace(task, id=place.facts.id)
        return task

    return pick


def _with_kept_work(classifier: TaskClassifier) -> Callable[[Task], Task]:
    """A function that sets the work of a kept task to the work with which it ran."""

    def kept(task: Task) -> Task:
        place = classifier.place(task)
        work = place.facts.marks.work if place.facts is not None and place.kind in _KEPT else ""
        if work in {"", task.marks.work}:
            return task
        return replace(task, marks=replace(task.marks, work=work))

    return kept


def _ids_elsewhere(classifier: TaskClassifier) -> Callable[[Task], str | None]:
    """A function that selects the ids of tasks that are done in an earlier job."""
    return lambda task: task.id if classifier.place(task).kind is _Class.DONE_BEFORE else None


def _ids_here(classifier: TaskClassifier) -> Callable[[Task], str | None]:
    """A function that selects the ids of tasks that are, or will be, in the job."""

    def pick(task: Task) -> str | None:
        place = classifier.place(task)
        if place.kind in _STAYS and place.facts is not None:
            return place.facts.id
        return task.id if place.kind in _SUBMIT else None

    return pick


@frozen
class StageTotals:
    """The numbers of a stage in the plan.

    ``total`` is the number of tasks of the stage; ``kept`` of them succeeded in earlier jobs.
    ``superseded`` is the number of tasks in the job that succeeded in an earlier version of the
    spec, and are not counted. ``failed`` tasks failed in earlier jobs and are not in this job.
    """

    stage: str
    total: int = 0
    kept: int = 0
    superseded: int = 0
    failed: int = 0


@frozen
class StageCounts:
    """The numbers of tasks of a stage in all jobs of the run.

    ``total`` includes tasks that are not submitted, so it can exceed the sum of the others.
    """

    total: int
    active: int
    running: int
    succeeded: int
    failed: int


def stage_totals(stages: Iterable[StageTasks]) -> tuple[StageTotals, ...]:
    """The totals of the stages; empty for a single stage."""
    found = tuple(
        StageTotals(work.stage.name, work.total, work.before, work.superseded, work.failed_before)
        for work in stages
    )
    return found if len(found) > 1 else ()


def recorded(totals: Iterable[StageTotals]) -> str:
    """The text of the totals in the metadata of a job; empty without stages."""
    found = {each.stage: astuple(each)[1:] for each in totals}
    return json.dumps(found, separators=(",", ":")) if found else ""


def read_recorded(job: JobFacts, spec: Spec) -> tuple[StageTotals, ...]:
    """The totals in the metadata of a job, zeros if there are none; empty for a single stage.

    They are also empty for a schedule: the tasks in its jobs have no stage in their marks, because
    the service or the job manager task creates them.
    """
    if len(spec.stages) < 2 or spec.job.schedule is not None:
        return ()
    members = json_object(job.metadata.get(STAGES, ""))
    return tuple(
        StageTotals(name, *members[name]) if _is_numbers(members.get(name)) else StageTotals(name)
        for name in (stage.name for stage in spec.stages)
    )


def _is_numbers(member: object) -> bool:
    # An earlier release of batchspec recorded three numbers.
    if not isinstance(member, list) or len(member) not in {3, 4}:
        return False
    return all(type(number) is int for number in member)


async def count_stages(
    totals: Iterable[StageTotals], tasks: AsyncIterable[TaskFacts]
) -> dict[str, StageCounts]:
    """The numbers of each stage, from one pass over the tasks of the run's newest job."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    async for task in tasks:
        found[task.marks.stage][state_of(task)] += 1
    counts: dict[str, StageCounts] = {}
    for each in totals:
        states = found[each.stage]
        succeeded = each.kept + max(0, states["succeeded"] - each.superseded)
        others = states["active"], states["running"], states["failed"] + each.failed
        total = max(each.total, succeeded + sum(others))
        counts[each.stage] = StageCounts(total, others[0], others[1], succeeded, others[2])
    return counts
