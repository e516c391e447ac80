"""Resources that clean-up does not delete, and that a run names at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.plan import build_plan
from tests.plan.situation import situation

RULES = "cleanup: {containers: on_success, job: ask, pool: ask}"
EARLIER = {"id": "demo", "state": "completed", "tasks": {"count": ["done", "done", "failed"]}}


@pytest.mark.parametrize(
    ("rules", "stays"),
    [
        (RULES, []),
        (RULES.replace("job: ask, ", ""), ["job demo", "job demo-r2"]),
        ("cleanup: {pool: ask}", ["containers application, input, output"]),
    ],
)
def test_every_job_of_the_run_stays(rules: str, stays: list[str], tmp_path: Path) -> None:
    case = {"change": {RULES: rules}, "jobs": [EARLIER]}
    with situation(case, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    assert [step.subject for step in plan.stays][: len(stays) or None] == stays
    assert not {step.id for step in plan.stays} & {step.id for step in plan.steps}


@pytest.mark.parametrize(
    ("change", "stay"),
    [
        ({}, False),
        ({RULES: "cleanup: {pool: never}"}, True),
        ({RULES: ""}, False),
        ({RULES: "cleanup: {pool: never}", "nodes: 2": "nodes: {scale: {max: 2}}"}, False),
    ],
)
def test_nodes_stay_only_without_clean_up_and_formula(
    change: dict[str, str], stay: bool, tmp_path: Path
) -> None:
    with situation({"change": change}, tmp_path) as found:
        assert build_plan(found.spec, found.observed).nodes_stay == stay


@pytest.mark.parametrize("start_task", [True, False])
def test_clean_up_records_whether_nodes_read_a_container(start_task: bool, tmp_path: Path) -> None:
    read = ", resources: [application]}"
    change = {} if start_task else {read: "}"}
    with situation({"change": change}, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    (deletion,) = [step.action for step in plan.steps if step.id == "cleanup:containers"]
    assert getattr(deletion, "read_by_nodes", None) == start_task
