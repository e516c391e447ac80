"""The job manager task of a job: rules and defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from batchspec.local.api.find import check_id
from batchspec.local.api.task_settings import (
    check_resource_files,
    check_slots,
    fill_constraints,
    fill_identity,
    in_order,
)

_FIRST = ("id", "displayName", "commandLine", "resourceFiles", "outputFiles", "environmentSettings")


def complete_manager(body: Mapping[str, Any], max_retries: int) -> dict[str, Any]:
    """The job manager task of a job's settings, complete, where it has one.

    ``max_retries`` is the job's, which it inherits.

    Raises:
        Fault: a rule is broken.
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
        "constraints": fill_constraints(given.get("constraints"), max_retries),
        "requiredSlots": slots,
        "userIdentity": fill_identity(given.get("userIdentity")),
        "runExclusive": given.get("runExclusive", True),
        "allowLowPriorityNode": given.get("allowLowPriorityNode", True),
        "killJobOnCompletion": given.get("killJobOnCompletion", True),
    }
    return {"jobManagerTask": in_order(complete, _FIRST)}
