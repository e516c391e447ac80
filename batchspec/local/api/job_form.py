"""Jobs between their wire form and their record: defaults in, service-owned fields out.

The order of properties and the defaults are those of recorded replies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.auto_pool import complete_pool_info
from batchspec.local.api.context import Context
from batchspec.local.api.gaps import refuse_absent
from batchspec.local.api.manager_form import complete_manager
from batchspec.local.api.preparation_form import complete_special
from batchspec.local.api.secrets import without_secrets
from batchspec.local.api.task_settings import (
    as_known,
    check_positive,
    check_retries,
    in_order,
)
from batchspec.local.model.record import Job
from batchspec.local.wire.fault import bad_property
from batchspec.local.wire.times import UNLIMITED, etag_of, write_time

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
    """Job settings with all defaults, in the service's order; of a schedule if ``scheduled``.

    Raises:
        Fault: a rule of jobs is broken, or something is asked for that this service has not.
        AutoPoolFault: all is well, but its auto pool cannot be made.
    """
    filled = fill_job(body)
    return {**filled, "poolInfo": complete_pool_info(body["poolInfo"], scheduled=scheduled)}


def fill_job(body: Mapping[str, Any]) -> dict[str, Any]:
    """As :func:`complete_job`, with ``poolInfo`` as it was given.

    Raises:
        Fault: a rule of jobs is broken, or something is asked for that this service has not.
    """
    refuse_absent("job", body)
    given = body.get("constraints", {})
    check_positive("maxWallClockTime", given.get("maxWallClockTime"))
    check_retries("maxTaskRetryCount", given.get("maxTaskRetryCount"))
    priority = body.get("priority", 0)
    if not -1000 <= priority <= 1000:
        raise bad_property("priority", str(priority), "The value must be from -1000 to 1000.")
    parallel = body.get("maxParallelTasks", -1)
    if parallel != -1 and parallel < 1:
        raise bad_property(
            "maxParallelTasks", str(parallel), "The value must be -1 or greater than 0."
        )
    return in_order(
        {
            **body,
            **complete_manager(body, given.get("maxTaskRetryCount", 0)),
            **complete_special(body),
            "priority": priority,
            "maxParallelTasks": parallel,
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


def write_job(context: Context, job: Job, *, older: bool) -> dict[str, Any]:
    """A job as the service shows it."""
    body = without_secrets(with_manager(job.body, older=older))
    shown: dict[str, Any] = {"id": job.id}
    if "displayName" in body:
        shown["displayName"] = body["displayName"]
    shown |= {
        "url": f"{context.base_url}/jobs/{job.id}",
        "eTag": etag_of(job.modified),
        "lastModified": write_time(job.modified),
        "creationTime": write_time(job.created),
        "state": job.state,
        "stateTransitionTime": write_time(job.state_since),
    }
    if job.previous_state is not None and job.previous_since is not None:
        shown |= {
            "previousState": job.previous_state,
            "previousStateTransitionTime": write_time(job.previous_since),
        }
    shown |= {name: body[name] for name in body if name not in {*shown, *_LAST}}
    shown["executionInfo"] = _execution(job)
    return shown | {name: body[name] for name in _LAST}


def with_manager(body: Mapping[str, Any], *, older: bool) -> Mapping[str, Any]:
    """The settings of jobs with the job manager task as an api-version knows it."""
    if "jobManagerTask" not in body:
        return body
    return {**body, "jobManagerTask": as_known(body["jobManagerTask"], older=older)}


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
