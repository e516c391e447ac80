"""Which tasks are still to be done, and in which job: with this, the same command resumes a run.

Of all tasks of an item, the newest decides. If its work is that of the current spec, it is done if
it succeeded, in progress while it waits or runs in the open job, and retried there if it failed.
All others are submitted: to the open job, or to a new one if the last job has ended, since a job
that has ended accepts no tasks. Other tasks in the open job are of an earlier version of the spec,
and are ended first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from batchspec.frozen import frozen
from batchspec.plan.failures import Selection
from batchspec.plan.ingredients import changes_of_stage, definitions
from batchspec.plan.metadata import (
    KEEPS,
    SPEC,
    VERSION,
    Written,
    scope_is_whole,
    version,
    work_number,
)
from batchspec.plan.needs import Linked, link
from batchspec.plan.observed import JobFacts, Observed, Stream, TaskFacts, TaskIndex
from batchspec.plan.outputs import RequiredOutputs
from batchspec.plan.receipt import receipt_name
from batchspec.plan.stage_tasks import (
    StageTasks,
    Survey,
    TaskClassifier,
    state_of,
    survey,
)
from batchspec.plan.tasks import Task, expand
from batchspec.spec import Record, Spec, Stage

_LONGEST_BASE = 60
"""Job ids have at most 64 characters, including suffixes such as ``-r2``."""


@frozen
class ReplacedJob:
    """An open job that another one replaces, and the reason."""

    job: JobFacts
    reason: str


@frozen
class EarlierTasks:
    """Tasks of an earlier version of the spec that are ended before others are submitted.

    ``job`` contains ``running`` and ``waiting`` ones, and ``ended`` ones whose ids are needed. With
    ``whole`` the job is ended with everything in it; otherwise what is not in ``keep`` (ids) is
    deleted from it, of those that succeeded the ones in ``replaced``.
    """

    job: JobFacts
    running: int
    waiting: int
    ended: int = 0
    whole: bool = True
    keep: Stream[str] = ()
    replaced: Stream[str] = ()

    @property
    def total(self) -> int:
        """How many tasks are ended or deleted."""
        return self.running + self.waiting + self.ended


@frozen
class TaskSets:
    """All tasks to be done. ``job`` is the job's id, ``open_job`` its facts if it exists.

    ``whole``: the job contains every task of the run; otherwise earlier jobs contain the rest.
    ``ends`` is the job that it replaces, ``earlier`` what is ended first. ``finished_earlier``
    tasks of an earlier version have succeeded and stay in the open job.
    ``since`` is when the first of the tasks that are kept was created; ``None`` if none is.
    ``ended`` is when the last of the earlier jobs ended. ``keeps`` is what the job records of the
    stages that keep tasks of an earlier version of the spec
    (:data:`~batchspec.plan.metadata.KEEPS`). ``superseded`` counts the changed tasks whose
    earlier version ``(succeeded, failed)``. ``works`` are the digests of the work of all tasks of
    the run, ``read`` the containers (keys) that tasks to be done read as a whole.
    ``manager_pending``: the spec has no stages, and its job manager task has not succeeded yet.
    """

    job: str
    open_job: JobFacts | None
    whole: bool
    stages: tuple[StageTasks, ...]
    ends: ReplacedJob | None = None
    earlier: EarlierTasks | None = None
    finished_earlier: int = 0
    since: datetime | None = None
    ended: datetime | None = None
    keeps: str = ""
    superseded: tuple[int, int] = (0, 0)
    works: Stream[str] = ()
    read: frozenset[str] = frozenset()
    manager_pending: bool = False

    @property
    def finished(self) -> bool:
        """Whether every task of every stage is done."""
        if self.manager_pending:
            return False
        return all(stage.done == stage.total for stage in self.stages)

    @property
    def fresh(self) -> int:
        """How many tasks are to be submitted."""
        return sum(len(stage.submit) for stage in self.stages)

    @property
    def left(self) -> int:
        """How many tasks are neither done nor to be done now."""
        return sum(stage.left for stage in self.stages)

    @property
    def absent(self) -> int:
        """How many of those left are not in the job."""
        return sum(stage.absent for stage in self.stages)

    @property
    def failed_before(self) -> int:
        """How many of those left failed in an earlier job."""
        return sum(stage.failed_before for stage in self.stages)

    @property
    def lost(self) -> int:
        """How many tasks run again because what they wrote is gone."""
        return sum(stage.lost for stage in self.stages)

    @property
    def other(self) -> int:
        """How many tasks are kept although an earlier version of the spec ran them."""
        return sum(stage.other for stage in self.stages)


def build_task_sets(
    spec: Spec,
    observed: Observed,
    *,
    windows: bool,
    again: bool = False,
    only: Selection | None = None,
    ends: ReplacedJob | None = None,
    read: frozenset[str] = frozenset(),
) -> TaskSets:
    """The tasks that are left, or ``only`` these failed tasks and what depends on them.

    ``again``: finished tasks run again. ``ends`` is an open job that accepts no more tasks; those
    in it that have not succeeded are submitted again. ``read`` are containers (keys) that tasks to
    be done read as a whole: what was written there is needed.
    """
    open_job = None if again or ends is not None else newest_open(observed)
    known = None if again or observed.tasks is None or not len(observed.tasks) else observed.tasks
    defined = definitions(spec, observed) if known is not None else {}
    kept = _kept_definitions(observed)
    is_lost = _losses(spec, observed, read, windows=windows)

    def classifier(stage: Stage, needed: Sequence[Survey]) -> TaskClassifier | None:
        if known is None:
            return None
        others = only is not None or defined[stage.name] in kept
        return TaskClassifier.of(
            stage, known, open_job, only, others=others, needed=needed, is_lost=is_lost
        )

    found = _surveys(spec, observed, classifier, windows=windows)
    if not (reads := _read(found)) <= read:
        # What other tasks have written there is needed, and may be gone.
        return build_task_sets(
            spec,
            observed,
            windows=windows,
            again=again,
            only=only,
            ends=ends,
            read=read | reads,
        )
    work = replace(
        _task_sets(spec, observed, open_job, found, part=only is not None),
        ends=ends,
        keeps=" ".join(defined[each.work.stage.name] for each in found if each.work.other),
        read=reads,
        manager_pending=_is_manager_pending(spec, observed, again=again or ends is not None),
    )
    if known is None or open_job is None or open_job.metadata.get(SPEC) != spec.name:
        return replace(work, earlier=_still_ending(spec, observed))
    work = _with_earlier(work, known, found, windows=windows)
    if work.earlier is None or not work.earlier.whole:
        return work
    way = ReplacedJob(open_job, "")
    rest = build_task_sets(spec, observed, windows=windows, only=only, ends=way, read=read)
    return replace(rest, earlier=work.earlier)


def _surveys(
    spec: Spec,
    observed: Observed,
    classifier: Callable[[Stage, Sequence[Survey]], TaskClassifier | None],
    *,
    windows: bool,
) -> tuple[Survey, ...]:
    """The tasks of each stage, in the order of the spec.

    ``classifier`` receives a stage and the surveys of the stages that it needs.
    """
    surveys: dict[str, Survey] = {}
    for stage in _in_order(spec.stages):
        tasks = expand(spec, stage, observed, windows=windows)
        needed = [surveys[name] for name in stage.needs]
        surveys[stage.name] = survey(stage, tasks, classifier(stage, needed))
    return tuple(surveys[stage.name] for stage in spec.stages)


def _task_sets(
    spec: Spec,
    observed: Observed,
    open_job: JobFacts | None,
    found: tuple[Survey, ...],
    *,
    part: bool,
) -> TaskSets:
    """The tasks that were found, and the job for them; ``part`` of them if a user selected some."""
    stages = tuple(_with_changes(spec, observed, each.work) for each in found)
    job = open_job.id if open_job is not None else _next_id(spec, observed.jobs)
    earlier_jobs = len(observed.jobs) > (open_job is not None)
    done_before = any(stage.done for stage in stages) and earlier_jobs
    return TaskSets(
        job,
        open_job,
        scope_is_whole(open_job) if open_job is not None else not (done_before or part),
        stages,
        ended=max((job.ended for job in observed.jobs if job.ended is not None), default=None),
        since=min((s.since for s in found if s.since is not None), default=None),
        superseded=(
            sum(each.superseded for each in found),
            sum(each.superseded_failed for each in found),
        ),
        works=_Works(found),
    )


def _with_changes(spec: Spec, observed: Observed, work: StageTasks) -> StageTasks:
    """The tasks of a stage with the names of what has changed since the newest job was applied."""
    if not work.changed or not observed.jobs:
        return work
    names = changes_of_stage(spec, work.stage, observed, observed.jobs[-1].metadata)
    # Files that all tasks of the stage read are named already, also those that are inputs of one.
    inputs = tuple(name for name in work.changes if name not in names)
    total = len(names) + work.changes_total - (len(work.changes) - len(inputs))
    return replace(work, changes=(*names, *inputs), changes_total=total)


def _is_manager_pending(spec: Spec, observed: Observed, *, again: bool) -> bool:
    """Whether a job that consists of its job manager task, and of what that adds, is not done.

    It is done when the newest job was created for this version of the spec, and all tasks in it
    have succeeded.
    """
    if not only_manager(spec):
        return False
    newest = observed.jobs[-1] if observed.jobs else None
    if again or newest is None or newest.state in OPEN:
        return True
    if newest.metadata.get(VERSION) != version(spec, observed):
        return True
    index = observed.tasks
    ends = [ended for _, job, ended in index.ends() if job == newest.id] if index else []
    return not ends or not all(ends)


def only_manager(spec: Spec) -> bool:
    """Whether a job manager task adds all tasks of the spec."""
    return not spec.stages and isinstance(spec.job.properties.get("jobManagerTask"), Record)


def _losses(
    spec: Spec, observed: Observed, read: frozenset[str], *, windows: bool
) -> Callable[[Task, str, str], bool]:
    """A function: whether what a task wrote is needed and gone; see :class:`TaskClassifier`.

    Results and required outputs are needed unless the receipt of that job, or of a later one,
    records those of the task as complete on this disk.
    """
    results = frozenset(result.container for result in spec.results)
    written = Written(spec, observed.containers)
    required = RequiredOutputs.of(spec, observed, windows=windows)
    receipt = observed.receipt
    names = [receipt_name(job.id, job.created).lower() for job in observed.jobs]
    jobs: frozenset[str] = frozenset()
    on_disk: frozenset[int] | None = None
    if receipt is not None and receipt.job.lower() in names:
        last = names.index(receipt.job.lower())
        jobs = frozenset(job.id.lower() for job in observed.jobs[: last + 1])
        if receipt.missing:
            on_disk = frozenset(receipt.works).difference(receipt.lost_works)

    def is_lost(task: Task, work: str, job: str) -> bool:
        if job.lower() in jobs and (on_disk is None or work_number(work) in on_disk):
            return written.lacks(task.body, work, read)
        return required.lacks(task, work) or written.lacks(task.body, work, read | results)

    return is_lost


def _read(found: Iterable[Survey]) -> frozenset[str]:
    """The containers (keys) that tasks to be done read as a whole."""
    return frozenset(
        key
        for each in found
        if len(each.work.submit) or len(each.work.retry)
        for key in each.work.stage.resources or ()
    )


@frozen
class _Works:
    """The digests of the work of all tasks of a run: a stream."""

    surveys: tuple[Survey, ...]

    def __iter__(self) -> Iterator[str]:
        for each in self.surveys:
            yield from (task.marks.work for task in each.work.tasks)

    def __len__(self) -> int:
        return sum(each.work.total for each in self.surveys)


def _kept_definitions(observed: Observed) -> frozenset[str]:
    """The definitions of stages that keep tasks of earlier versions, as the newest job records."""
    newest = next((job for job in reversed(observed.jobs) if job.state != "deleting"), None)
    return frozenset(newest.metadata.get(KEEPS, "").split() if newest is not None else ())


def _still_ending(spec: Spec, observed: Observed) -> EarlierTasks | None:
    """The newest job, when it was ended and some of its tasks may still run."""
    newest = observed.jobs[-1] if observed.jobs else None
    if newest is None or newest.state != "terminating" or newest.metadata.get(SPEC) != spec.name:
        return None
    states = observed.tasks.states(newest.id) if observed.tasks is not None else {}
    return EarlierTasks(newest, states.get("running", 0), states.get("active", 0))


def _with_earlier(
    work: TaskSets, index: TaskIndex, found: tuple[Survey, ...], *, windows: bool
) -> TaskSets:
    """The tasks with those of an earlier version in the open job."""
    assert work.open_job is not None
    states = Counter(index.states(work.open_job.id))
    clashes: Counter[str] = Counter()
    for each in found:
        states.subtract(each.states)
        clashes += each.clashes
    if states.total() <= 0:
        return work
    joins = _Joins(linked_tasks(work, windows=windows), index, work.open_job.id)
    states.subtract(joins.states())
    running, waiting = max(0, states["running"]), max(0, states["active"])
    in_progress = sum(each.states["active"] + each.states["running"] for each in found)
    kept = in_progress + sum(stage.done for stage in work.stages)
    needed = {name for stage in work.stages for name in stage.stage.needs}
    # A join for an id that is submitted again must not be the join of the earlier submission.
    crossed = any(each.clashes and each.work.stage.name in needed for each in found)
    failed = max(0, states["failed"])
    # Of another client's task whose id is needed, no state is counted above.
    unmarked = max(0, clashes.total() - max(0, states.total()))
    ended = failed + clashes["succeeded"] + unmarked
    stay = max(0, states["succeeded"] - clashes["succeeded"])
    if running or waiting or ended or (stay and not kept):
        whole = not in_progress or crossed
        keep, replaced = _Kept(found, joins), _Replaced(found, clashes.total())
        earlier = EarlierTasks(work.open_job, running, waiting, ended, whole, keep, replaced)
        work = replace(work, earlier=earlier)
    if not stay or work.open_job is None:
        return work
    job = work.open_job.id
    stages = tuple(_with_superseded(each, index, job) for each in found)
    return replace(work, finished_earlier=stay, stages=stages)


def _with_superseded(found: Survey, index: TaskIndex, job: str) -> StageTasks:
    """The tasks of a stage with those of an earlier version that the open job keeps."""
    succeeded = index.states(job, found.work.stage.name).get("succeeded", 0)
    stay = succeeded - found.states["succeeded"] - found.clashes["succeeded"]
    return replace(found.work, superseded=max(0, stay))


@frozen
class _Joins:
    """The joins that the spec needs and that are in the job."""

    linked: Mapping[str, Stream[Task]]
    index: TaskIndex
    job: str

    def states(self) -> Counter[str]:
        return Counter(state_of(facts) for facts in self._there())

    def ids(self) -> Iterator[str]:
        return (facts.id for facts in self._there())

    def _there(self) -> Iterator[TaskFacts]:
        for tasks in self.linked.values():
            for task in tasks.joins if isinstance(tasks, Linked) else ():
                for job, facts in self.index.versions(task.id):
                    if job == self.job:
                        yield facts


@frozen
class _Kept:
    """The ids of the tasks of an open job that are not of an earlier version: a stream."""

    surveys: tuple[Survey, ...]
    joins: _Joins

    def __iter__(self) -> Iterator[str]:
        for each in self.surveys:
            yield from each.kept_here()
        yield from self.joins.ids()

    def __len__(self) -> int:
        return sum(each.states.total() for each in self.surveys) + self.joins.states().total()


@frozen
class _Replaced:
    """The ids of the tasks of an open job that new tasks of the same id replace: a stream."""

    surveys: tuple[Survey, ...]
    length: int

    def __iter__(self) -> Iterator[str]:
        for each in self.surveys:
            yield from each.clashing()

    def __len__(self) -> int:
        return self.length


def linked_tasks(work: TaskSets, *, windows: bool) -> Mapping[str, Stream[Task]]:
    """The tasks to submit, by stage, with their dependencies and the joins for them."""
    return link(
        (stage.stage for stage in work.stages),
        {stage.stage.name: stage.submit for stage in work.stages},
        {stage.stage.name: stage.here for stage in work.stages},
        windows=windows,
        elsewhere=(stage.elsewhere for stage in work.stages),
    )


def _in_order(stages: Iterable[Stage]) -> Iterator[Stage]:
    """The stages, each after those that it needs."""
    left = {stage.name: stage for stage in stages}

    def first(stage: Stage) -> Iterator[Stage]:
        for name in stage.needs:
            if name in left:
                yield from first(left.pop(name))
        yield stage

    while left:
        yield from first(left.pop(next(iter(left))))


OPEN = frozenset({"active", "disabled", "disabling", "enabling"})
"""The states of a job that accepts tasks."""


def newest_open(observed: Observed) -> JobFacts | None:
    """The newest job of the run, if it accepts tasks."""
    newest = observed.jobs[-1] if observed.jobs else None
    return newest if newest is not None and newest.state in OPEN else None


def job_base(spec: Spec) -> str:
    """The prefix of the ids of all jobs of a spec."""
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
