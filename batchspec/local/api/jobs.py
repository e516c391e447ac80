"""Jobs and their auto pools: operations, validation, defaults, JSON.

Recorded replies have the same defaults and the same order of properties.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.account import check_references
from batchspec.local.api.autoscale import read_autoscale
from batchspec.local.api.pools import DEFAULT_RESIZE_TIMEOUT, check_containers, read_pool
from batchspec.local.api.resources import (
    JOB_COLUMNS,
    PREPARATION_COLUMNS,
    Context,
    check_id,
    common_properties,
    find_job,
    find_parent_job,
    find_schedule,
    job_stats,
    next_state,
    page_reply,
    read_page,
)
from batchspec.local.api.settings import (
    complete_job_manager,
    complete_preparation_and_release,
    in_order,
    serialize_preparation,
)
from batchspec.local.fault_injection import QuotaKind
from batchspec.local.model import JOB, Counts, Job, JobState
from batchspec.local.store import add_job, job_deadline
from batchspec.local.wire import (
    UNLIMITED,
    Fault,
    Reply,
    Request,
    bad_property,
    check_rules,
    created_reply,
    empty_reply,
    resource_reply,
    without_secrets,
    write_time,
)

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
    """``POST /jobs``. The job waits for its pool if the pool does not exist."""
    given = request.parse_body("BatchJobCreateOptions")
    job_id = check_id("id", given.pop("id"))
    if context.store.schedules.get(job_id) is not None:
        raise Fault("JobScheduleWithSameIdExists")
    error = None
    try:
        body = complete_job(given)
        check_auto_pool(context, body["poolInfo"])
    except AutoPoolFault as fault:
        body, error = complete_job_without_pool(given), fault.scheduling_error
    before = context.store.jobs.get(job_id)
    if before is not None:
        raise Fault("JobBeingDeleted" if before.state is JobState.DELETING else "JobExists")
    check_job_quota(context)
    pool_quota = context.faults.quota(QuotaKind.POOL_QUOTA)
    job = add_job(context.store, job_id, body, request.now, error=error, pool_quota=pool_quota)
    if job is None:
        raise Fault("JobExists")
    return created_reply(f"{context.base_url}/jobs/{job.id}", job.modified)


def check_job_quota(context: Context) -> None:
    """Check that the quota of active jobs and job schedules allows another one.

    Raises:
        Fault: ``ActiveJobAndScheduleQuotaReached``.
    """
    store = context.store
    if context.reached(
        QuotaKind.JOB_QUOTA, lambda: store.jobs.count_active() + store.schedules.count_active()
    ):
        raise Fault("ActiveJobAndScheduleQuotaReached")


def list_jobs(context: Context, request: Request) -> Reply:
    """``GET /jobs``."""
    return _list(context, request)


def list_jobs_from_schedule(context: Context, request: Request) -> Reply:
    """``GET /jobschedules/{jobScheduleId}/jobs``."""
    return _list(context, request, find_schedule(context, request).id)


def get_job(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}``."""
    stats = request.expands_stats()
    job = find_job(context, request)
    shown = _show(context, request, job, stats=stats)
    return resource_reply(request, "BatchJob", shown, "jobs/@Element", job.modified)


def update_job(context: Context, request: Request) -> Reply:
    """``PATCH /jobs/{jobId}``: properties of the request replace stored ones."""
    given = request.parse_body("BatchJobUpdateOptions")
    return _update(context, request, given)


def replace_job(context: Context, request: Request) -> Reply:
    """``PUT /jobs/{jobId}``: properties not in the request are reset to their defaults."""
    given = request.parse_body("BatchJob")
    return _update(context, request, given, reset=_REPLACED)


def terminate_job(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/terminate``: the engine ends running tasks, then completes the job."""
    given = request.parse_optional_body("BatchJobTerminateOptions")
    force = request.flag("force")
    job = find_job(context, request)
    if not (force and job.state is JobState.TERMINATING):
        state = next_state(JOB, "terminate", job.state)
        reason = given.get("terminateReason", "UserTerminate")
        job = context.store.jobs.set_state(job, state, request.now, reason=reason)
    return empty_reply(202, request.url, job.modified)


def disable_job(context: Context, request: Request) -> Reply:
    """``POST .../disable``: tasks stop starting; ``disableTasks`` applies to running tasks."""
    given = request.parse_body("BatchJobDisableOptions")
    job = find_job(context, request)
    state = next_state(JOB, "disable", job.state)
    job = context.store.jobs.set_state(job, state, request.now, disable_tasks=given["disableTasks"])
    return empty_reply(202, request.url, job.modified)


def enable_job(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/enable``."""
    job = find_job(context, request)
    job = context.store.jobs.set_state(job, next_state(JOB, "enable", job.state), request.now)
    return empty_reply(202, request.url, job.modified)


def delete_job(context: Context, request: Request) -> Reply:
    """``DELETE /jobs/{jobId}``: the job is ``deleting`` until its tasks and files are deleted."""
    force = request.flag("force")
    job = find_job(context, request)
    if not (force and job.state is JobState.DELETING):
        context.store.jobs.set_state(job, next_state(JOB, "delete", job.state), request.now)
    return empty_reply(202, None)


def get_job_task_counts(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}/taskcounts``."""
    job = find_parent_job(context, request)
    counts = context.store.jobs.counts(job.id)
    return resource_reply(
        request,
        "BatchTaskCountsResult",
        {"taskCounts": _counts(counts.tasks), "taskSlotCounts": _counts(counts.slots)},
        "taskcountsresult/@Element",
    )


def list_job_preparation_and_release_task_status(context: Context, request: Request) -> Reply:
    """``GET .../jobpreparationandreleasetaskstatus``: one entry for each node that ran them."""
    page = read_page(request, PREPARATION_COLUMNS)
    job = find_parent_job(context, request)
    if "jobPreparationTask" not in job.body:
        raise Fault("JobPreparationTaskOrReleaseTaskNotSpecified")
    return page_reply(
        request,
        page,
        context.store.preparations.of_job(job.id, page),
        lambda one: serialize_preparation(context, one),
        lambda one: one.node_id.lower(),
        model="BatchJobPreparationAndReleaseTaskStatus",
        metadata="jobpreparationandreleasetaskstatuslist",
    )


def _list(context: Context, request: Request, schedule_id: str | None = None) -> Reply:
    page = read_page(request, JOB_COLUMNS)
    stats = request.expands_stats()
    return page_reply(
        request,
        page,
        context.store.jobs.page(page, schedule_id),
        lambda job: _show(context, request, job, stats=stats),
        lambda job: job.id.lower(),
        model="BatchJob",
        metadata="jobs",
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
    next_state(JOB, "update", job.state)
    given = _with_pool(job, given)
    kept = {name: value for name, value in job.body.items() if name not in reset}
    body = complete_job({**kept, **given}, scheduled=job.schedule_id is not None)
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
        pool_id=body["poolInfo"].get("poolId", job.pool_id),
        priority=body["priority"],
        max_parallel=body["maxParallelTasks"],
        deadline=job_deadline(body, job.started),
    )
    return empty_reply(200, request.url, job.modified)


def _with_pool(job: Job, given: Mapping[str, Any]) -> Mapping[str, Any]:
    """Check a change of ``poolInfo``: only a disabled job can get another pool.

    In an auto pool only ``keepAlive`` changes; other settings are ignored (REST reference of
    ``BatchJobUpdateOptions``).
    """
    info = given.get("poolInfo", {})
    before = job.body["poolInfo"].get("autoPoolSpecification")
    auto = info.get("autoPoolSpecification")
    if auto is not None and before is not None:
        kept = {**before, "keepAlive": auto.get("keepAlive", False)}
        return {**given, "poolInfo": {"autoPoolSpecification": kept}}
    pool_id = info.get("poolId")
    same = auto is None and (pool_id is None or pool_id.lower() == job.pool_id.lower())
    if same or (auto is None and job.state is JobState.DISABLED):
        return given
    raise Fault(
        "OperationInvalidForCurrentState",
        ("Reason", "The pool of a job can be changed only while the job is disabled."),
    )


def _show(context: Context, request: Request, job: Job, *, stats: bool) -> dict[str, Any]:
    shown = serialize_job(context, job)
    return shown | job_stats(context, job, request.now) if stats else shown


_FIRST = (
    "priority",
    "maxParallelTasks",
    "usesTaskDependencies",
    "allowTaskPreemption",
    "constraints",
    "jobManagerTask",
    "jobPreparationTask",
    "jobReleaseTask",
    "commonEnvironmentSettings",
    "poolInfo",
    "networkConfiguration",
    "metadata",
)
_LAST = ("onAllTasksComplete", "onTaskFailure")


def complete_job(body: Mapping[str, Any], *, scheduled: bool = False) -> dict[str, Any]:
    """Job settings with all defaults, in the service's order; ``scheduled`` for a job schedule.

    Raises:
        Fault: a setting is invalid or not supported.
        AutoPoolFault: only the settings of the auto pool are invalid.
    """
    filled = complete_job_without_pool(body)
    return {**filled, "poolInfo": complete_pool_info(body["poolInfo"], scheduled=scheduled)}


def complete_job_without_pool(body: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`complete_job`, with ``poolInfo`` unchanged.

    Raises:
        Fault: a setting is invalid or not supported.
    """
    given = body.get("constraints", {})
    return in_order(
        {
            **body,
            **complete_job_manager(body, given.get("maxTaskRetryCount", 0)),
            **complete_preparation_and_release(body),
            "priority": body.get("priority", 0),
            "maxParallelTasks": body.get("maxParallelTasks", -1),
            "usesTaskDependencies": body.get("usesTaskDependencies", False),
            "allowTaskPreemption": body.get("allowTaskPreemption", False),
            "constraints": {
                "maxWallClockTime": given.get("maxWallClockTime", UNLIMITED),
                "maxTaskRetryCount": given.get("maxTaskRetryCount", 0),
            },
            "onAllTasksComplete": body.get("onAllTasksComplete", "noaction"),
            "onTaskFailure": body.get("onTaskFailure", "noaction"),
        },
        ("displayName", *_FIRST),
    )


def serialize_job(context: Context, job: Job) -> dict[str, Any]:
    """A job as JSON."""
    body = without_secrets(job.body)
    shown = common_properties(job, f"{context.base_url}/jobs/{job.id}")
    shown |= {name: body[name] for name in body if name not in {*shown, *_LAST}}
    shown["executionInfo"] = _execution(job)
    return shown | {name: body[name] for name in _LAST}


def _execution(job: Job) -> dict[str, Any]:
    info: dict[str, Any] = {"startTime": write_time(job.started)}
    if job.ended is not None:
        info["endTime"] = write_time(job.ended)
    info["poolId"] = job.pool_id
    if job.scheduling_error is not None:
        info["schedulingError"] = job.scheduling_error
    if job.reason is not None:
        info["terminateReason"] = job.reason
    return info


_TARGETS = ("targetDedicatedNodes", "targetLowPriorityNodes")
_ERRORS = {
    "AutoScalingFormulaSyntaxError": "InvalidAutoScaleFormulaInAutoPool",
    "AutoScalingFormulaTooLong": "InvalidAutoScaleFormulaInAutoPool",
    "InvalidAutoScalingSettings": "InvalidAutoScaleFormulaInAutoPool",
    "InvalidApplicationPackageReferences": "InvalidApplicationPackageReferencesInAutoPool",
}
_SENTENCES = {
    "InvalidAutoScaleFormulaInAutoPool": "The specified auto-scaling settings are not valid.",
    "InvalidApplicationPackageReferencesInAutoPool": (
        "One or more application packages specified for the pool are invalid."
    ),
    "InvalidAutoPoolSettings": "The specified autopool settings are not valid.",
}


class AutoPoolFault(Fault):
    """The settings of an auto pool's pool are invalid.

    The service still accepts the job and completes it with ``scheduling_error``.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.code, *fault.values, status=fault.status)
        code = _ERRORS.get(fault.code, "InvalidAutoPoolSettings")
        self.scheduling_error = {
            "category": "UserError",
            "code": code,
            "message": _SENTENCES[code],
            "details": [{"name": name, "value": value} for name, value in fault.values],
        }


def complete_pool_info(info: Mapping[str, Any], *, scheduled: bool) -> dict[str, Any]:
    """``poolInfo`` with defaults; ``scheduled`` if it belongs to a job schedule.

    Raises:
        Fault: the lifetime is invalid.
        AutoPoolFault: the settings of the auto pool's pool are invalid.
    """
    auto = info.get("autoPoolSpecification")
    if auto is None:
        return dict(info)
    if auto["poolLifetimeOption"] == "jobschedule" and not scheduled:
        raise bad_property(
            "poolLifetimeOption", "jobschedule", "The value is valid only for job schedules."
        )
    complete = {**auto, "keepAlive": auto.get("keepAlive", False)}
    try:
        complete["pool"] = _complete(auto.get("pool"))
    except Fault as fault:
        if fault.code == "NotImplemented":
            raise
        raise AutoPoolFault(fault) from None
    return {"autoPoolSpecification": complete}


def check_auto_pool(context: Context, info: Mapping[str, Any]) -> None:
    """Check that the packages of an auto pool and a container engine for it exist.

    Raises:
        AutoPoolFault: a package does not exist.
        Fault: no container engine is available.
    """
    references = info.get("autoPoolSpecification", {}).get("pool", {})
    check_containers(context, references)
    try:
        check_references(
            context, references.get("applicationPackageReferences", ()), needs_default=True
        )
    except Fault as fault:
        raise AutoPoolFault(fault) from None


def _complete(given: Mapping[str, Any] | None) -> dict[str, Any]:
    if given is None:
        raise Fault("MissingRequiredProperty", ("PropertyName", "pool"))
    check_rules("BatchPoolSpecification", given)
    scaling = read_autoscale(given)
    targets = {} if scaling else {name: given.get(name, 0) for name in _TARGETS}
    settings = read_pool(given)
    return {
        **settings,
        "resizeTimeout": given.get("resizeTimeout", DEFAULT_RESIZE_TIMEOUT),
        **targets,
        "enableAutoScale": scaling is not None,
        **(scaling or {}),
    }
