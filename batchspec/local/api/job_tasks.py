"""The job manager, job preparation and job release task of a job: validation, defaults, JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.context import Context, check_id
from batchspec.local.api.task_settings import (
    DEFAULT_RETENTION,
    check_positive,
    check_resource_files,
    check_slots,
    complete_constraints,
    complete_identity,
    in_order,
)
from batchspec.local.model import PREPARATION, RELEASE, Preparation
from batchspec.local.wire import bad_property, ticks_of

_FIRST = ("id", "displayName", "commandLine", "resourceFiles", "outputFiles", "environmentSettings")


def complete_job_manager(body: Mapping[str, Any], max_retries: int) -> dict[str, Any]:
    """The job manager task of job settings ``body`` with defaults; empty if there is none.

    ``max_retries`` is the retry count of the job, which the task inherits.

    Raises:
        Fault: a setting is invalid.
    """
    given = body.get("jobManagerTask")
    if given is None:
        return {}
    check_resource_files(given.get("resourceFiles", ()))
    slots = given.get("requiredSlots", 1)
    check_slots(slots)
    complete = {
        **given,
        "id": check_id("id", given["id"]),
        "constraints": complete_constraints(given.get("constraints"), max_retries),
        "requiredSlots": slots,
        "userIdentity": complete_identity(given.get("userIdentity")),
        "runExclusive": given.get("runExclusive", True),
        "allowLowPriorityNode": given.get("allowLowPriorityNode", True),
        "killJobOnCompletion": given.get("killJobOnCompletion", True),
    }
    return {"jobManagerTask": in_order(complete, _FIRST)}


MAX_RELEASE = "PT15M"
"""Default and maximum of a job release task's ``maxWallClockTime``."""


def complete_preparation_and_release(body: Mapping[str, Any]) -> dict[str, Any]:
    """The preparation and release task of job settings ``body`` with defaults, where present.

    Raises:
        Fault: a setting is invalid.
    """
    preparation, release = body.get("jobPreparationTask"), body.get("jobReleaseTask")
    if release is not None and preparation is None:
        raise bad_property(
            "jobReleaseTask", None, "A job release task needs a job preparation task."
        )
    filled = {}
    if preparation is not None:
        filled["jobPreparationTask"] = _preparation(preparation)
    if release is not None:
        filled["jobReleaseTask"] = _release(release)
        ids = [filled[name]["id"] for name in filled]
        if ids[0].lower() == ids[1].lower():
            raise bad_property("id", ids[1], "The preparation task has the same id.")
    return filled


def _preparation(given: Mapping[str, Any]) -> dict[str, Any]:
    check_resource_files(given.get("resourceFiles", ()))
    return in_order(
        {
            **given,
            "id": check_id("id", given.get("id", PREPARATION)),
            "userIdentity": complete_identity(given.get("userIdentity")),
            "constraints": complete_constraints(given.get("constraints"), 0),
            "waitForSuccess": given.get("waitForSuccess", True),
            "rerunOnNodeRebootAfterSuccess": given.get("rerunOnNodeRebootAfterSuccess", True),
        },
        ("id", "commandLine"),
    )


def _release(given: Mapping[str, Any]) -> dict[str, Any]:
    check_resource_files(given.get("resourceFiles", ()))
    limit = given.get("maxWallClockTime", MAX_RELEASE)
    check_positive("maxWallClockTime", limit)
    if ticks_of(limit) > ticks_of(MAX_RELEASE):
        raise bad_property("maxWallClockTime", limit, "The value cannot be above 15 minutes.")
    return in_order(
        {
            **given,
            "id": check_id("id", given.get("id", RELEASE)),
            "userIdentity": complete_identity(given.get("userIdentity")),
            "maxWallClockTime": limit,
            "retentionTime": given.get("retentionTime", DEFAULT_RETENTION),
        },
        ("id", "commandLine"),
    )


def serialize_preparation(context: Context, preparation: Preparation) -> dict[str, Any]:
    """The status of the preparation and release task of a job on one node, as JSON."""
    node = f"{context.base_url}/pools/{preparation.pool_id}/nodes/{preparation.node_id}"

    def located(info: Mapping[str, Any]) -> dict[str, Any]:
        return {**info, "taskRootDirectoryUrl": f"{node}/files/{info['taskRootDirectory']}"}

    shown = {
        "poolId": preparation.pool_id,
        "nodeId": preparation.node_id,
        "nodeUrl": node,
        "jobPreparationTaskExecutionInfo": located(preparation.info),
    }
    if preparation.release is not None:
        shown["jobReleaseTaskExecutionInfo"] = located(preparation.release)
    return shown
