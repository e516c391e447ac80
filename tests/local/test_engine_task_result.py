"""The effects of the end of a run: exit codes, retries, exit conditions, actions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.local.agent import (
    Failure,
    Outcome,
    ended_by_limit,
    exit_failure,
    failure,
    program_failure,
)
from batchspec.local.engine.outcomes import TaskResult, failure_json, task_result

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ACTS = {"onTaskFailure": "performexitoptionsjobaction"}


def exited(code: int, why: Failure | None = None) -> Outcome:
    return Outcome(NOW, NOW, code, why or (exit_failure() if code else None))


NOT_STARTED = Outcome(NOW, NOW, None, program_failure("x"))
NOT_FETCHED = Outcome(NOW, NOW, None, failure("BlobNotFound", FilePath="x"))
CUT_SHORT = Outcome(NOW, NOW, 137, ended_by_limit())
NOT_SENT = exited(0, failure("FileUploadAccessDenied", FilePath="x"))


@pytest.mark.parametrize(
    ("limit", "retries", "again"),
    [(0, 0, False), (1, 0, True), (1, 1, False), (3, 2, True), (-1, 0, True), (-1, 10**6, True)],
)
def test_a_bad_exit_code_is_retried_to_the_limit(limit: int, retries: int, again: bool) -> None:
    task = {"constraints": {"maxTaskRetryCount": limit}}
    assert task_result(task, {}, retries, exited(1)).retry is again


@pytest.mark.parametrize("outcome", [exited(0), NOT_STARTED, NOT_FETCHED, CUT_SHORT, NOT_SENT])
def test_nothing_else_is_retried(outcome: Outcome) -> None:
    assert not task_result({"constraints": {"maxTaskRetryCount": -1}}, {}, 0, outcome).retry


@pytest.mark.parametrize(
    ("outcome", "satisfies", "action"),
    [
        (exited(0), True, "none"),
        (exited(1), False, "terminate"),
        (NOT_STARTED, False, "terminate"),
        (NOT_FETCHED, False, "terminate"),
        (CUT_SHORT, False, "terminate"),
        (NOT_SENT, False, "terminate"),
    ],
)
def test_without_conditions_a_failure_blocks_and_terminates(
    outcome: Outcome, satisfies: bool, action: str
) -> None:
    assert task_result({}, ACTS, 0, outcome) == TaskResult(False, satisfies, action)
    assert task_result({}, {}, 0, outcome) == TaskResult(False, satisfies, "none")


def options(name: str) -> dict[str, Any]:
    """Exit options that are distinguished by their job action."""
    return {"jobAction": name, "dependencyAction": "satisfy"}


ALL = {
    "exitCodes": [{"code": 3, "exitOptions": options("c3")}],
    "exitCodeRanges": [{"start": 3, "end": 5, "exitOptions": options("range")}],
    "preProcessingError": options("pre"),
    "fileUploadError": options("upload"),
    "default": options("default"),
}


@pytest.mark.parametrize(
    ("outcome", "without", "action"),
    [
        (exited(3), (), "c3"),
        (exited(3), ("exitCodes",), "range"),
        (exited(5), (), "range"),
        (exited(6), (), "default"),
        (exited(6), ("default",), "terminate"),
        (exited(0), (), "none"),
        (NOT_STARTED, (), "pre"),
        (NOT_FETCHED, ("preProcessingError",), "default"),
        (NOT_SENT, (), "upload"),
        (NOT_SENT, ("fileUploadError",), "default"),
        (exited(3, NOT_SENT.failure), (), "c3"),
        (CUT_SHORT, (), "default"),
        (Outcome(NOW, NOW, None, ended_by_limit()), (), "default"),
    ],
)
def test_the_most_specific_exit_condition_applies(
    outcome: Outcome, without: tuple[str, ...], action: str
) -> None:
    conditions = {name: value for name, value in ALL.items() if name not in without}
    assert task_result({"exitConditions": conditions}, ACTS, 0, outcome).job_action == action


def test_exit_code_0_can_block() -> None:
    blocks = {"exitOptions": {"dependencyAction": "block", "jobAction": "disable"}}
    conditions = {"exitCodes": [{"code": 0, **blocks}]}
    assert task_result({"exitConditions": conditions}, ACTS, 0, exited(0)) == TaskResult(
        False, False, "disable"
    )


@given(code=st.integers(0, 255), start=st.integers(0, 255), end=st.integers(0, 255))
def test_ranges_are_inclusive(code: int, start: int, end: int) -> None:
    conditions = {
        "exitCodeRanges": [
            {"start": start, "end": end, "exitOptions": {"dependencyAction": "satisfy"}}
        ],
        "default": {"dependencyAction": "block"},
    }
    result = task_result({"exitConditions": conditions}, {}, 0, exited(code))
    assert result.satisfies is (start <= code <= end or code == 0)


def test_a_failure_in_wire_form() -> None:
    assert failure_json(None) is None
    assert failure_json(Failure("UserError", "TaskEnded", "m")) == {
        "category": "UserError",
        "code": "TaskEnded",
        "message": "m",
    }
    shown = failure_json(program_failure("x y"))
    assert shown is not None
    assert shown["details"][0] == {"name": "CommandLine", "value": "x y"}
