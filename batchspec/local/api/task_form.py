"""Tasks between their wire form and their record: rules and defaults in, service fields out.

The order of properties and the defaults are those of recorded replies.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from batchspec.local.api.context import Context
from batchspec.local.api.find import check_id
from batchspec.local.api.gaps import refuse_absent
from batchspec.local.api.secrets import without_secrets
from batchspec.local.api.task_settings import (
    as_known,
    check_resource_files,
    check_slots,
    fill_constraints,
    fill_identity,
    in_order,
)
from batchspec.local.model.record import Job, Subtask, Task
from batchspec.local.store.tasks import NewTask
from batchspec.local.wire.fault import Fault, absent, bad_property
from batchspec.local.wire.times import etag_of, write_time

MAX_DEPENDENCY_CHARACTERS = 64_000
OF_THE_SERVICE = frozenset(
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
"""What a task shows that is not in its body."""
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
    """A task to add, of a create body that has the right shape.

    Raises:
        Fault: a rule of tasks is broken, or something is asked for that this service has not.
    """
    task_id = check_id("id", given["id"])
    _check_names(job, task_id)
    body = {name: value for name, value in given.items() if name != "id"}
    refuse_absent("task", body)
    check_resource_files(body.get("resourceFiles", ()))
    _check_exit_options(job, body.get("exitConditions", {}))
    slots = body.get("requiredSlots", 1)
    check_slots(slots)
    needs, ranges = _dependencies(job, body.get("dependsOn", {}))
    filled = in_order(
        {
            **body,
            "userIdentity": fill_identity(body.get("userIdentity")),
            "constraints": fill_constraints(
                body.get("constraints"), job.body["constraints"]["maxTaskRetryCount"]
            ),
            "requiredSlots": slots,
            **_together(body),
        },
        _ORDER,
    )
    return NewTask(task_id, filled, slots, needs, ranges)


def _together(body: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a multi-instance task, complete."""
    settings = body.get("multiInstanceSettings")
    if settings is None:
        return {}
    count, slots = settings.get("numberOfInstances", 1), body.get("requiredSlots", 1)
    if count < 1:
        raise bad_property("numberOfInstances", str(count), "The value must be greater than 0.")
    if slots != 1:
        raise bad_property(
            "requiredSlots", str(slots), "The value must be 1 for a multi-instance task."
        )
    if "containerSettings" in body:
        raise absent("A multi-instance task in containers")
    check_resource_files(settings.get("commonResourceFiles", ()))
    return {"multiInstanceSettings": {"numberOfInstances": count, **settings}}


def _check_names(job: Job, task_id: str) -> None:
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
        # The reference has TaskDependenciesNotSpecifiedOnJob; see contract 12.
        raise Fault("UnsupportedProperty", ("PropertyName", "dependsOn"))
    if sum(map(len, needs)) > MAX_DEPENDENCY_CHARACTERS:
        raise Fault("TaskDependencyListTooLong")
    for first, last in ranges:
        if not 0 <= first <= last:
            raise bad_property(
                "taskIdRanges", f"{first}-{last}", "The start of a range cannot be after its end."
            )
    return needs, ranges


def write_task(context: Context, task: Task, *, older: bool) -> dict[str, Any]:
    """A task as the service shows it."""
    body = as_known(task.body, older=older)
    shown: dict[str, Any] = {"id": task.id}
    if "displayName" in body:
        shown["displayName"] = body["displayName"]
    shown |= {
        "url": f"{context.base_url}/jobs/{task.job_id}/tasks/{task.id}",
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
    shown["executionInfo"] = write_execution(task)
    if task.node_id is not None:
        shown["nodeInfo"] = _node_info(context, task)
    return shown


def write_execution(task: Task) -> dict[str, Any]:
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


def write_subtask(context: Context, subtask: Subtask) -> dict[str, Any]:
    """A subtask as the service shows it."""
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
