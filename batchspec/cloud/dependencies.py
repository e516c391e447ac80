"""What tasks wait for, and what the end of a task means to those that wait: wire JSON as facts.

Pure: no SDK model, no request. Evidence: the reference of ``TaskDependencies``, ``ExitConditions``
and ``ExitOptions``.
"""

from __future__ import annotations

from batchspec.apply.ports import TaskWaiting
from batchspec.cloud.facts import Json

WAITING_FIELDS = ["id", "dependsOn", "requiredSlots"]
"""What :func:`task_waiting` reads."""

ENDED_FIELDS = ["id", "executionInfo", "exitConditions"]
"""What :func:`satisfies` reads."""


def task_waiting(body: Json) -> TaskWaiting:
    """A task of a list, with :data:`WAITING_FIELDS`."""
    depends: Json = body.get("dependsOn") or {}
    ranges = tuple((r["start"], r["end"]) for r in depends.get("taskIdRanges") or ())
    needs = tuple(depends.get("taskIds") or ())
    return TaskWaiting(body["id"], needs, ranges, body.get("requiredSlots", 1))


def satisfies(body: Json) -> bool:
    """Whether a failed task lets those start that depend on it, with :data:`ENDED_FIELDS`."""
    options = _options(body.get("exitConditions") or {}, body.get("executionInfo") or {})
    return str(options.get("dependencyAction", "block")).lower() == "satisfy"


def _options(conditions: Json, execution: Json) -> Json:
    """The exit options that apply: a code that is listed comes before all else."""
    code: int | None = execution.get("exitCode")
    found: Json | None = None
    if code is not None:
        for single in conditions.get("exitCodes") or ():
            if single["code"] == code:
                return single.get("exitOptions") or {}
        for several in conditions.get("exitCodeRanges") or ():
            if several["start"] <= code <= several["end"]:
                return several.get("exitOptions") or {}
    failure = str((execution.get("failureInfo") or {}).get("code", ""))
    if failure.startswith("FileUpload"):
        found = conditions.get("fileUploadError")
    elif code is None and failure != "TaskEnded":
        found = conditions.get("preProcessingError")
    return found or conditions.get("default") or {}
