"""Plans for a part of the tasks: only failed tasks, also on auto pools."""

from __future__ import annotations

from pathlib import Path

from batchspec.plan import Plan, Selection, build_plan
from batchspec.plan.actions import (
    CreateJob,
    DeleteContainers,
    DeletePool,
    RetryTasks,
    SubmitTasks,
    WaitForTasks,
)
from batchspec.spec import Record
from tests.plan.situation import situation

TWO_FAILED = {
    "about": "One task succeeded, two failed.",
    "containers": {key: {"by": "demo", "as_uploaded": True} for key in ("application", "input")},
    "pool": {"by": "demo"},
    "jobs": [
        {
            "id": "demo",
            "state": "completed",
            "by": "demo",
            "tasks": {"count": ["done", "failed", "failed"]},
        }
    ],
}


def planned(case: dict[str, object], folder: Path, only: Selection | None) -> Plan:
    with situation(case, folder) as found:
        return build_plan(found.spec, found.observed, only=only)


def failed_ids(case: dict[str, object], folder: Path) -> list[str]:
    with situation(case, folder) as found:
        plan = build_plan(found.spec, found.observed)
        (tasks,) = (s.action.tasks for s in plan.steps if isinstance(s.action, SubmitTasks))
        return [task.id for task in tasks]


def kinds(plan: Plan) -> set[type]:
    return {type(step.action) for step in plan.steps}


def test_all_failed_tasks_are_submitted_to_a_job_for_a_part_of_the_run(tmp_path: Path) -> None:
    plan = planned(TWO_FAILED, tmp_path, Selection())
    (submit,) = (step for step in plan.steps if isinstance(step.action, SubmitTasks))
    assert submit.items == 2
    (job,) = (step.action for step in plan.steps if isinstance(step.action, CreateJob))
    assert Record(name="batchspec:scope", value="rest") in job.body["metadata"]  # type: ignore[operator]


def test_one_task_is_a_part_of_the_run_although_no_task_has_succeeded(
    tmp_path: Path,
) -> None:
    (job,) = TWO_FAILED["jobs"]  # type: ignore[misc]
    tasks = {"count": ["failed", "failed", "failed"]}
    case = {**TWO_FAILED, "jobs": [{**job, "tasks": tasks}]}  # type: ignore[dict-item]
    first, *_ = failed_ids(case, tmp_path)
    for only, scope in ((Selection(ids=frozenset({first.lower()})), "rest"), (None, "whole")):
        plan = planned(case, tmp_path, only)
        (job,) = (step.action for step in plan.steps if isinstance(step.action, CreateJob))
        assert Record(name="batchspec:scope", value=scope) in job.body["metadata"]  # type: ignore[operator]


def test_a_plan_for_one_task_deletes_nothing_while_others_are_left(tmp_path: Path) -> None:
    first, _ = failed_ids(TWO_FAILED, tmp_path)
    every = planned(TWO_FAILED, tmp_path, Selection())
    one = planned(TWO_FAILED, tmp_path, Selection(ids=frozenset({first.lower()})))
    (submit,) = (step for step in one.steps if isinstance(step.action, SubmitTasks))
    assert submit.items == 1
    for plan, left in ((every, 0), (one, 1)):
        (wait,) = (step.action for step in plan.steps if isinstance(step.action, WaitForTasks))
        assert wait.left == left, "the run ends as one whose tasks failed"
        assert (wait.absent, wait.failed_before) == (left, left), "totals contain it as failed"
        assert {DeleteContainers, DeletePool} <= kinds(plan), "so that what is left can be named"


def test_failed_tasks_of_an_open_job_are_retried_in_it(tmp_path: Path) -> None:
    (job,) = TWO_FAILED["jobs"]  # type: ignore[misc]
    case = {**TWO_FAILED, "jobs": [{**job, "state": "active"}]}  # type: ignore[dict-item]
    plan = planned(case, tmp_path, Selection())
    assert RetryTasks in kinds(plan)
    assert not {SubmitTasks, CreateJob} & kinds(plan)


def test_a_task_that_was_never_submitted_has_not_failed(tmp_path: Path) -> None:
    (job,) = TWO_FAILED["jobs"]  # type: ignore[misc]
    tasks = {"count": ["done", None, None]}
    case = {**TWO_FAILED, "jobs": [{**job, "tasks": tasks}]}  # type: ignore[dict-item]
    assert not {SubmitTasks, RetryTasks} & kinds(planned(case, tmp_path, Selection()))


def test_the_id_of_an_auto_pool_is_not_known(tmp_path: Path) -> None:
    case = {
        "about": "The service makes the pool.",
        "change": {"pool:\n  vm_size": "pool:\n  lifetime: job\n  vm_size", ", pool: ask": ""},
    }
    plan = planned(case, tmp_path, None)
    (wait,) = (step.action for step in plan.steps if isinstance(step.action, WaitForTasks))
    assert wait.pool == ""


def test_an_unfinished_start_task_selects_tasks_that_could_not_start(
    tmp_path: Path,
) -> None:
    ended = {
        **TWO_FAILED,
        "jobs": [
            {
                "id": "demo",
                "state": "completed",
                "reason": "MaxWallClockTimeExpiry",
                "tasks": {"count": ["done", "failed", "active"]},
            }
        ],
    }
    with situation(ended, tmp_path) as found:
        jobs = {job.id: job for job in found.observed.jobs}
        only = Selection(frozenset({"start-task-running"}), jobs=jobs)
        plan = build_plan(found.spec, found.observed, only=only)
    (submit,) = (step for step in plan.steps if isinstance(step.action, SubmitTasks))
    assert submit.items == 1, "the failed task has another cause"
