"""The steps for the job and its tasks: make or keep it, fill it, close it, wait for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from batchspec.plan.actions import (
    CloseJob,
    CreateJob,
    RetryTasks,
    SubmitTasks,
    UpdateJob,
    WaitForTasks,
)
from batchspec.plan.diff import differences
from batchspec.plan.digest import digest
from batchspec.plan.needs import link
from batchspec.plan.observed import Observed, Stream
from batchspec.plan.plan import Step, Verb
from batchspec.plan.streams import Mapped
from batchspec.plan.tasks import Task, with_resources
from batchspec.plan.work import StageWork, Work
from batchspec.problems import Problem, Problems
from batchspec.spec.model import EachFile, PoolKind, Spec
from batchspec.spec.values import Record

_CHANGEABLE = ("constraints", "priority", "maxParallelTasks", "onTaskFailure")
"""What Update Job takes for a job that is not disabled."""


def job_body(spec: Spec, observed: Observed, work: Work, pool: Record) -> Record:
    """The job as Create Job takes it.

    ``onAllTasksComplete`` is left to a later step: a job that is made with it and has no task yet
    ends at once.
    """
    body = spec.job.properties
    where = (
        Record(autoPoolSpecification=Record({**spec.pool.auto, "pool": _unnamed(pool)}))
        if spec.pool.kind is PoolKind.JOB
        else Record(poolId=spec.pool.id)
    )
    given = body.get("metadata")
    body = body.with_(id=work.job, poolInfo=where, onAllTasksComplete="noaction")
    for key, containers in (
        ("jobPreparationTask", spec.job.prepare_containers),
        ("jobReleaseTask", spec.job.release_containers),
    ):
        task = body.get(key)
        if isinstance(task, Record) and containers:
            body = body.with_(**{key: with_resources(task, spec, observed, containers)})
    return body.with_(
        metadata=(
            *(given if isinstance(given, tuple) else ()),
            Record(name="batchspec:spec", value=spec.name),
            Record(name="batchspec:digest", value=digest(_changeable(body))),
            Record(name="batchspec:scope", value="whole" if work.whole else "rest"),
        )
    )


def _unnamed(pool: Record) -> Record:
    """A pool without its id: an auto pool gets one from the service."""
    return Record({key: value for key, value in pool.items() if key != "id"})


def _changeable(body: Record) -> Record:
    return Record({key: body[key] for key in _CHANGEABLE if key in body})


def job_steps(
    spec: Spec, work: Work, body: Record, sas: timedelta, problems: Problems
) -> Iterator[tuple[Step, bool]]:
    """The step that makes the job, or keeps or updates the one that is open (``True``: kept)."""
    step_id, subject = f"job:{work.job}", f"job {work.job}"
    if work.open_job is None:
        why = (
            "it is not there yet"
            if work.job == spec.job.id
            else "the earlier job has ended and takes no more tasks"
        )
        pool = f"pool:{spec.pool.id}"
        yield (
            Step(step_id, CreateJob(work.job, body, sas), Verb.CREATE, subject, why, (pool,)),
            False,
        )
        return
    if work.open_job.metadata.get("batchspec:spec") != spec.name:
        problems.add(
            Problem(
                "job-not-ours",
                f"a job {work.open_job.id!r} is there that this spec did not make",
                where=spec.job.where,
                hint="Give yours another `id`, or delete that job.",
            )
        )
    wanted = _changeable(body)
    found = tuple(differences(wanted, work.open_job.properties))
    if found:
        reason = "; ".join(difference.words for difference in found)
        yield Step(step_id, UpdateJob(work.job, wanted), Verb.UPDATE, subject, reason), False
        return
    yield Step(step_id, None, Verb.KEEP, subject, "it is there and still open"), True


def task_steps(
    spec: Spec, work: Work, data: tuple[str, ...], sas: timedelta, *, windows: bool
) -> Iterator[tuple[Step, bool]]:
    """For each stage the steps that submit and retry tasks, and one that keeps what is done.

    ``data`` are the steps that make containers and upload files. A stage with a task for each file
    does not wait for that upload as a whole: its tasks go as their files arrive.
    """
    job = f"job:{work.job}"
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
            yield (
                Step(
                    f"tasks:{name}",
                    SubmitTasks(work.job, name, tasks, sas, arriving),
                    Verb.SUBMIT,
                    f"tasks of {name}",
                    _submit_reason(stage, len(tasks) - len(stage.submit)),
                    before,
                    len(tasks),
                ),
                False,
            )
        if len(stage.retry):
            yield (
                Step(
                    f"tasks:{name}:retry",
                    RetryTasks(work.job, name, stage.retry),
                    Verb.SUBMIT,
                    f"failed tasks of {name}",
                    "they failed, and run again",
                    (job, *data),
                    len(stage.retry),
                ),
                False,
            )
        kept = stage.done + stage.under_way
        if kept:
            reason = f"{stage.done} succeeded, {stage.under_way} on their way"
            yield (
                Step(f"tasks:{name}:kept", None, Verb.KEEP, f"tasks of {name}", reason, (), kept),
                True,
            )


def linked_tasks(work: Work, *, windows: bool) -> Mapping[str, Stream[Task]]:
    """The tasks to submit, by stage, with what they wait for and the joins that takes."""
    return link(
        (stage.stage for stage in work.stages),
        {stage.stage.name: stage.submit for stage in work.stages},
        {stage.stage.name: Mapped(stage.here, lambda task: task.id) for stage in work.stages},
        windows=windows,
    )


def _submit_reason(stage: StageWork, joins: int) -> str:
    fresh = len(stage.submit) - stage.again
    parts = [
        (fresh, "none is there yet" if fresh == stage.total else f"{fresh} not there yet"),
        (stage.again, f"{stage.again} did not succeed in an earlier job"),
        (joins, f"{joins} join them for what waits"),
    ]
    return ", ".join(words for number, words in parts if number)


def is_closed(work: Work) -> bool:
    """Whether the open job already ends by itself when all its tasks are completed."""
    if work.open_job is None:
        return False
    return work.open_job.properties.get("onAllTasksComplete") == "terminatejob"


def ending_steps(
    spec: Spec, work: Work, submitted: tuple[str, ...], data: tuple[str, ...], tasks: int
) -> Iterator[Step]:
    """Close the job when all is in it, and wait until its ``tasks`` tasks are completed.

    A job that is closed stays so (Update Job refuses ``noaction`` then), and takes tasks while any
    of those it has is not completed.
    """
    close = f"job:{work.job}:close"
    closed = is_closed(work)
    if not closed:
        yield Step(
            close,
            CloseJob(work.job),
            Verb.UPDATE,
            f"job {work.job}",
            "it ends by itself when all its tasks are completed",
            (f"job:{work.job}", *data, *submitted),
        )
    # An auto pool has a name of the service's making, and is looked after by it.
    pool = "" if spec.pool.kind is PoolKind.JOB else spec.pool.id
    ready = (f"pool:{pool}:ready",) if pool else ()
    yield Step(
        f"job:{work.job}:done",
        WaitForTasks(work.job, pool, tasks, spec.job.limit),
        Verb.WAIT,
        f"tasks of {work.job}",
        "the run lasts until they are completed",
        (*(submitted if closed else (close,)), *ready),
        tasks,
    )
