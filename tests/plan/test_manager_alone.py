"""A job that consists of its job manager task, which adds the other tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchspec.observe import Spool
from batchspec.plan import Plan, PlanOptions, Selection, build_plan
from batchspec.plan.actions import CreateJob, ReplaceJob, WaitForTasks
from batchspec.plan.observed import TaskFacts
from tests.plan.situation import Situation, situation

SPEC = """\
version: 1
name: demo
containers: {output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job:
  max_wall_clock_time: 1h
  job_manager_task: {id: manager, command_line: ./add-tasks, kill_job_on_completion: false}
"""


def plan_of(
    folder: Path,
    *ends: bool | None,
    state: str = "completed",
    change: str = "",
    edited: bool = False,
    **options: Any,
) -> Plan:
    """The plan with a job whose tasks have these results, the job manager task first."""
    job: dict[str, Any] = {"id": "demo", "state": state}
    case: dict[str, Any] = {"spec": SPEC, "files": {}, "jobs": [job] if ends else []}
    if change:
        case["change"], case["before"] = (
            {"./add-tasks": change},
            {"change": {change: "./add-tasks"}},
        )
    if edited:
        case["change"] = {"{output: {}}": "{output: {}, input: {upload: [data/a.txt]}}"}
        case["before"] = {"files": {"data/a.txt": "before"}}
        case["files"] = {"data/a.txt": "after"}
    with situation(case, folder) as found, Spool() as spool:
        for number, succeeded in enumerate(ends):
            ended = "completed" if succeeded is not None else "running"
            name = "manager" if number == 0 else f"added-{number}"
            spool.add_task("demo", 0, TaskFacts(name, ended, succeeded))
        tasks = found.observed.tasks if not ends else spool.tasks()
        made: Situation = replace(found, observed=replace(found.observed, tasks=tasks))
        return build_plan(made.spec, made.observed, **options)


def actions(plan: Plan) -> list[str]:
    return [type(step.action).__name__ for step in plan.steps]


def test_the_first_run_waits_for_the_job_manager_task(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    assert actions(plan) == [
        "CreateContainer",
        "CreatePool",
        "WaitForPool",
        "CreateJob",
        "CloseJob",
        "WaitForTasks",
        "DeletePool",
    ]
    (wait,) = [s.action for s in plan.steps if isinstance(s.action, WaitForTasks)]
    assert wait.tasks == 1


def test_a_run_in_progress_is_waited_for(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, True, None, state="active")
    assert "CreateJob" not in actions(plan)
    assert "WaitForTasks" in actions(plan)


def test_a_run_in_which_all_tasks_succeeded_is_done(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, True, True)
    assert not plan.steps
    assert [(step.subject, step.reason) for step in plan.kept] == [
        ("tasks of the job", "all 2 succeeded in job demo")
    ]
    again = plan_of(tmp_path, True, True, options=PlanOptions(rerun=True))
    assert "CreateJob" in actions(again)


@pytest.mark.parametrize("ends", [(False,), (True, False), (True, None)])
def test_a_run_in_which_a_task_failed_is_repeated(
    ends: tuple[bool | None, ...], tmp_path: Path
) -> None:
    for only in (None, Selection()):
        plan = plan_of(tmp_path, *ends, only=only)
        (create,) = [s.action for s in plan.steps if isinstance(s.action, CreateJob)]
        assert create.job == "demo-r2"


def test_a_changed_job_manager_task_runs_in_another_job(tmp_path: Path) -> None:
    assert "CreateJob" in actions(plan_of(tmp_path, True, change="./add-more"))


def test_a_changed_job_manager_task_replaces_one_in_progress(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, None, state="active", change="./add-more")
    assert any(isinstance(step.action, ReplaceJob) for step in plan.steps)


def test_a_changed_input_replaces_a_job_in_progress(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, None, state="active", edited=True)
    (step,) = [step for step in plan.steps if isinstance(step.action, ReplaceJob)]
    assert "the spec has changed since the job manager task was created" in step.reason
