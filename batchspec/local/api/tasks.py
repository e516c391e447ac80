"""Tasks: operations, validation, defaults, JSON.

Recorded replies have the same defaults and the same order of properties.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchspec.local.api.account import check_references
from batchspec.local.api.resources import (
    TASK_COLUMNS,
    Context,
    check_id,
    find_parent_job,
    find_parent_task,
    find_task,
    next_state,
    page_reply,
    read_page,
    task_stats,
)
from batchspec.local.api.settings import (
    check_resource_files,
    complete_constraints,
    complete_identity,
    in_order,
)
from batchspec.local.model import JOB, TASK, Job, Subtask, Task
from batchspec.local.store import NewTask
from batchspec.local.wire import (
    MAX_RESULTS,
    Fault,
    Reply,
    Request,
    bad_body,
    bad_property,
    check_rules,
    created_reply,
    empty_reply,
    etag_of,
    fault_body,
    list_reply,
    not_implemented,
    parse_body,
    resource_reply,
    without_secrets,
    write_time,
)

MAX_COLLECTION = 100

USER_ENDED: Mapping[str, str] = {
    "category": "UserError",
    "code": "TaskEnded",
    "message": "Task Was Ended by User Request",
}
"""The ``failureInfo`` of a task that a user terminated, as recorded."""


def create_task(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/tasks``."""
    given = request.parse_body("BatchTaskCreateOptions")
    job = find_parent_job(context, request)
    next_state(JOB, "add_task", job.state)
    (task,) = context.store.tasks.add(job, [_read(context, job, given)], request.now)
    if task is None:
        raise Fault("TaskExists")
    return created_reply(_url(context, task), task.modified)


def create_task_collection(context: Context, request: Request) -> Reply:
    """``POST /jobs/{jobId}/addtaskcollection``: each task succeeds or fails independently."""
    given = request.json()
    if not isinstance(given, dict) or not isinstance(given.get("value"), list):
        parse_body("BatchTaskGroup", given, request.version)
        raise bad_body("The request body must contain an array of tasks.")
    if len(given["value"]) > MAX_COLLECTION:
        raise bad_body(f"At most {MAX_COLLECTION} tasks can be added in one request.")
    job = find_parent_job(context, request)
    next_state(JOB, "add_task", job.state)
    drafts = [_validate_entry(context, job, item, request.version) for item in given["value"]]
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
    page = read_page(request, TASK_COLUMNS)
    stats, names = request.expands_stats(), request.select("BatchTask")
    tasks = context.store.tasks
    if names is not None and names <= _IN_COLUMNS:
        # Clients compare the ids of all tasks, and poll states to show progress.
        return page_reply(
            request,
            page,
            tasks.states(job.id, page),
            lambda found: {"id": found[0], "state": found[1]},
            lambda found: found[0].lower(),
            model="BatchTask",
            metadata="tasks",
        )
    # The settings are decoded only if they are selected.
    bodies = names is None or not names <= SERVICE_PROPERTIES
    return page_reply(
        request,
        page,
        tasks.page(job.id, page, bodies=bodies),
        lambda task: _show(context, request, task, stats=stats),
        lambda task: task.id.lower(),
        model="BatchTask",
        metadata="tasks",
    )


_IN_COLUMNS = frozenset({"id", "state"})
"""Properties whose lists are read without the other columns of the tasks."""


def get_task(context: Context, request: Request) -> Reply:
    """``GET /jobs/{jobId}/tasks/{taskId}``."""
    stats = request.expands_stats()
    task = find_task(context, request)
    shown = _show(context, request, task, stats=stats)
    return resource_reply(request, "BatchTask", shown, "tasks/@Element", task.modified)


def replace_task(context: Context, request: Request) -> Reply:
    """``PUT /jobs/{jobId}/tasks/{taskId}``: replace the constraints; reset missing constraints."""
    given = request.parse_body("BatchTask")
    task = find_task(context, request)
    job = find_parent_job(context, request)
    next_state(TASK, "update", task.state)
    retries = job.body["constraints"]["maxTaskRetryCount"]
    constraints = complete_constraints(given.get("constraints"), retries)
    task = context.store.tasks.update(task, {**task.body, "constraints": constraints}, request.now)
    return empty_reply(200, request.url, task.modified)


def terminate_task(context: Context, request: Request) -> Reply:
    """``POST .../terminate``: complete an active task; the engine ends a running task later."""
    task = find_task(context, request)
    next_state(TASK, "terminate", task.state)
    task = context.store.tasks.end(task, request.now, USER_ENDED)
    return empty_reply(204, request.url, task.modified)


def reactivate_task(context: Context, request: Request) -> Reply:
    """``POST .../reactivate``: a completed task that did not succeed becomes active again."""
    task = find_task(context, request)
    next_state(JOB, "add_task", find_parent_job(context, request).state)
    next_state(TASK, "reactivate", task.state)
    if task.exit_code == 0 and task.failure is None:
        raise Fault("TaskSucceeded")
    task = context.store.tasks.reactivate(task, request.now)
    return empty_reply(204, None, task.modified)


def delete_task(context: Context, request: Request) -> Reply:
    """``DELETE .../tasks/{taskId}``: delete the task; the engine ends its process later."""
    context.store.tasks.delete(find_task(context, request), request.now)
    return empty_reply(200, None)


def list_subtasks(context: Context, request: Request) -> Reply:
    """``GET .../subtasksinfo``: empty unless the task is a multi-instance task."""
    start = request.start()
    found = context.store.subtasks.of(find_parent_task(context, request))
    end = start + MAX_RESULTS
    shown = [serialize_subtask(context, one) for one in found[start:end]]
    link = request.next_link(str(end)) if len(found) > end else None
    return list_reply(request, "BatchSubtask", shown, "subtaskinfo", link)


def _read(context: Context, job: Job, given: Mapping[str, Any]) -> NewTask:
    new = read_task(job, given)
    references = given.get("applicationPackageReferences", ())
    check_references(context, references, needs_default=False)
    return new


def _validate_entry(context: Context, job: Job, item: Any, version: str) -> NewTask | Fault:
    """The new task of one entry, or its error. An invalid shape fails the whole request."""
    shaped = parse_body("BatchTaskCreateOptions", item, version)
    try:
        check_rules("BatchTaskCreateOptions", shaped, version)
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
    shown = serialize_task(context, task)
    return shown | task_stats(context, task, request.now) if stats else shown


MAX_DEPENDENCY_CHARACTERS = 64_000
SERVICE_PROPERTIES = frozenset(
    {
        "id",
        "url",
        "eTag",
        "creationTime",
        "lastModified",
        "state",
        "stateTransitionTime",
        "previousState",
        "previousStateTransitionTime",
        "executionInfo",
        "nodeInfo",
    }
)
"""Properties of a task that are not part of its stored settings."""
_ORDER = (
    "commandLine",
    "containerSettings",
    "resourceFiles",
    "outputFiles",
    "applicationPackageReferences",
    "environmentSettings",
    "affinityInfo",
    "userIdentity",
    "exitConditions",
    "multiInstanceSettings",
    "dependsOn",
    "constraints",
    "requiredSlots",
)


def read_task(job: Job, given: Mapping[str, Any]) -> NewTask:
    """A new task with defaults, from a validated request body.

    Raises:
        Fault: a setting is invalid or not supported.
    """
    task_id = check_id("id", given["id"])
    _check_id_unique(job, task_id)
    body = {name: value for name, value in given.items() if name != "id"}
    check_resource_files(body.get("resourceFiles", ()))
    _check_exit_options(job, body.get("exitConditions", {}))
    slots = body.get("requiredSlots", 1)
    needs, ranges = _dependencies(job, body.get("dependsOn", {}))
    filled = in_order(
        {
            **body,
            "userIdentity": complete_identity(body.get("userIdentity")),
            "constraints": complete_constraints(
                body.get("constraints"), job.body["constraints"]["maxTaskRetryCount"]
            ),
            "requiredSlots": slots,
            **_multi_instance(body),
        },
        _ORDER,
    )
    return NewTask(task_id, filled, slots, needs, ranges)


def _multi_instance(body: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a multi-instance task with defaults; empty for other tasks."""
    settings = body.get("multiInstanceSettings")
    if settings is None:
        return {}
    if "containerSettings" in body:
        raise not_implemented("A multi-instance task in containers")
    check_resource_files(settings.get("commonResourceFiles", ()))
    return {"multiInstanceSettings": {"numberOfInstances": 1, **settings}}


def _check_id_unique(job: Job, task_id: str) -> None:
    for special, default, code in (
        ("jobPreparationTask", "jobpreparation", "TaskIdSameAsJobPreparationTask"),
        ("jobReleaseTask", "jobrelease", "TaskIdSameAsJobReleaseTask"),
    ):
        if special in job.body and (
            task_id.lower() == job.body[special].get("id", default).lower()
        ):
            raise Fault(code)


def _check_exit_options(job: Job, conditions: Mapping[str, Any]) -> None:
    if job.body["onTaskFailure"] != "noaction":
        return
    for options in _exit_options(conditions):
        if "jobAction" in options:
            raise bad_property(
                "jobAction",
                options["jobAction"],
                "A job action cannot be specified when the job's onTaskFailure is noaction.",
            )


def _exit_options(conditions: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for name, value in conditions.items():
        if isinstance(value, list):
            yield from (mapping["exitOptions"] for mapping in value)
        elif name in ("preProcessingError", "fileUploadError", "default"):
            yield value


def _dependencies(
    job: Job, depends: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    needs = tuple(depends.get("taskIds", ()))
    ranges = tuple((part["start"], part["end"]) for part in depends.get("taskIdRanges", ()))
    if (needs or ranges) and not job.body["usesTaskDependencies"]:
        # The REST reference lists TaskDependenciesNotSpecifiedOnJob; see contract 12.
        raise Fault("UnsupportedProperty", ("PropertyName", "dependsOn"))
    if sum(map(len, needs)) > MAX_DEPENDENCY_CHARACTERS:
        raise Fault("TaskDependencyListTooLong")
    for first, _ in ranges:
        if first < 0:
            raise bad_property("start", str(first), "The value cannot be negative.")
    return needs, ranges


def serialize_task(context: Context, task: Task) -> dict[str, Any]:
    """A task as JSON."""
    body = task.body
    shown: dict[str, Any] = {"id": task.id}
    if "displayName" in body:
        shown["displayName"] = body["displayName"]
    shown |= {
        "url": _url(context, task),
        "eTag": etag_of(task.modified),
        "creationTime": write_time(task.created),
        "lastModified": write_time(task.modified),
        "state": task.state,
        "stateTransitionTime": write_time(task.state_since),
    }
    if task.previous_state is not None and task.previous_since is not None:
        shown |= {
            "previousState": task.previous_state,
            "previousStateTransitionTime": write_time(task.previous_since),
        }
    if "containerSettings" in body:
        body = without_secrets(body)
    shown |= {name: value for name, value in body.items() if name not in shown}
    shown["executionInfo"] = serialize_execution(task)
    if task.node_id is not None:
        shown["nodeInfo"] = _node_info(context, task)
    return shown


def serialize_execution(task: Task) -> dict[str, Any]:
    """``executionInfo`` of a task."""
    info: dict[str, Any] = {}
    if task.started is not None:
        info["startTime"] = write_time(task.started)
    if task.ended is not None:
        info["endTime"] = write_time(task.ended)
    if task.exit_code is not None:
        info["exitCode"] = task.exit_code
    if task.container is not None:
        info["containerInfo"] = task.container
    if task.failure is not None:
        info["failureInfo"] = task.failure
    if task.result is not None:
        info["result"] = task.result
    info["retryCount"] = task.retry_count
    if task.last_retry is not None:
        info["lastRetryTime"] = write_time(task.last_retry)
    info["requeueCount"] = task.requeue_count
    if task.last_requeue is not None:
        info["lastRequeueTime"] = write_time(task.last_requeue)
    return info


def serialize_subtask(context: Context, subtask: Subtask) -> dict[str, Any]:
    """A subtask as JSON."""
    node = _node_info(context, subtask)
    return {"id": subtask.number, "nodeInfo": node, **subtask.info, "state": subtask.state}


def _node_info(context: Context, ran: Task | Subtask) -> dict[str, Any]:
    node_url = f"{context.base_url}/pools/{ran.pool_id}/nodes/{ran.node_id}"
    return {
        "affinityId": f"TVM:{ran.node_id}",
        "nodeUrl": node_url,
        "poolId": ran.pool_id,
        "nodeId": ran.node_id,
        "taskRootDirectory": ran.directory,
        "taskRootDirectoryUrl": f"{node_url}/files/{ran.directory}",
    }
