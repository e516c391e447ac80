"""The tasks that a run still has to do, and their job. With them, the same command resumes a run.

The newest task of each item counts. If its work is that of the current spec, it is done if it
succeeded, in progress while it waits or runs in the open job, and retried there if it failed. All
other tasks are submitted to the open job, or to a new job if the last job has ended, because a job
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
from batchspec.plan.ingredients import changes_of_stage, definitions, needed_stages
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
    read_recorded,
    state_of,
    survey,
)
from batchspec.plan.tasks import Task, expand
from batchspec.spec import Record, Spec, Stage

_LONGEST_BASE = 60
"""Job ids have at most 64 characters, including suffixes such as ``-r2``."""


@frozen
class ReplacedJob:
    """An open job that a new job replaces, and the reason."""

    job: JobFacts
    reason: str


@frozen
class EarlierTasks:
    """Tasks of an earlier version of the spec that are ended before others are submitted.

    In ``job``, ``running`` of them run, ``waiting`` wait, and ``ended`` have ended and are deleted,
    because they failed or their ids are needed. With ``whole``, the job is ended with all its
    tasks. Otherwise tasks are deleted if their ids are not in ``keep``; tasks that succeeded, only
    if their ids are in ``replaced``.
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
        """The number of tasks that are ended or deleted."""
        return self.running + self.waiting + self.ended


@frozen
class TaskSets:
    """The tasks of a run. ``job`` is the id of the job, ``open_job`` its facts if it exists.

    ``whole``: the job contains every task of the run; otherwise earlier jobs contain the rest.
    ``ends`` is the job that the new job replaces, ``earlier`` the tasks that are ended first.
    ``finished_earlier`` tasks of an earlier version have succeeded and remain in the open job.
    ``since`` is the creation time of the first kept task; ``None`` if no task is kept. ``ended`` is
    the time at which the last of the earlier jobs ended. ``keeps`` is the value of
    :data:`~batchspec.plan.metadata.KEEPS` for stages that keep tasks of an earlier version of the
    spec. ``superseded`` is the number of changed tasks whose earlier version succeeded, and of
    those whose earlier version failed. ``works`` are the digests of the work of all tasks of the
    run, ``read`` the containers (keys) that tasks to be done read as a whole. ``manager_pending``:
    the spec has no stages, and its job manager task has not succeeded yet.
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
        """The number of tasks to submit."""
        return sum(len(stage.submit) for stage in self.stages)

    @property
    def left(self) -> int:
        """The number of tasks that are not done and that the user's selection excludes."""
        return sum(stage.left for stage in self.stages)

    @property
    def absent(self) -> int:
        """The number of left tasks that are not in the job."""
        return sum(stage.absent for stage in self.stages)

    @property
    def failed_before(self) -> int:
        """The number of left tasks that failed in an earlier job and are not in this job."""
        return sum(stage.failed_before for stage in self.stages)

    @property
    def lost(self) -> int:
        """The number of tasks that run again because their outputs no longer exist."""
        return sum(stage.lost for stage in self.stages)

    @property
    def other(self) -> int:
        """The number of kept tasks that ran with an earlier version of the spec."""
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
    """The tasks of a run, or with ``only`` these failed tasks and the tasks that depend on them.

    ``again``: finished tasks run again. ``ends`` is an open job to which no tasks are added; tasks
    in it that have not succeeded are submitted again. ``read`` are containers (keys) that tasks to
    be done read as a whole, so the outputs in them are needed.
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
        # The outputs of other tasks in these containers are needed, and may no longer exist.
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
    """The tasks that were found, and their job. ``part``: the user selected some of them."""
    stages = tuple(_with_changes(spec, observed, each.work, found) for each in found)
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


def _with_changes(
    spec: Spec, observed: Observed, work: StageTasks, found: Sequence[Survey]
) -> StageTasks:
    """The tasks of a stage with the names of the changes since the newest job was applied."""
    if not work.changed or not observed.jobs:
        return work
    names = changes_of_stage(spec, work.stage, observed, observed.jobs[-1].metadata)
    # A file that all tasks read may also be the input of a single task; it is named once.
    inputs = tuple(name for name in work.changes if name not in names)
    total = len(names) + work.changes_total - (len(work.changes) - len(inputs))
    if not total:
        names = tuple(_changed_needs(spec, observed.jobs[-1], work.stage, found))
        total = len(names)
    return replace(work, changes=(*names, *inputs), changes_total=total)


def _changed_needs(
    spec: Spec, job: JobFacts, stage: Stage, found: Sequence[Survey]
) -> Iterator[str]:
    """The tasks of needed stages that were added, changed or removed; ``job`` is the newest job."""
    before = {each.stage: each.total for each in read_recorded(job, spec)}
    for name in sorted(needed_stages(spec, stage)):
        work = next(each.work for each in found if each.work.stage.name == name)
        if len(work.submit) or before.get(name) != work.total:
            yield f"tasks of {name}"


def _is_manager_pending(spec: Spec, observed: Observed, *, again: bool) -> bool:
    """Whether a job of a job manager task and the tasks that it adds is not done.

    It is done if the newest job was created for this version of the spec and has ended, and all
    tasks in it have succeeded.
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
    """The function ``is_lost`` of :class:`TaskClassifier`: whether needed outputs no longer exist.

    Results and required outputs of a task are not needed if the receipt of its job, or of a later
    job, lists them and they are complete on this disk.
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
    """The newest job, if it is terminating, because some of its tasks may still run."""
    newest = observed.jobs[-1] if observed.jobs else None
    if newest is None or newest.state != "terminating" or newest.metadata.get(SPEC) != spec.name:
        return None
    states = observed.tasks.states(newest.id) if observed.tasks is not None else {}
    return EarlierTasks(newest, states.get("running", 0), states.get("active", 0))


def _with_earlier(
    work: TaskSets, index: TaskIndex, found: tuple[Survey, ...], *, windows: bool
) -> TaskSets:
    """The task sets with the tasks of an earlier version in the open job."""
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
    # The states above do not count tasks of other clients, whose ids may be needed.
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
    """The tasks of a stage with the number of tasks of an earlier version that the job keeps."""
    succeeded = index.states(job, found.work.stage.name).get("succeeded", 0)
    stay = succeeded - found.states["succeeded"] - found.clashes["succeeded"]
    return replace(found.work, superseded=max(0, stay))


@frozen
class _Joins:
    """The tasks in the job that link stages (joins) and that the spec needs."""

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
