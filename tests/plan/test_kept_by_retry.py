"""``apply`` keeps the tasks that ``retry`` has kept, until their stage changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.plan import OUTPUT_MISSING, Plan, Selection, build_plan
from batchspec.plan.actions import CreateJob, SubmitTasks
from batchspec.plan.metadata import KEEPS, metadata_of
from batchspec.plan.observed import Blob
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
    """The metadata of the job of a retry with the fixed program."""
    with situation({"spec": SPEC, "jobs": [JOB], **FIXED}, folder) as found:
        plan = build_plan(found.spec, found.observed, only=Selection())
        (job,) = (step.action for step in plan.steps if isinstance(step.action, CreateJob))
        return str(metadata_of(job.body)[KEEPS])


def submitted(folder: Path, change: Mapping[str, str], files: Mapping[str, str]) -> dict[str, int]:
    """The tasks that ``apply`` submits with a changed spec after the retry has succeeded."""
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


WITH_OUTPUTS = SPEC.replace("pool:", "  output: {}\npool:").replace(
    "    resources: [application]\n  late:",
    "    resources: [application]\n    outputs: [{files: '*.out', container: output}]\n  late:",
)


def plan_with_blobs(folder: Path, spec: str, state: str, stored: tuple[int, ...]) -> Plan:
    """The plan after a retry that kept all tasks; ``stored`` are the tasks that wrote a blob."""
    done = {"order": ["done"] * 3, "late": ["done"], "sum": ["done"] * 2}
    job = {**JOB, "tasks": done, "keeps": True, "state": state}
    case = {"spec": spec, "jobs": [job], "containers": {"output": {}}, **FIXED}
    with situation(case, folder) as found:
        index = found.observed.tasks
        assert index is not None
        tasks = [index.versions(task_id)[0][1] for task_id, _, _ in index.ends()]
        kept = [task.marks.work for task in tasks if task.id.startswith("order")]
        blobs = tuple(Blob(f"{n}.out", 1, None, work=kept[at]) for n, at in enumerate(stored))
        facts = replace(found.observed.containers["output"], blobs=blobs)
        containers = {**found.observed.containers, "output": facts}
        return build_plan(found.spec, replace(found.observed, containers=containers))


@pytest.mark.parametrize(
    ("stored", "runs"),
    [((0, 1, 2), {}), ((0, 2), {"order": 1, "sum": 2}), ((1, 1), {"order": 2, "sum": 2})],
    ids=["all", "one is missing", "two of one task"],
)
def test_a_kept_task_runs_again_without_the_required_output_that_it_wrote(
    tmp_path: Path, stored: tuple[int, ...], runs: dict[str, int]
) -> None:
    spec = WITH_OUTPUTS.replace("container: output}", "container: output, required: true}")
    plan = plan_with_blobs(tmp_path, spec, "active", stored)
    submits = (step.action for step in plan.steps if isinstance(step.action, SubmitTasks))
    assert {action.stage: len(action.tasks) for action in submits} == runs


@pytest.mark.parametrize(
    ("stored", "missing"),
    [((0, 1, 2), 0), ((0, 2), 1), ((1, 1), 2), ((), 3)],
    ids=["all", "one is missing", "two of one task", "none"],
)
def test_outputs_count_only_if_the_kept_tasks_wrote_them(
    tmp_path: Path, stored: tuple[int, ...], missing: int
) -> None:
    plan = plan_with_blobs(tmp_path, WITH_OUTPUTS, "completed", stored)
    found = [finding.summary for finding in plan.findings if finding.code == OUTPUT_MISSING]
    expected = f"output '*.out' of stage order: no file matched for {missing} of 3 tasks"
    assert found == [expected] * (missing > 0)
