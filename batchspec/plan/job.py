"""The job: the body of Create Job, its differences from an open job, and the steps for its
tasks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from batchspec.diagnostics import Diagnostics, counted
from batchspec.frozen import frozen
from batchspec.plan.actions import (
    CloseJob,
    CreateJob,
    ReplaceJob,
    RetryTasks,
    SubmitTasks,
    TerminateTasks,
    UpdateJob,
    WaitForTasks,
)
from batchspec.plan.changes import JOB, ChangeMethod, Difference, differences
from batchspec.plan.identity import content_digest, digest
from batchspec.plan.ingredients import (
    PARTS,
    changed_files,
    changed_parts,
    named_changes,
    parts_of_job,
)
from batchspec.plan.managed_identity import authorized
from batchspec.plan.metadata import (
    DIGEST,
    KEEPS,
    KEPT,
    LEFT,
    SCOPE,
    SPEC,
    STAGES,
    VERSION,
    metadata_differences,
    metadata_of,
    provenance,
    read_provenance,
)
from batchspec.plan.observed import JobFacts, Observed
from batchspec.plan.outputs import Outputs
from batchspec.plan.plan import Step, Verb
from batchspec.plan.pool import without_size
from batchspec.plan.rules.account import job_not_ours
from batchspec.plan.rules.signed_urls import with_variables_of
from batchspec.plan.stage_tasks import StageTasks, recorded, stage_totals
from batchspec.plan.task_sets import OPEN, TaskSets, linked_tasks
from batchspec.plan.tasks import with_resources
from batchspec.spec import EachFile, PoolKind, Record, Spec, Value


def job_body(spec: Spec, observed: Observed, work: TaskSets, pool: Record, version: str) -> Record:
    """The body of Create Job; ``pool`` is that of Create Pool.

    ``version`` is that of the run (:data:`~batchspec.plan.metadata.VERSION`).

    A later step sets ``onAllTasksComplete``: with it, a job without tasks ends at once.
    """
    body = properties(spec, observed, pool)
    kept = sum(stage.before for stage in work.stages)
    stages = recorded(stage_totals(work.stages))
    body = body.with_(
        id=work.job,
        onAllTasksComplete="noaction",
        metadata=(
            *body.array("metadata"),
            Record(name=SPEC, value=spec.name),
            Record(name=DIGEST, value=fixed_digest(spec, observed, body)),
            Record(name=SCOPE, value="whole" if work.whole else "rest"),
            Record(name=VERSION, value=version),
            Record(name=PARTS, value=parts_of_job(spec, observed)),
            *provenance(observed),
            *([Record(name=KEEPS, value=work.keeps)] if work.keeps else []),
            *([Record(name=KEPT, value=str(kept))] if kept else []),
            *([Record(name=LEFT, value=left)] if (left := left_out(work)) else []),
            *([Record(name=STAGES, value=stages)] if stages else []),
        ),
    )
    return with_variables_of(body, "jobPreparationTask", "jobReleaseTask")


def left_out(work: TaskSets) -> str:
    """The value of :data:`LEFT`; empty if every task is done or in the job."""
    return f"[{work.absent},{work.failed_before}]" if work.absent else ""


def properties(spec: Spec, observed: Observed, pool: Record) -> Record:
    """The properties of the job in the spec, with its pool and the files of its special tasks."""
    body = spec.job.properties.with_(poolInfo=_pool_info(spec, pool))
    for key, containers in (
        ("jobPreparationTask", spec.job.prepare_containers),
        ("jobReleaseTask", spec.job.release_containers),
    ):
        task = body.get(key)
        if isinstance(task, Record) and containers:
            body = body.with_(**{key: with_resources(task, spec, observed, containers)})
    return authorized(body, spec.storage_identity)


def _pool_info(spec: Spec, pool: Record) -> Record:
    if spec.pool.kind is not PoolKind.JOB:
        return Record(poolId=spec.pool.id)
    # An auto pool gets its id from the service.
    unnamed = Record({key: value for key, value in pool.items() if key != "id"})
    return Record(autoPoolSpecification=Record({**spec.pool.auto, "pool": unnamed}))


def fixed_digest(spec: Spec, observed: Observed, body: Record) -> str:
    """A digest of the properties that cannot change after the job was created.

    It includes the job preparation task, because a node is prepared once, and the start
    configuration of the nodes of an auto pool.
    """
    around = (*spec.job.prepare_containers, *spec.job.release_containers)
    if spec.pool.kind is PoolKind.JOB:
        around = (*around, *spec.pool.start_containers)
    contents = tuple(content_digest(observed.containers[key].files) for key in around)
    fixed = {
        key: _comparable(key, value)
        for key, value in body.items()
        if JOB.get(key) is ChangeMethod.REPLACE and key != "id"
    }
    return digest(Record(fixed), contents)


def _comparable(key: str, value: Value) -> Value:
    """A property without parts that need no other job: the size of an auto pool, provenance."""
    if key != "poolInfo" or not isinstance(value, Record):
        return value
    auto = value.record("autoPoolSpecification")
    pool = auto.record("pool")
    if not pool:
        return value
    return Record(autoPoolSpecification=auto.with_(pool=without_size(pool).with_(metadata=None)))


_DEFAULTS = Record(
    priority=0,
    maxParallelTasks=-1,
    allowTaskPreemption=False,
    constraints=Record(maxTaskRetryCount=0),
    usesTaskDependencies=False,
    onTaskFailure="noaction",
)
"""The service's defaults of omitted properties (``BatchJobCreateOptions``)."""
_PREPARATION_CHANGED = "its preparation task or its files have changed"
_SIZE = "poolInfo.autoPoolSpecification."


@frozen
class JobChange:
    """``patch`` is the part that can be changed in place, ``reason`` the reason; both are empty if
    no part can.

    ``next`` describes changes that only the next job will have.
    """

    patch: Record
    reason: str
    next: tuple[str, ...] = ()


def why_another(spec: Spec, observed: Observed, pool: Record, job: JobFacts) -> str:
    """Why an open job cannot be updated to the spec; empty if it can.

    A job that this spec did not create is not changed.
    """
    body = properties(spec, observed, pool)
    made_from = job.metadata.get(DIGEST)
    ours = job.metadata.get(SPEC) == spec.name
    if not ours or made_from is None or made_from == fixed_digest(spec, observed, body):
        return ""
    found = "; ".join(_texts(body, job, ChangeMethod.REPLACE))
    if found:
        return found
    changes = named_changes(changed_files(spec, observed, job.metadata))
    return f"{_PREPARATION_CHANGED}: {changes}" if changes else _PREPARATION_CHANGED


def later_changes(spec: Spec, observed: Observed, pool: Record) -> str:
    """The differences of the newest job, which has ended, from the next job; empty if none."""
    job = observed.jobs[-1] if observed.jobs else None
    if job is None or job.state in OPEN or job.metadata.get(SPEC) != spec.name:
        return ""
    body = properties(spec, observed, pool)
    if job.metadata.get(DIGEST) in {None, fixed_digest(spec, observed, body)}:
        return ""
    return "; ".join(_texts(body, job, ChangeMethod.REPLACE))


def job_change(body: Record, job: JobFacts) -> JobChange:
    """The changes of an open job that can stay; ``body`` is that of Create Job."""
    found = [
        d for d in job_differences(body, job.properties) if JOB[d.property] is ChangeMethod.NOW
    ]
    found = [d for d in found if d.property not in {"onAllTasksComplete", "metadata"}]
    patch = {d.property: _with_defaults(d.property, body) for d in found}
    reasons = [difference.words for difference in found]
    for difference in metadata_differences(body, job.metadata):
        reasons.append(difference.words)
        patch["metadata"] = body["metadata"]
    made = job.metadata.get(VERSION)
    if made is not None and made != metadata_of(body)[VERSION]:
        changes = named_changes(changed_parts(job.metadata, metadata_of(body)))
        of_it = f": {changes}" if changes else ""
        reasons = reasons or [f"the spec has changed since it was applied{of_it}"]
        patch["metadata"] = body["metadata"]
    return JobChange(
        Record(patch),
        "; ".join(reasons),
        tuple(_texts(body, job, ChangeMethod.NEXT)),
    )


def _texts(body: Record, job: JobFacts, how: ChangeMethod) -> Iterator[str]:
    for difference in job_differences(body, job.properties):
        if _method(difference) is how:
            yield difference.words


def _method(difference: Difference) -> ChangeMethod:
    path = difference.path.removeprefix(f"{_SIZE}pool.")
    sizes = path != difference.path and path.startswith(("target", "enableAuto", "autoScale"))
    return ChangeMethod.NEXT if sizes else JOB[difference.property]


def job_differences(body: Record, there: Record) -> Iterator[Difference]:
    """Every property in which a job differs from the body; omitted properties have their defaults.

    ``there`` is Get Job's body, or the job specification of a schedule.
    """
    wanted = {key: _with_defaults(key, body) for key in JOB if key in body or key in _DEFAULTS}
    for key in ("id", "metadata", "onAllTasksComplete"):
        wanted.pop(key, None)
    for difference in differences(Record(wanted), there):
        left_out = difference.found is None and _is_default(difference)
        if not left_out and not difference.path.endswith(".pool.metadata"):
            yield difference
    for key in ("jobManagerTask", "jobPreparationTask", "jobReleaseTask"):
        if key not in body and there.get(key) is not None:
            yield Difference(key, None, there[key])
    env = "commonEnvironmentSettings"
    if env not in body and there.get(env):
        yield Difference(env, None, there[env])


def _with_defaults(key: str, body: Record) -> Value:
    """A property with the defaults of its omitted members."""
    given, default = body.get(key), _DEFAULTS.get(key)
    if isinstance(default, Record):
        return Record({**default, **body.record(key)})
    return default if given is None else given


def _is_default(difference: Difference) -> bool:
    value: Value = _DEFAULTS
    for part in difference.path.split("."):
        value = value.get(part) if isinstance(value, Record) else None
    return value == difference.wanted


def job_steps(
    spec: Spec, work: TaskSets, body: Record, sas: timedelta, problems: Diagnostics
) -> Iterator[Step]:
    """The step that creates the job, or keeps, updates or replaces the open job."""
    step_id, subject = f"job:{work.job}", f"job {work.job}"
    packages = (f"package:{name}" for name in spec.packages)
    after = (f"pool:{spec.pool.id}", *packages, *earlier_ids(work))
    if work.ends is not None and work.ends.reason:
        open_job = work.ends.job.id
        reason = f"{work.ends.reason}; continues as {work.job}"
        replace_job = ReplaceJob(open_job, work.job, body, sas)
        yield Step(step_id, replace_job, Verb.REPLACE, f"job {open_job}", reason, after)
        return
    if work.open_job is None:
        if work.ends is not None:
            why = f"continues {work.ends.job.id}, which ends with the earlier version"
        elif work.job == spec.job.id:
            why = "new"
        else:
            why = "the previous job has ended"
        action = CreateJob(work.job, body, sas, work.ended)
        yield Step(step_id, action, Verb.CREATE, subject, why, after)
        return
    if work.open_job.metadata.get(SPEC) != spec.name:
        problems.extend(job_not_ours(spec, work.open_job))
        return
    change = job_change(body, work.open_job)
    records = tuple(_records(work, work.open_job))
    if records:
        change = replace(
            change,
            patch=change.patch.with_(metadata=body["metadata"]),
            reason="; ".join(filter(None, (change.reason, *records))),
        )
    later = "".join(f"; the next job has {text}" for text in change.next)
    if change.patch:
        patch = UpdateJob(work.job, change.patch)
        yield Step(step_id, patch, Verb.UPDATE, subject, change.reason + later)
        return
    yield Step(step_id, None, Verb.KEEP, subject, f"open{later}")


def _records(work: TaskSets, job: JobFacts) -> Iterator[str]:
    """The metadata that the open job does not have yet."""
    if work.keeps and job.metadata.get(KEEPS) != work.keeps:
        yield "records which tasks retry keeps"
    if job.metadata.get(LEFT, "") != left_out(work):
        yield "records the number of tasks that are left out"
    stages = job.metadata.get(STAGES)
    if stages is not None and stages != recorded(stage_totals(work.stages)):
        yield "records the number of tasks of each stage"


def task_steps(
    spec: Spec, work: TaskSets, data: tuple[str, ...], sas: timedelta, *, windows: bool
) -> Iterator[Step]:
    """The steps of each stage that submit and retry tasks, and the step that keeps finished tasks.

    ``data`` are the steps that create containers and upload files. A stage with a task for each
    file does not wait for the whole upload: each task is submitted when its file is uploaded.
    """
    job = f"job:{work.job}"
    data = (*data, *earlier_ids(work))
    linked = linked_tasks(work, windows=windows)
    for stage in work.stages:
        name = stage.stage.name
        tasks = linked[name]
        each = stage.stage.for_each
        arriving: dict[str, str] = {}
        if isinstance(each, EachFile) and f"upload:{each.container}" in data:
            arriving[each.container] = spec.container_id(each.container)
        before = (job, *(step for step in data if step.removeprefix("upload:") not in arriving))
        if len(tasks):
            yield Step(
                f"tasks:{name}",
                SubmitTasks(work.job, name, tasks, sas, arriving),
                Verb.SUBMIT,
                f"tasks of {name}",
                _submit_reason(stage, len(tasks) - len(stage.submit)),
                before,
                len(tasks),
                changes=stage.changes,
            )
        if len(stage.retry):
            yield Step(
                f"tasks:{name}:retry",
                RetryTasks(work.job, name, stage.retry),
                Verb.SUBMIT,
                f"failed tasks of {name}",
                "failed before",
                (job, *data),
                len(stage.retry),
            )
        kept = stage.done + stage.in_progress
        if kept:
            reason = _kept_reason(stage)
            yield Step(f"tasks:{name}:kept", None, Verb.KEEP, f"tasks of {name}", reason, (), kept)


def _kept_reason(stage: StageTasks) -> str:
    """Why tasks of a stage are kept."""
    parts = (
        (stage.done, "succeeded"),
        (stage.in_progress, "in progress"),
        (stage.other, "of an earlier version"),
    )
    return ", ".join(f"{count:,} {text}" for count, text in parts if count)


def _left_out(left: int) -> str:
    if not left:
        return ""
    return f"; {counted(left, 'task is', 'tasks are')} left out"


def earlier_ids(work: TaskSets) -> tuple[str, ...]:
    """The id of the step that ends tasks of an earlier version, if there is one."""
    return () if work.earlier is None else (f"earlier:{work.earlier.job.id}",)


def earlier_steps(observed: Observed, work: TaskSets) -> Iterator[Step]:
    """The step that ends the tasks of an earlier version of the spec in the open job."""
    earlier = work.earlier
    if earlier is None:
        return
    job = earlier.job
    action = TerminateTasks(job.id, earlier.whole, earlier.keep, earlier.replaced)
    counts = (
        (earlier.running, "running"),
        (earlier.waiting, "waiting"),
        (earlier.ended, "completed"),
    )
    states = ", ".join(f"{count:,} {state}" for count, state in counts if count)
    reason = f"{states or 'all completed'}; {_submitted(job, observed.now)}"
    yield Step(
        f"earlier:{job.id}",
        action,
        Verb.TERMINATE,
        "tasks of an earlier version",
        reason,
        (),
        earlier.total,
    )


def _submitted(job: JobFacts, now: datetime) -> str:
    """The client that submitted a job, and the time; without the date if it is today."""
    recorded = read_provenance(job.metadata)
    at = (recorded.at or job.created).astimezone(UTC)
    when = f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
    return f"submitted by {recorded.by} at {when}" if recorded.by else f"submitted at {when}"


def _submit_reason(stage: StageTasks, joins: int) -> str:
    fresh = len(stage.submit) - stage.again - stage.dependent - stage.changed - stage.lost
    changes = named_changes(stage.changes, stage.changes_total)
    parts = [
        (fresh, "new" if fresh == stage.total else f"{fresh:,} new"),
        (stage.changed, f"{stage.changed:,} changed" + (f" ({changes})" if changes else "")),
        (stage.lost, f"{stage.lost:,} with missing outputs"),
        (stage.again, f"{stage.again:,} not successful in an earlier job"),
        (stage.dependent, f"{stage.dependent:,} dependent on tasks that run again"),
        (joins, f"{joins:,} to link stages"),
    ]
    return ", ".join(text for number, text in parts if number)


def is_closed(work: TaskSets) -> bool:
    """Whether the open job already ends automatically when all its tasks are completed."""
    if work.open_job is None:
        return False
    return work.open_job.properties.get("onAllTasksComplete") == "terminatejob"


def ending_steps(
    spec: Spec,
    work: TaskSets,
    submitted: tuple[str, ...],
    data: tuple[str, ...],
    restarts: tuple[str, ...],
    *,
    tasks: int,
    expected: Outputs,
) -> Iterator[Step]:
    """Close the job after the submission, and wait until its ``tasks`` tasks are completed.

    ``restarts`` are the steps that restart nodes, ``expected`` the outputs of the tasks. A closed
    job stays closed (Update Job rejects ``noaction``), and accepts tasks while any of its tasks is
    not completed.
    """
    close = f"job:{work.job}:close"
    closed = is_closed(work)
    if not closed:
        yield Step(
            close,
            CloseJob(work.job),
            Verb.UPDATE,
            f"job {work.job}",
            "ends when all its tasks are completed",
            (f"job:{work.job}", *data, *submitted),
        )
    # The service names and manages an auto pool.
    pool = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    ready = (f"pool:{pool}:ready",) if pool else ()
    yield Step(
        f"job:{work.job}:done",
        WaitForTasks(
            work.job,
            pool,
            tasks,
            spec.job.limit,
            kept=sum(stage.before for stage in work.stages),
            superseded=work.finished_earlier,
            left=work.left,
            absent=work.absent,
            failed_before=work.failed_before,
            outputs=expected,
            stages=stage_totals(work.stages),
        ),
        Verb.WAIT,
        f"tasks of {work.job}",
        "until all are completed" + _left_out(work.left),
        (*(submitted if closed else (close,)), *restarts, *ready),
        tasks,
    )
