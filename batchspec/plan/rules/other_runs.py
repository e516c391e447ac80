"""Rules about runs of the same name that were applied from another place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from batchspec.diagnostics import Diagnostic, counted
from batchspec.plan.actions import (
    DeleteContainers,
    DeleteJob,
    DeleteOutputs,
    DeletePool,
    ReplacePool,
    ResizePool,
    RetryTasks,
    ScalePool,
    SubmitTasks,
    UpdatePool,
    UploadFiles,
)
from batchspec.plan.lazy import pair, same
from batchspec.plan.metadata import (
    ORIGIN,
    SPEC,
    VERSION,
    WorkSet,
    applied_to,
    from_elsewhere,
    is_stale,
    read_provenance,
    users,
    version,
)
from batchspec.plan.observed import ContainerFacts, JobFacts, Observed, Stream, TaskFacts
from batchspec.plan.plan import Step
from batchspec.plan.rules.rule import QUESTION, WARNING, Finding, RuleGroup
from batchspec.plan.rules.run import applied_text
from batchspec.plan.task_sets import TaskSets, newest_open, only_manager
from batchspec.spec import Spec

OTHER_RUNS = RuleGroup(
    "Other runs",
    "Runs of the same name, applied from another folder or host, and other jobs on a pool.",
)

_JOIN = re.compile(r"-join-[0-9a-f]{14}$", re.IGNORECASE)
"""The end of the id of a task that only links stages (:mod:`batchspec.plan.needs`)."""
_NAMED = 3
"""How many of the blobs that an upload replaces are named."""
_STATES = ("succeeded", "failed", "running", "waiting")


@OTHER_RUNS.rule(
    "other-run",
    QUESTION,
    title="Another run of the same name is in the account",
    why="A spec with this name was applied from another folder or host. Its job contains tasks that"
    " this spec does not have, or can still get such tasks. Pool, job and containers of both"
    " runs have the same names, so this run would change the resources of the other run, and"
    " delete or replace its outputs, even if it has ended. The same version of the spec joins "
    "the run without asking.",
    fix="Change `name` and the containers' ids in this spec to keep the runs apart. Answer yes"
    " (`-y`) to apply this plan anyway.",
)
def other_run(
    spec: Spec,
    observed: Observed,
    task_sets: TaskSets | None = None,
    steps: Iterable[Step] = (),
) -> Iterator[Finding]:
    """The newest job, if the run was applied from another place.

    Without ``task_sets``, only an open job is reported. With ``task_sets``, a job is reported if it
    is of another version of the spec, and contains tasks that this spec does not have or can still
    get some. The finding lists what ``steps`` would delete.
    """
    is_open = newest_open(observed) is not None
    job = observed.jobs[-1] if observed.jobs else None
    if job is None or job.metadata.get(SPEC) != spec.name or job.state == "deleting":
        return
    if not from_elsewhere(job.metadata, {ORIGIN: observed.origin.id}):
        return
    states = _states(observed, job)
    if task_sets is None:
        concerns = is_open
    elif is_open:
        concerns = not _is_joined(spec, observed, job, states, task_sets)
    else:
        concerns = _has_other_work(spec, observed, job, task_sets)
    if not concerns:
        return
    applied = read_provenance(job.metadata)
    tasks = ", ".join(f"{states[state]:,} {state}" for state in _STATES if states[state])
    number = counted(states.total(), "task")
    state = "is active" if is_open else "is in the account"
    detail = f"job {job.id} has {number}: {tasks}" if states else f"job {job.id} has no tasks yet"
    yield Finding(
        f"another run of {spec.name!r} {state}: {applied_text(applied, observed.origin.by)}",
        spec.place("name"),
        ". ".join((detail, *_deletions(job, steps))),
    )


def _has_other_work(spec: Spec, observed: Observed, job: JobFacts, task_sets: TaskSets) -> bool:
    """Whether an ended job is of another version and has run work that this spec does not have.

    Tasks that a job manager task adds cannot be compared; with one, only the version counts.
    """
    if job.metadata.get(VERSION) == version(spec, observed) or observed.tasks is None:
        return False
    if only_manager(spec):
        return True
    works = WorkSet(task_sets.works)
    return any(work not in works for work in observed.tasks.works() if work)


def _deletions(job: JobFacts | None, steps: Iterable[Step]) -> Iterator[str]:
    """What a plan deletes and replaces of an earlier run, whose newest job is ``job``."""
    now: list[str] = []
    at_the_end: list[str] = []
    submits = False
    for step in steps:
        match step.action:
            case DeleteOutputs(container=container) if step.items:
                now.append(f"{counted(step.items, 'output')} in container {container}")
            case DeleteContainers():
                at_the_end.append(step.subject)
            case DeleteJob(job=name) if job is not None and name == job.id:
                at_the_end.append(step.subject)
            case SubmitTasks():
                submits = True
    if now:
        yield f"This plan deletes {' and '.join(now)}"
    if at_the_end:
        yield f"The clean-up deletes {' and '.join(at_the_end)}"
    if submits:
        yield "New outputs replace those with the same names"


_CHANGES_BLOBS = DeleteContainers | DeleteOutputs | RetryTasks | SubmitTasks | UploadFiles


@OTHER_RUNS.rule(
    "other-containers",
    QUESTION,
    title="Containers contain blobs of another run of the same name",
    why="A spec with this name was applied from another folder or host, and its job is no longer "
    "in the account. Its inputs and outputs are in containers with the same names, and this plan"
    " would replace or delete them. batchspec does not ask about blobs of the same version of "
    "the spec.",
    fix="Change `name` and the containers' ids in this spec to keep the runs apart. Answer yes"
    " (`-y`) if the blobs are no longer needed.",
)
def other_containers(
    spec: Spec, observed: Observed, works: Stream[str], steps: Iterable[Step]
) -> Iterator[Finding]:
    """Containers that were last used from another place and contain blobs of another version.

    ``works`` are the digests of the work of all tasks of this spec.
    """
    steps = tuple(steps)
    if not any(isinstance(step.action, _CHANGES_BLOBS) for step in steps):
        return
    elsewhere = dict(_applied_elsewhere(spec, observed))
    if not elsewhere:
        return
    own, present = WorkSet(works), version(spec, observed)
    counts = {
        key: number
        for key, applied in elsewhere.items()
        if (number := _foreign(observed.containers[key], own, applied.get(VERSION) == present))
    }
    if not counts:
        return
    first, *_ = counts
    there = ", ".join(
        f"{counted(number, 'blob')} in {spec.container_id(key)}" for key, number in counts.items()
    )
    applied = applied_text(read_provenance(elsewhere[first]), observed.origin.by)
    yield Finding(
        f"blobs of another run of {spec.name!r} are in its containers: {applied}",
        spec.containers[first].where,
        ". ".join((there, *_deletions(None, steps))),
    )


def _applied_elsewhere(spec: Spec, observed: Observed) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The keys of containers that were last used from another place, with who applied the spec."""
    for key, container in spec.containers.items():
        applied = applied_to(observed.containers[key].metadata or {}, spec.name)
        if not container.existing and from_elsewhere(applied, {ORIGIN: observed.origin.id}):
            yield key, applied


def _foreign(facts: ContainerFacts, works: WorkSet, same_version: bool) -> int:
    """The number of blobs that are neither files of this spec nor outputs of its tasks.

    Blobs without a stamp count as outputs of this spec if ``same_version`` is true.
    """
    stale = sum(is_stale(blob, works) for blob in facts.blobs)
    pairs = [same(file, blob) for file, blob in pair(facts.files, facts.blobs) if blob is not None]
    if same_version:
        return stale + pairs.count(False)
    return stale + sum(not blob.work for blob in facts.blobs) - pairs.count(True)


@OTHER_RUNS.rule(
    "foreign-blobs",
    QUESTION,
    title="An upload would replace blobs of another client or spec",
    why="The container contains blobs that another client or spec may have written, with the names"
    " of files of this spec and with other content. Storage does not keep the earlier content. A"
    " plan asks until this spec is recorded as a user of the container, or has a job.",
    fix="Give the container another `id`, or upload to a separate folder with `path`. Answer yes"
    " (`-y`) to replace the blobs.",
)
def foreign_blobs(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Iterator[Finding]:
    """Blobs that uploads replace in containers that this spec has not used yet."""
    uploads = {step.action.container for step in steps if isinstance(step.action, UploadFiles)}
    runs = (*observed.jobs, *((observed.schedule,) if observed.schedule is not None else ()))
    used = any(run.metadata.get(SPEC) == spec.name for run in runs)
    for key, container in spec.containers.items():
        facts = observed.containers[key]
        if container.id not in uploads or facts.metadata is None:
            continue
        recorded = users(facts.metadata)
        if spec.name in recorded or (used and not recorded):
            continue
        pairs = pair(facts.files, facts.blobs)
        replaced = (file.blob for file, blob in pairs if blob and not same(file, blob))
        first = list(islice(replaced, _NAMED))
        count = len(first) + sum(1 for _ in replaced)
        if count:
            owner = f"the spec {recorded[0]}" if recorded else "another client"
            yield Finding(
                f"the upload would replace {counted(count, 'blob')} in the container"
                f" {container.id!r} of {owner}",
                container.where,
                ", ".join([*first, *([f"{count - _NAMED:,} more"] if count > _NAMED else [])]),
            )


_CHANGES_POOL = ReplacePool | ResizePool | ScalePool | UpdatePool


@OTHER_RUNS.rule(
    "other-pool",
    QUESTION,
    title="A pool of another run of the same name is changed",
    why="A spec with this name was applied from another folder or host and created the pool. Its"
    " tasks may depend on the current nodes.",
    fix="Change `name` or the pool's `id` in this spec to use another pool. Answer yes (`-y`) to"
    " change it.",
)
def other_pool(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Iterator[Finding]:
    """Changes of a pool that was applied from another place."""
    facts = observed.pool
    if facts is None or facts.metadata.get(SPEC) != spec.name:
        return
    if not from_elsewhere(facts.metadata, {ORIGIN: observed.origin.id}):
        return
    changes = [
        f"{s.verb} {s.subject}: {s.reason}" for s in steps if isinstance(s.action, _CHANGES_POOL)
    ]
    if changes:
        applied = applied_text(read_provenance(facts.metadata), observed.origin.by)
        yield Finding(
            f"the pool {facts.id!r} belongs to another run of {spec.name!r}: {applied}",
            spec.pool.where,
            "This plan would " + "; ".join(changes),
        )


def other_deletions(spec: Spec, observed: Observed, steps: Iterable[Step]) -> Iterator[Diagnostic]:
    """Objects that ``destroy`` would delete and that were last applied from another place."""
    elsewhere = {spec.container_id(key): key for key, _ in _applied_elsewhere(spec, observed)}
    for step in steps:
        match step.action:
            case DeleteContainers(containers=names):
                keys = [elsewhere[name] for name in names if name in elsewhere]
                if keys:
                    record = applied_to(observed.containers[keys[0]].metadata or {}, spec.name)
                    applied = applied_text(read_provenance(record), observed.origin.by)
                    yield other_containers.report(
                        Finding(
                            f"the containers belong to another run of {spec.name!r}: {applied}",
                            spec.containers[keys[0]].where,
                            ", ".join(map(spec.container_id, keys)),
                        )
                    )
            case DeletePool() if observed.pool is not None:
                metadata = observed.pool.metadata
                if from_elsewhere(metadata, {ORIGIN: observed.origin.id}):
                    applied = applied_text(read_provenance(metadata), observed.origin.by)
                    yield other_pool.report(
                        Finding(
                            f"the pool {observed.pool.id!r} belongs to another run of"
                            f" {spec.name!r}: {applied}",
                            spec.pool.where,
                        )
                    )


def other_schedule(spec: Spec, observed: Observed) -> Iterator[Diagnostic]:
    """The job schedule, if it was applied from another place and has not ended.

    Only a plan with steps is checked: the same version of the spec has nothing to change.
    """
    schedule = observed.schedule
    if schedule is None or schedule.state not in {"active", "disabled"}:
        return
    if schedule.metadata.get(SPEC) != spec.name:
        return
    if not from_elsewhere(schedule.metadata, {ORIGIN: observed.origin.id}):
        return
    applied = read_provenance(schedule.metadata)
    yield other_run.report(
        Finding(
            f"another run of {spec.name!r} is active: {applied_text(applied, observed.origin.by)}",
            spec.place("name"),
            f"the job schedule {schedule.id} is {schedule.state}",
        )
    )


def _is_joined(
    spec: Spec, observed: Observed, job: JobFacts, states: Counter[str], task_sets: TaskSets
) -> bool:
    """Whether the spec may use the job: it has the same version, or only tasks of the spec."""
    if job.metadata.get(VERSION) == version(spec, observed):
        return True
    known = 0
    if task_sets.open_job is not None:
        known = sum(len(stage.here) - len(stage.submit) for stage in task_sets.stages)
    closed = job.properties.get("onAllTasksComplete") == "terminatejob"
    return closed and bool(states) and states.total() <= known


def created_meanwhile(kind: str, name: str, metadata: Mapping[str, str]) -> Diagnostic:
    """The finding that another run created a pool or job after the plan was made.

    ``metadata`` are those of the pool or job.
    """
    return other_run.report(
        Finding(
            f"another run created the {kind} {name!r} in the meantime:"
            f" {applied_text(read_provenance(metadata), '')}",
            fix="Change `name` in this spec to keep the runs apart. `batchspec plan` shows what"
            " this spec would change.",
        )
    )


@OTHER_RUNS.rule(
    "pool-in-use",
    WARNING,
    title="A pool is kept because another job uses it",
    why="Clean-up and `destroy` would delete the pool. The service would requeue the running tasks"
    " of the other job, and they could not run again without the pool.",
    fix="Run the command again when that job has ended, or delete the pool now with `batchspec"
    " destroy --force`, which also deletes results that have not been downloaded.",
)
def pool_in_use(pool: str, job: JobFacts) -> Iterator[Finding]:
    """A job of another spec or client with tasks that have not ended."""
    yield Finding(
        f"the pool {pool!r} is kept: {_tasks_of(job)} have not ended",
        detail="Its nodes are billed as long as they exist.",
    )


@OTHER_RUNS.rule(
    "replaced-pool-in-use",
    QUESTION,
    title="A pool on which tasks of another spec run would be replaced",
    why="The service puts running tasks back to waiting when their pool is deleted; they start"
    " again on the new pool.",
    fix="Run the command again when that job has ended. Answer yes (`-y`) to replace the pool now.",
)
def replaced_pool_in_use(pool: str, job: JobFacts) -> Iterator[Finding]:
    """A job of another spec or client with tasks that have not ended."""
    yield Finding(f"the pool {pool!r} would be replaced: {_tasks_of(job)} have not ended")


def _tasks_of(job: JobFacts) -> str:
    user = job.metadata.get(SPEC)
    of = f"of the spec {user!r}" if user else "of another client"
    return f"tasks of the job {job.id!r} {of}"


def _states(observed: Observed, job: JobFacts) -> Counter[str]:
    """The number of tasks of a job in each state, without tasks that only link stages."""
    counts: Counter[str] = Counter()
    index = observed.tasks
    for name, where, succeeded in index.ends() if index is not None else ():
        if where == job.id and not _JOIN.search(name):
            assert index is not None
            facts = index.versions(name)[0][1] if succeeded is None else None
            counts[_state(succeeded, facts)] += 1
    return counts


def _state(succeeded: bool | None, facts: TaskFacts | None) -> str:
    if succeeded is not None:
        return "succeeded" if succeeded else "failed"
    return "waiting" if facts is None or facts.state == "active" else "running"
