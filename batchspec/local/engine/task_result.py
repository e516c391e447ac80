"""What the end of a run means for the task, for dependent tasks, and for the job.

Pure. Source: the reference of ``ExitConditions``, ``ExitOptions`` and ``TaskConstraints``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from batchspec.local.agent import Failure, Outcome
from batchspec.local.model import Wire
from batchspec.local.wire import write_time


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of a run.

    With ``retry`` the task runs again at once. Otherwise it is completed: ``satisfies`` lets
    dependent tasks run, and ``job_action`` (``none``, ``disable``, ``terminate``) applies to the
    job.
    """

    retry: bool
    satisfies: bool = False
    job_action: str = "none"


def task_result(task: Wire, job: Wire, retries: int, outcome: Outcome) -> TaskResult:
    """The result of a run of ``task`` after ``retries`` retries; ``task`` and ``job`` are bodies.

    Only an exit code other than 0 is retried: not a failed download or upload, not a program that
    could not be started, not a run that was ended.
    """
    failure = outcome.failure
    limit = task.get("constraints", {}).get("maxTaskRetryCount", 0)
    failed_by_code = failure is not None and failure.code == "FailureExitCode"
    if failed_by_code and (limit < 0 or retries < limit):
        return TaskResult(retry=True)
    options = _exit_options(task.get("exitConditions") or {}, outcome)
    default = "satisfy" if failure is None else "block"
    satisfies = options.get("dependencyAction", default).lower() == "satisfy"
    action = "none"
    if job.get("onTaskFailure", "noaction").lower() == "performexitoptionsjobaction":
        action = options.get("jobAction", "none" if failure is None else "terminate").lower()
    return TaskResult(retry=False, satisfies=satisfies, job_action=action)


def _exit_options(conditions: Mapping[str, Any], outcome: Outcome) -> Mapping[str, Any]:
    """The exit options that apply. A listed exit code precedes a failed upload."""
    code, failure = outcome.exit_code, outcome.failure
    none: Mapping[str, Any] = {}
    if code is not None:
        for mapping in conditions.get("exitCodes", ()):
            if mapping["code"] == code:
                return mapping.get("exitOptions") or none
        for mapping in conditions.get("exitCodeRanges", ()):
            if mapping["start"] <= code <= mapping["end"]:
                return mapping.get("exitOptions") or none
    if failure is None:
        return none
    kind = None
    if code is None and failure.code != "TaskEnded":
        kind = "preProcessingError"
    elif failure.code.startswith("FileUpload"):
        kind = "fileUploadError"
    return conditions.get(kind or "") or conditions.get("default") or none


def subtask_started(now: datetime) -> Wire:
    """The info of a subtask when it starts."""
    stamp = write_time(now)
    return {"startTime": stamp, "stateTransitionTime": stamp}


def subtask_ended(outcome: Outcome) -> Wire:
    """The info of a subtask when its task has ended."""
    stamp = write_time(outcome.ended)
    info: dict[str, Any] = {"startTime": write_time(outcome.started), "endTime": stamp}
    if outcome.exit_code is not None:
        info["exitCode"] = outcome.exit_code
    failure = failure_json(outcome.failure)
    if failure is not None:
        info["failureInfo"] = failure
    return info | {
        "result": "success" if failure is None else "failure",
        "stateTransitionTime": stamp,
        "previousState": "running",
        "previousStateTransitionTime": info["startTime"],
    }


def node_error_json(failure: Failure) -> Wire:
    """A failure as an item of a node's ``errors``."""
    details = [{"name": name, "value": value} for name, value in failure.details]
    return {"code": failure.code, "message": failure.message, "errorDetails": details}


def failure_json(failure: Failure | None) -> Wire | None:
    """A failure in wire form."""
    if failure is None:
        return None
    shown: dict[str, Any] = {
        "category": failure.category,
        "code": failure.code,
        "message": failure.message,
    }
    if failure.details:
        shown["details"] = [{"name": name, "value": value} for name, value in failure.details]
    return shown
