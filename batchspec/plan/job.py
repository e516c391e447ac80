"""The steps for the job and its tasks: make or keep it, fill it, close it, wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from batchspec.diagnostics import Diagnostic, Diagnostics
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
from batchspec.plan.rules.catalogue import finding
from batchspec.plan.stage_counts import recorded, stage_totals
from batchspec.plan.stage_tasks import StageTasks
from batchspec.plan.task_sets import TaskSets, linked_tasks
from batchspec.spec import EachFile, PoolKind, Record, Spec


def job_steps(
    spec: Spec, work: TaskSets, body: Record, sas: timedelta, problems: Diagnostics
) -> Iterator[tuple[Step, bool]]:
    """The step that makes the job, or keeps, updates or replaces the open one (``True``: kept)."""
    step_id, subject = f"job:{work.job}", f"job {work.job}"
    after = (f"pool:{spec.pool.id}", *earlier_ids(work))
    if work.ends is not None and work.ends.reason:
        open_job = work.ends.job.id
        reason = f"{work.ends.reason}; it goes on as {work.job}"
        replace_job = ReplaceJob(open_job, work.job, body, sas)
        yield Step(step_id, replace_job, Verb.REPLACE, f"job {open_job}", reason, after), False
        return
    if work.open_job is None:
        if work.ends is not None:
            why = f"continues {work.ends.job.id}, which ends with the earlier version"
        elif work.job == spec.job.id:
            why = "it is not there yet"
        else:
            why = "the earlier job has ended and takes no more tasks"
        action = CreateJob(work.job, body, sas, work.ended)
        yield Step(step_id, action, Verb.CREATE, subject, why, after), False
        return
    if work.open_job.metadata.get(SPEC) != spec.name:
        problems.add(_not_ours(spec, work.open_job))
        return
    change = job_change(body, work.open_job)
    records = tuple(_records(work, work.open_job))
    if records:
        change = replace(
            change,
            patch=change.patch.with_(metadata=body["metadata"]),
            reason="; ".join(filter(None, (change.reason, *records))),
        )
    later = "".join(f"; the next one has {words}" for words in change.next)
    if change.patch:
        patch = UpdateJob(work.job, change.patch)
        yield Step(step_id, patch, Verb.UPDATE, subject, change.reason + later), False
        return
    yield Step(step_id, None, Verb.KEEP, subject, f"it is there and still open{later}"), True


def _records(work: TaskSets, job: JobFacts) -> Iterator[str]:
    """What the open job is to record from now on."""
    if work.keeps and job.metadata.get(KEEPS) != work.keeps:
        yield "records which tasks retry keeps"
    stages = job.metadata.get(STAGES)
    if stages is not None and stages != recorded(stage_totals(work.stages)):
        yield "records how many tasks each stage has"


def _not_ours(spec: Spec, job: JobFacts) -> Diagnostic:
    return finding(
        "job-not-ours",
        f"a job {job.id!r} is there that this spec did not make",
        where=spec.job.where,
        fix="Give yours another `id`, or delete that job.",
    )


def task_steps(
    spec: Spec, work: TaskSets, data: tuple[str, ...], sas: timedelta, *, windows: bool
) -> Iterator[tuple[Step, bool]]:
    """For each stage the steps that submit and retry tasks, and one that keeps what is done.

    ``data`` are the steps that make containers and upload files. A stage with a task for each file
    does not wait for that upload as a whole: its tasks go as their files arrive.
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
            reason = kept_words(stage)
            yield (
                Step(f"tasks:{name}:kept", None, Verb.KEEP, f"tasks of {name}", reason, (), kept),
                True,
            )


def kept_words(stage: StageTasks) -> str:
    """Why tasks of a stage are kept."""
    parts = (
        (stage.done, "succeeded"),
        (stage.under_way, "on their way"),
        (stage.other, "with an earlier version of the program"),
    )
    return ", ".join(f"{count} {words}" for count, words in parts if count)


def _left_words(left: int) -> str:
    if not left:
        return ""
    return f"; {'1 task of it is' if left == 1 else f'{left:,} tasks of it are'} left out"


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
    states = ", ".join(f"{count} {word}" for count, word in counts if count)
    reason = f"{states or 'all completed'}; {submitted_words(job, observed.now)}"
    yield Step(
        f"earlier:{job.id}",
        action,
        Verb.TERMINATE,
        "tasks of an earlier version",
        reason,
        (),
        earlier.total,
    )


def submitted_words(job: JobFacts, now: datetime) -> str:
    """Who submitted a job and when; the date is left out on the same day."""
    recorded = read_provenance(job.metadata)
    at = (recorded.at or job.created).astimezone(UTC)
    when = f"{at:%H:%M} UTC" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M} UTC"
    return f"submitted by {recorded.by} at {when}" if recorded.by else f"submitted at {when}"


def _submit_reason(stage: StageTasks, joins: int) -> str:
    fresh = len(stage.submit) - stage.again - stage.changed - stage.lost
    parts = [
        (fresh, "none is there yet" if fresh == stage.total else f"{fresh} not there yet"),
        (stage.changed, f"{stage.changed} changed"),
        (stage.lost, f"{stage.lost} lost their outputs"),
        (stage.again, f"{stage.again} did not succeed in an earlier job"),
        (joins, f"{joins} join them for what waits"),
    ]
    return ", ".join(words for number, words in parts if number)


def is_closed(work: TaskSets) -> bool:
    """Whether the open job already ends by itself when all its tasks are completed."""
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
    """Close the job when all is in it, and wait until its ``tasks`` tasks are completed.

    ``restarts`` are the steps that restart nodes. ``promised`` is what the tasks of the run write.

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
        "the run lasts until they are completed" + _left_words(work.left),
        (*(submitted if closed else (close,)), *restarts, *ready),
        tasks,
    )
