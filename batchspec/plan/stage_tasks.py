"""What happens to each task of a stage, decided by the newest task created for its item.

One pass counts the tasks; the streams of tasks to submit, to retry and to wait for decide again for
each task, so that no list of tasks is kept in memory. A job of a spec with several stages records
for each stage how many tasks the run has and how many of them succeeded in earlier jobs. With that,
one list of the newest job gives the numbers of the whole run.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from dataclasses import astuple, field, replace
from datetime import datetime
from enum import Enum, auto

from batchspec.frozen import frozen
from batchspec.plan.failures import Selection
from batchspec.plan.lazy import FilterMapped, Mapped
from batchspec.plan.metadata import STAGES
from batchspec.plan.observed import JobFacts, Stream, TaskFacts, TaskIndex
from batchspec.plan.tasks import Task
from batchspec.spec import Spec, Stage


@frozen
class StageTasks:
    """A stage's tasks: how many there are, are done, are in progress; those to submit or retry.

    ``here`` are the ids of those that are in the job, or will be: what others may wait for.
    ``elsewhere`` are the ids of those that are done in an earlier job.
    ``before`` of those that are done are in an earlier job. ``again`` of those to submit were in
    an earlier job and did not succeed there, ``changed`` have other work than the newest task of
    their item. ``left`` are not done, and are not to be done now: a selection leaves them out.
    ``other`` of those done or in progress are of an earlier version. ``lost`` of those to submit
    succeeded before, and what they wrote is needed and gone. ``superseded`` tasks
    in the job are of an earlier version, have succeeded, and stay. ``absent`` of those left are not
    in the job, and ``failed_before`` of these failed in an earlier one. ``changes`` names the first
    of ``changes_total`` things that have changed in the work of changed tasks. ``tasks`` are all of
    them, those that are kept with the work that they had; ``is_before`` says which of these are
    done in an earlier job.
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
    """What happens to a task."""

    NEW = auto()
    AGAIN = auto()
    """It did not succeed in an earlier job, or it needs a task that runs again."""
    CHANGED = auto()
    """The newest task of its item has other work."""
    LOST = auto()
    """It succeeded, and what it wrote is needed and gone."""
    RETRY = auto()
    """It failed in the open job."""
    IN_PROGRESS = auto()
    DONE_HERE = auto()
    DONE_BEFORE = auto()
    LEFT_HERE = auto()
    """It failed in the open job, and was not selected."""
    LEFT_OUT = auto()
    """It is missing or failed in an earlier job, and was not selected."""


_SUBMIT = frozenset({_Class.NEW, _Class.AGAIN, _Class.CHANGED, _Class.LOST})
_STAYS = frozenset({_Class.RETRY, _Class.IN_PROGRESS, _Class.DONE_HERE, _Class.LEFT_HERE})
"""Tasks that are in the open job and remain in it."""
_HERE = _SUBMIT | _STAYS
_DONE = frozenset({_Class.DONE_HERE, _Class.DONE_BEFORE})
_KEPT = _DONE | {_Class.IN_PROGRESS}


@frozen
class _Classified:
    """The class of a task: ``facts`` are of the newest task of its item, if one counts.

    ``clash`` is the state of a task in the open job that has its id and makes way for it. With
    ``other`` the newest task is of an earlier version.
    """

    kind: _Class
    facts: TaskFacts | None = None
    clash: str = ""
    other: bool = False


@frozen
class TaskClassifier:
    """Decides what happens to the tasks of a stage by their facts.

    ``by_id``: ids are derived from the work. ``others`` keeps what an earlier version of the
    program has done with the same item. ``rerun``: tasks run that the stage needs, ``blocked``
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
    ) -> TaskClassifier:
        """The classifier of a stage; ``needed`` are the surveys of those that it needs."""
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
        """What happens to a task."""
        versions = self.index.versions(task.id, task.marks.item)
        for job, facts in versions:
            same = self._is_same(task, facts)
            # What never started has written nothing, and counts for nothing once it has ended.
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
        """What happens to a task that has succeeded: it is done, unless an output is missing."""
        if self.rerun:
            return _Class.AGAIN
        if self.is_lost(task, facts.marks.work or task.marks.work, job):
            return _Class.LOST
        return _Class.DONE_HERE if job == self.open_job else _Class.DONE_BEFORE

    def _picks(self, facts: TaskFacts | None, job: str | None) -> bool:
        """Whether a task that is not done is to be done now."""
        if self.only is None:
            return True
        if self.blocked:
            return False
        return self.rerun or (self.complete and self.only.all) or self.only.picks(facts, job)


def _same_item(task: Task, facts: TaskFacts) -> bool:
    """Whether a task was created for the same item with the same content."""
    mine, theirs = task.marks, facts.marks
    return mine.item == theirs.item != "" and mine.content == theirs.content


_NAMED_INPUTS = 20
"""How many changed inputs of a stage are named."""


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

    ``states`` are of the tasks in the open job that stay, ``clashes`` of those in it that make way
    for one of the same id. ``since`` is when the first of the kept ones was created.
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
        """The ids of the tasks in the open job that stay."""
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


def survey(stage: Stage, tasks: Stream[Task], classifier: TaskClassifier | None) -> Survey:
    total = len(tasks)
    if classifier is None:
        ids = FilterMapped(tasks, lambda task: task.id, total)
        return Survey(StageTasks(stage, total, 0, 0, tasks, (), ids, tasks=tasks), tasks)
    counts: Counter[_Class] = Counter()
    states: Counter[str] = Counter()
    clashes: Counter[str] = Counter()
    since: datetime | None = None
    other = superseded = superseded_failed = failed_before = inputs = 0
    named: list[str] = []
    for task in tasks:
        place = classifier.place(task)
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
        elif place.kind is _Class.LEFT_OUT:
            failed_before += facts.succeeded is False
        elif place.kind is _Class.CHANGED and _has_other_content(task, facts):
            inputs += 1
            if len(named) < _NAMED_INPUTS:
                named.append(_name_of_inputs(task))
        elif place.kind is _Class.CHANGED and _same_item(task, facts):
            superseded += facts.succeeded is True
            superseded_failed += facts.succeeded is False

    def of(kinds: frozenset[_Class]) -> int:
        return sum(counts[kind] for kind in kinds)

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
        changed=counts[_Class.CHANGED],
        left=counts[_Class.LEFT_OUT] + counts[_Class.LEFT_HERE],
        other=other,
        lost=counts[_Class.LOST],
        absent=counts[_Class.LEFT_OUT],
        failed_before=failed_before,
        changes=tuple(named),
        changes_total=inputs,
        tasks=Mapped(tasks, _with_kept_work(classifier)),
        is_before=lambda task: classifier.place(task).kind is _Class.DONE_BEFORE,
    )
    return Survey(work, tasks, classifier, states, clashes, since, superseded, superseded_failed)


def _picked(classifier: TaskClassifier, kinds: frozenset[_Class]) -> Callable[[Task], Task | None]:
    """A function that selects tasks of these kinds; one in the job has its id in the job."""

    def pick(task: Task) -> Task | None:
        place = classifier.place(task)
        if place.kind not in kinds:
            return None
        if place.kind in _STAYS and place.facts is not None:
            return replace(task, id=place.facts.id)
        return task

    return pick


def _with_kept_work(classifier: TaskClassifier) -> Callable[[Task], Task]:
    """A function that gives a task that is kept the work that it had."""

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

    ``total`` is how many tasks the stage has, ``kept`` how many of them succeeded in earlier jobs.
    ``superseded`` tasks in the job are of an earlier version of the spec, have succeeded, and are
    not counted. ``failed`` tasks failed in earlier jobs and are not in this one.
    """

    stage: str
    total: int = 0
    kept: int = 0
    superseded: int = 0
    failed: int = 0


@frozen
class StageCounts:
    """The tasks of a stage over all jobs of the run.

    ``total`` may be more than the others together: tasks that are not submitted (yet).
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
    """The text that a job records; empty without stages."""
    found = {each.stage: astuple(each)[1:] for each in totals}
    return json.dumps(found, separators=(",", ":")) if found else ""


def read_recorded(job: JobFacts, spec: Spec) -> tuple[StageTotals, ...]:
    """What a job records of the stages of a spec that has several, zeros if it records nothing.

    The tasks of a schedule's jobs are submitted by their job manager task and carry no stage.
    """
    if len(spec.stages) < 2 or spec.job.schedule is not None:
        return ()
    try:
        found = json.loads(job.metadata.get(STAGES, "{}"))
    except ValueError:
        found = None
    members = found if isinstance(found, dict) else {}
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
    """The numbers of each stage, with one pass over the tasks of the run's newest job."""
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
