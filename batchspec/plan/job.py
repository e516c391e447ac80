"""The steps for the job and its tasks: create or keep it, submit tasks, close it, wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from batchspec.diagnostics import Diagnostics
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
from batchspec.plan.job_body import job_change
from batchspec.plan.metadata import KEEPS, SPEC, STAGES, read_provenance
from batchspec.plan.observed import JobFacts, Observed
from batchspec.plan.outputs import Outputs
from batchspec.plan.plan import Step, Verb
from batchspec.plan.rules.account import job_not_ours
from batchspec.plan.stage_counts import recorded, stage_totals
from batchspec.plan.stage_tasks import StageTasks
from batchspec.plan.task_sets import TaskSets, linked_tasks
from batchspec.spec import EachFile, PoolKind, Record, Spec


def job_steps(
    spec: Spec, work: TaskSets, body: Record, sas: timedelta, problems: Diagnostics
) -> Iterator[Step]:
    """The step that creates the job, or keeps, updates or replaces the open one."""
    step_id, subject = f"job:{work.job}", f"job {work.job}"
    after = (f"pool:{spec.pool.id}", *earlier_ids(work))
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
    """What the open job does not record yet."""
    if work.keeps and job.metadata.get(KEEPS) != work.keeps:
        yield "records which tasks retry keeps"
    stages = job.metadata.get(STAGES)
    if stages is not None and stages != recorded(stage_totals(work.stages)):
        yield "records how many tasks each stage has"


def task_steps(
    spec: Spec, work: TaskSets, data: tuple[str, ...], sas: timedelta, *, windows: bool
) -> Iterator[Step]:
    """For each stage the steps that submit and retry tasks, and one that keeps what is done.

    ``data`` are the steps that create containers and upload files. A stage with a task for each
    file does not wait for the whole upload: each task is submitted when its file has arrived.
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
        (stage.other, "with an earlier version of the program"),
    )
    return ", ".join(f"{count:,} {text}" for count, text in parts if count)


def _left_out(left: int) -> str:
    if not left:
        return ""
    return f"; {'1 task is' if left == 1 else f'{left:,} tasks are'} left out"


def earlier_ids(work: TaskSets) -> tuple[str, ...]:
    """The id of the step that ends tasks of an earlier version, if there is one."""
    return () if work.earlier is None else (f"earlier:{work.earlier.job.id}",)


def earlier_steps(observed: Observed, work: TaskSets) -> Iterator[Step]:
    """The step that ends what the open job contains of an earlier version of the spec."""
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
    """Who submitted a job, and when; without the date if it is today."""
    recorded = read_provenance(job.metadata)
    at = (recorded.at or job.created).astimezone(UTC)
    when = f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
    return f"submitted by {recorded.by} at {when}" if recorded.by else f"submitted at {when}"


def _submit_reason(stage: StageTasks, joins: int) -> str:
    fresh = len(stage.submit) - stage.again - stage.changed - stage.lost
    parts = [
        (fresh, "new" if fresh == stage.total else f"{fresh:,} new"),
        (stage.changed, f"{stage.changed:,} changed"),
        (stage.lost, f"{stage.lost:,} with missing outputs"),
        (stage.again, f"{stage.again:,} not successful in an earlier job"),
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
    promised: Outputs,
) -> Iterator[Step]:
    """Close the job after the submission, and wait until its ``tasks`` tasks are completed.

    ``restarts`` are the steps that restart nodes, ``promised`` the outputs of the tasks. A closed
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
            outputs=promised,
            stages=stage_totals(work.stages),
        ),
        Verb.WAIT,
        f"tasks of {work.job}",
        "until all are completed" + _left_out(work.left),
        (*(submitted if closed else (close,)), *restarts, *ready),
        tasks,
    )
