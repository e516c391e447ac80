"""Whether a failed task blocks the tasks that depend on it, from the JSON of the service."""

from __future__ import annotations

from typing import Any

import pytest

from batchspec.account import TaskWaiting
from batchspec.cloud.facts import satisfies, task_waiting

SATISFY, BLOCK = {"dependencyAction": "Satisfy"}, {"dependencyAction": "block"}
CONDITIONS = {
    "exitCodes": [{"code": 3, "exitOptions": SATISFY}, {"code": 4, "exitOptions": BLOCK}],
    "exitCodeRanges": [{"start": 10, "end": 20, "exitOptions": SATISFY}],
    "fileUploadError": BLOCK,
    "preProcessingError": BLOCK,
    "default": SATISFY,
}
EXECUTIONS: dict[str, tuple[dict[str, Any], bool]] = {
    "a code": ({"exitCode": 3}, True),
    "another code": ({"exitCode": 4}, False),
    "a code of a range": ({"exitCode": 20}, True),
    "any other": ({"exitCode": 21}, True),
    "an upload that failed": ({"exitCode": 0, "failureInfo": {"code": "FileUploadMisc"}}, False),
    "a code and an upload": ({"exitCode": 3, "failureInfo": {"code": "FileUploadMisc"}}, True),
    "no program": ({"failureInfo": {"code": "CommandProgramNotFound"}}, False),
    "ended": ({"failureInfo": {"code": "TaskEnded"}}, True),
}


@pytest.mark.parametrize(("execution", "expected"), EXECUTIONS.values(), ids=EXECUTIONS)
def test_exit_conditions_decide(execution: dict[str, Any], expected: bool) -> None:
    body = {"id": "t", "executionInfo": execution, "exitConditions": CONDITIONS}
    assert satisfies(body) is expected


def test_without_exit_conditions_a_failure_blocks() -> None:
    assert not satisfies({"id": "t", "executionInfo": {"exitCode": 1}})


def test_dependencies_of_a_task() -> None:
    depends = {"taskIds": ["a", "b"], "taskIdRanges": [{"start": 1, "end": 9}]}
    assert task_waiting({"id": "t", "dependsOn": depends}) == TaskWaiting(
        "t", ("a", "b"), ((1, 9),)
    )
    assert task_waiting({"id": "t"}) == TaskWaiting("t")
