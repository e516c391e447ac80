"""What ``retry`` has kept is kept by the next ``apply``, until its own stage changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.plan import Selection, build_plan
from batchspec.plan.actions import CreateJob, SubmitTasks
from batchspec.plan.metadata import KEEPS, metadata_of
from tests.plan.situation import situation

SPEC = """\
version: 1
name: demo
parameters:
  top: {type: integer, default: 3}
  unused: {type: integer, default: 1}
containers:
  application: {upload: [app/*]}
pool: {vm_size: standard_d2s_v5, nodes: 2, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  order:
    for_each: {list: [apple, pear, plum]}
    command: python3 count.py {{ value }} {{ top }}
    resources: [application]
  late: {command: sleep 60}
  sum:
    needs: [order]
    for_each: {list: [all, most]}
    command: python3 count.py {{ value }}
    resources: [application]
"""
JOB = {
    "id": "demo",
    "state": "completed",
    "tasks": {"order": ["done"] * 3, "late": ["failed"], "sum": ["done", "failed"]},
}
FIXED = {"files": {"app/count.py": "fixed\n"}, "before": {"files": {"app/count.py": "wrong\n"}}}


def recorded(folder: Path) -> str:
    """What the job of a retry records after the program has been fixed."""
    with situation({"spec": SPEC, "jobs": [JOB], **FIXED}, folder) as found:
        plan = build_plan(found.spec, found.observed, only=Selection())
        (job,) = (step.action for step in plan.steps if isinstance(step.action, CreateJob))
        return str(metadata_of(job.body)[KEEPS])


def submitted(folder: Path, change: Mapping[str, str], files: Mapping[str, str]) -> dict[str, int]:
    """What ``apply`` submits after the retry has succeeded, with a change of the spec."""
    tasks = {"order": ["done"] * 3, "late": ["done"], "sum": ["done"] * 2}
    changed = SPEC
    for old, new in change.items():
        assert old in changed
        changed = changed.replace(old, new)
    before = {**FIXED["before"], "change": {changed: SPEC}}
    case = {"spec": changed, "jobs": [{**JOB, "tasks": tasks}], **FIXED, "before": before}
    case["files"] = {**FIXED["files"], **files}
    with situation(case, folder / "now") as found:
        kept = recorded(folder / "retry")
        jobs = [replace(x, metadata={**x.metadata, KEEPS: kept}) for x in found.observed.jobs]
        plan = build_plan(found.spec, replace(found.observed, jobs=tuple(jobs)))
        submits = (step.action for step in plan.steps if isinstance(step.action, SubmitTasks))
        return {action.stage: len(action.tasks) for action in submits}


@pytest.mark.parametrize(
    ("change", "files", "runs"),
    [
        ({}, {}, {}),
        ({", plum]": "]"}, {}, {"sum": 2}),
        ({"  late: {command: sleep 60}\n": ""}, {}, {}),
        ({"sleep 60": "sleep 1"}, {}, {"late": 1}),
        ({"unused: {type: integer, default: 1}": "unused: {type: integer, default: 2}"}, {}, {}),
        ({"python3 count.py {{ value }}\n": "python count.py {{ value }}\n"}, {}, {"sum": 2}),
        ({"default: 3": "default: 4"}, {}, {"order": 3, "sum": 2}),
        ({}, {"app/count.py": "fixed again\n"}, {"order": 3, "sum": 2}),
        ({", plum]": ", plum, fig]"}, {}, {"order": 1, "sum": 2}),
    ],
    ids=[
        "nothing",
        "an item is removed: what needs the stage has read it",
        "another stage is removed",
        "another stage changes",
        "a parameter that no task uses",
        "its command",
        "its parameter",
        "its program",
        "an item is added",
    ],
)
def test_tasks_run_again_if_their_own_stage_has_changed_since_the_retry(
    tmp_path: Path, change: Mapping[str, str], files: Mapping[str, str], runs: dict[str, int]
) -> None:
    (tmp_path / "now").mkdir()
    (tmp_path / "retry").mkdir()
    assert submitted(tmp_path, change, files) == runs
