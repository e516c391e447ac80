"""Operations on jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.context import Context
from batchspec.local.api.find import ask, check_id, find_job, find_parent_job
from batchspec.local.api.job_form import complete_job, deadline_of, write_job
from batchspec.local.api.listing import JOBS, PREPARATIONS, read_page, write_page
from batchspec.local.api.preparation_form import write_preparation
from batchspec.local.api.statistics import job_stats
from batchspec.local.model.life import JOB, JobState
from batchspec.local.model.record import Counts, Job
from batchspec.local.wire.fault import Fault, bad_property
from batchspec.local.wire.reply import Reply, created, done, one
from batchspec.local.wire.request import Request, pick

_REPLACED = (
    "priority",
    "maxParallelTasks",
    "allowTaskPreemption",
    "constraints",
    "onAllTasksComplete",
    "poolInfo",
    "metadata",
)


def create_job(context: Context, request: Request) -> Reply:
    """``POST /jobs``. That its pool exists is not asked: the job waits for one."""
    given = request.shape("BatchJobCreateOptions")
    job_id = check_id("id", given.pop("id"))
    body = complete_job(given)
    job = context.store.jobs.add(
        job_id,
        body,
        request.now,
        pool_id=body["poolInfo"]["poolId"],
        priority=body["priority"],
        max_parallel=body["maxParallelTasks"],
        deadline=deadline_of(body, request.now),
    )
    if job is None:
        raise Fault("JobExists")
    return created(f"{context.base_url}/jobs/{job.id}", job.modified)


def list_jobs(context: Context, request: Request) -> Reply:
    """``GET /jobs``."""
    page = read_page(request, JOBS)
    stats = request.expands_stats()
    return write_page(
        request,
        page,
        context.store.jobs.page(page),
        lambda job: _show(context, request, job, stats=stats),
        lambda job: job.id.lower(),
        model="BatchJob",
        metadata="jobs",
    )


def get_job(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}``."""
    names, stats = request.select("BatchJob"), request.expands_stats()
    job = find_job(context, request)
    shown = pick(_show(context, request, job, stats=stats), names)
    return one(shown, "jobs/@Element", job.modified)


def update_job(context: Context, request: Request) -> Reply:
    """``PATCH /jobs/{jobId}``: what is given replaces what is there."""
    given = request.shape("BatchJobUpdateOptions")
    return _update(context, request, given)


def replace_job(context: Context, request: Request) -> Reply:
    """``PUT /jobs/{jobId}``: what is not given is reset to its default."""
    given = request.shape("BatchJob")
    return _update(context, request, given, reset=_REPLACED)


def terminate_job(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/terminate``: the engine ends what runs, then completes the job."""
    given = request.optional_shape("BatchJobTerminateOptions")
    force = request.flag("force")
    job = find_job(context, request)
    if not (force and job.state is JobState.TERMINATING):
        state = ask(JOB, "terminate", job.state)
        reason = given.get("terminateReason", "UserTerminate")
        job = context.store.jobs.move(job, state, request.now, reason=reason)
    return done(202, request.url, job.modified)


def disable_job(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/disable``: no task is started; ``disableTasks`` rules the running."""
    given = request.shape("BatchJobDisableOptions")
    job = find_job(context, request)
    state = ask(JOB, "disable", job.state)
    job = context.store.jobs.move(job, state, request.now, disable_tasks=given["disableTasks"])
    return done(202, request.url, job.modified)


def enable_job(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/enable``."""
    job = find_job(context, request)
    job = context.store.jobs.move(job, ask(JOB, "enable", job.state), request.now)
    return done(202, request.url, job.modified)


def delete_job(context: Context, request: Request) -> Reply:
    """``DELETE /jobs/{jobId}``: the job is ``deleting`` until its tasks and files are gone."""
    force = request.flag("force")
    job = find_job(context, request)
    if not (force and job.state is JobState.DELETING):
        context.store.jobs.move(job, ask(JOB, "delete", job.state), request.now)
    return done(202, None)


def get_job_task_counts(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}/taskcounts``."""
    job = find_parent_job(context, request)
    counts = context.store.jobs.counts(job.id)
    return one(
        {"taskCounts": _counts(counts.tasks), "taskSlotCounts": _counts(counts.slots)},
        "taskcountsresult/@Element",
    )


def list_job_preparation_and_release_task_status(context: Context, request: Request) -> Reply:
    """``GET .../jobpreparationandreleasetaskstatus``: one entry for each node it has been on."""
    page = read_page(request, PREPARATIONS)
    job = find_parent_job(context, request)
    if "jobPreparationTask" not in job.body:
        raise Fault("JobPreparationTaskOrReleaseTaskNotSpecified")
    return write_page(
        request,
        page,
        context.store.preparations.of_job(job.id, page),
        lambda one: write_preparation(context, one),
        lambda one: one.node_id.lower(),
        model="BatchJobPreparationAndReleaseTaskStatus",
        metadata="jobpreparationandreleasetaskstatuslist",
    )


def _counts(counts: Counts) -> Mapping[str, int]:
    return {
        "active": counts.active,
        "running": counts.running,
        "completed": counts.completed,
        "succeeded": counts.succeeded,
        "failed": counts.failed,
    }


def _update(
    context: Context, request: Request, given: Mapping[str, Any], reset: tuple[str, ...] = ()
) -> Reply:
    job = find_job(context, request)
    ask(JOB, "update", job.state)
    _check_pool(job, given)
    kept = {name: value for name, value in job.body.items() if name not in reset}
    body = complete_job({**kept, **given})
    if (job.body["onAllTasksComplete"], body["onAllTasksComplete"]) == ("terminatejob", "noaction"):
        raise bad_property(
            "onAllTasksComplete",
            "noaction",
            "The value cannot be changed from terminatejob to noaction.",
        )
    job = context.store.jobs.update(
        job,
        body,
        request.now,
        pool_id=body["poolInfo"]["poolId"],
        priority=body["priority"],
        max_parallel=body["maxParallelTasks"],
        deadline=deadline_of(body, job.started),
    )
    return done(200, request.url, job.modified)


def _check_pool(job: Job, given: Mapping[str, Any]) -> None:
    """A job changes its pool only while it is disabled; naming the same pool changes nothing."""
    asked = given.get("poolInfo", {}).get("poolId")
    if asked is None or asked.lower() == job.pool_id.lower() or job.state is JobState.DISABLED:
        return
    raise Fault(
        "OperationInvalidForCurrentState",
        ("Reason", "The pool of a job can be changed only while the job is disabled."),
    )


def _show(context: Context, request: Request, job: Job, *, stats: bool) -> dict[str, Any]:
    shown = write_job(context, job)
    return shown | job_stats(context, job, request.now) if stats else shown
