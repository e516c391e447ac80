"""Operations on tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.applications import check_references
from batchspec.local.api.context import Context
from batchspec.local.api.find import ask, find_owner, find_parent_job, find_task
from batchspec.local.api.listing import TASKS, read_page, write_page
from batchspec.local.api.statistics import task_stats
from batchspec.local.api.task_form import OF_THE_SERVICE, read_task, write_subtask, write_task
from batchspec.local.api.task_settings import fill_constraints
from batchspec.local.model.life import JOB, TASK
from batchspec.local.model.record import Job, Task
from batchspec.local.store.tasks import NewTask
from batchspec.local.wire.fault import Fault, bad_body
from batchspec.local.wire.reply import Reply, created, done, fault_body, many, one
from batchspec.local.wire.request import Request, pick
from batchspec.local.wire.shape import read_shape
from batchspec.local.wire.times import etag_of, write_time

MAX_COLLECTION = 100

USER_ENDED: Mapping[str, str] = {
    "category": "UserError",
    "code": "TaskEnded",
    "message": "Task Was Ended by User Request",
}
"""The ``failureInfo`` of a task that a user terminated, as recorded."""


def create_task(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/tasks``."""
    given = request.shape("BatchTaskCreateOptions")
    job = find_parent_job(context, request)
    ask(JOB, "add_task", job.state)
    (task,) = context.store.tasks.add(job, [_read(context, job, given)], request.now)
    if task is None:
        raise Fault("TaskExists")
    return created(_url(context, task), task.modified)


def create_task_collection(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/addtaskcollection``: each task succeeds or fails on its own."""
    given = request.json()
    if not isinstance(given, dict) or not isinstance(given.get("value"), list):
        read_shape("BatchTaskGroup", given, older=request.older)
        raise bad_body("The request body must have an array of tasks.")
    if len(given["value"]) > MAX_COLLECTION:
        raise bad_body(f"At most {MAX_COLLECTION} tasks can be added in one request.")
    job = find_parent_job(context, request)
    ask(JOB, "add_task", job.state)
    drafts = [_draft(context, job, item, older=request.older) for item in given["value"]]
    made = iter(
        context.store.tasks.add(
            job, [draft for draft in drafts if isinstance(draft, NewTask)], request.now
        )
    )
    results = [
        _result(context, request, item, draft if isinstance(draft, Fault) else next(made))
        for item, draft in zip(given["value"], drafts, strict=True)
    ]
    return Reply(200, {"value": results}, "taskaddresult")


def list_tasks(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}/tasks``."""
    job = find_parent_job(context, request)
    page = read_page(request, TASKS)
    stats, names = request.expands_stats(), request.select("BatchTask")
    # Progress is watched by reading states over and over: settings are not even decoded for it.
    bodies = names is None or not names <= OF_THE_SERVICE
    return write_page(
        request,
        page,
        context.store.tasks.page(job.id, page, bodies=bodies),
        lambda task: _show(context, request, task, stats=stats),
        lambda task: task.id.lower(),
        model="BatchTask",
        metadata="tasks",
    )


def get_task(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}/tasks/{taskId}``."""
    names, stats = request.select("BatchTask"), request.expands_stats()
    task = find_task(context, request)
    shown = pick(_show(context, request, task, stats=stats), names)
    return one(shown, "tasks/@Element", task.modified)


def replace_task(context: Context, request: Request) -> Reply:
    """``PUT /jobs/{jobId}/tasks/{taskId}``: new constraints; those not given are reset."""
    given = request.shape("BatchTask")
    task = find_task(context, request)
    job = find_parent_job(context, request)
    ask(TASK, "update", task.state)
    retries = job.body["constraints"]["maxTaskRetryCount"]
    constraints = fill_constraints(given.get("constraints"), retries)
    task = context.store.tasks.update(task, {**task.body, "constraints": constraints}, request.now)
    return done(200, request.url, task.modified)


def terminate_task(context: Context, request: Request) -> Reply:
    """``POST .../terminate``: an active task is completed at once, a running one by the engine."""
    task = find_task(context, request)
    ask(TASK, "terminate", task.state)
    task = context.store.tasks.end(task, request.now, USER_ENDED)
    return done(204, request.url, task.modified)


def reactivate_task(context: Context, request: Request) -> Reply:
    """``POST .../reactivate``: a completed task that did not succeed becomes active again."""
    task = find_task(context, request)
    ask(JOB, "add_task", find_parent_job(context, request).state)
    ask(TASK, "reactivate", task.state)
    if task.exit_code == 0 and task.failure is None:
        raise Fault("TaskSucceeded")
    task = context.store.tasks.reactivate(task, request.now)
    return done(204, None, task.modified)


def delete_task(context: Context, request: Request) -> Reply:
    """``DELETE .../tasks/{taskId}``: gone at once; the engine ends its run and clears its files."""
    context.store.tasks.delete(find_task(context, request), request.now)
    return done(200, None)


def list_subtasks(context: Context, request: Request) -> Reply:
    """``GET .../subtasksinfo``: a task that is not multi-instance has none."""
    names = request.select("BatchSubtask")
    found = context.store.subtasks.of(find_owner(context, request))
    return many([pick(write_subtask(context, one), names) for one in found], "subtaskinfo", None)


def _read(context: Context, job: Job, given: Mapping[str, Any]) -> NewTask:
    new = read_task(job, given)
    references = given.get("applicationPackageReferences", ())
    check_references(context, references, needs_default=False)
    return new


def _draft(context: Context, job: Job, item: Any, *, older: bool) -> NewTask | Fault:
    """What one entry of a collection asks for. Its shape is the whole request's affair."""
    shaped = read_shape("BatchTaskCreateOptions", item, older=older)
    try:
        return _read(context, job, shaped)
    except Fault as fault:
        if fault.code == "NotImplemented":
            raise
        return fault


def _result(
    context: Context, request: Request, item: Mapping[str, Any], outcome: Task | Fault | None
) -> dict[str, Any]:
    if isinstance(outcome, Task):
        return {
            "status": "Success",
            "taskId": outcome.id,
            "eTag": etag_of(outcome.modified),
            "lastModified": write_time(outcome.modified),
            "location": _url(context, outcome),
        }
    fault = Fault("TaskExists") if outcome is None else outcome
    return {
        "status": "ClientError",
        "taskId": item["id"],
        "error": fault_body(fault, request.id, request.now),
    }


def _url(context: Context, task: Task) -> str:
    return f"{context.base_url}/jobs/{task.job_id}/tasks/{task.id}"


def _show(context: Context, request: Request, task: Task, *, stats: bool) -> dict[str, Any]:
    shown = write_task(context, task, older=request.older)
    return shown | task_stats(context, task, request.now) if stats else shown
