"""Plans name what has changed in the work of tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batchspec.plan import Step, build_plan
from batchspec.plan.actions import CreateJob, SubmitTasks
from batchspec.plan.ingredients import PARTS, changed_parts, named_changes
from batchspec.plan.metadata import metadata_of
from batchspec.render import plan_json
from tests.plan.situation import situation

SPEC = """\
version: 1
name: demo
parameters:
  top: {type: integer, default: 3}
  unused: {type: integer, default: 1}
  token: {type: string, secret: true}
containers:
  application: {upload: [app/*]}
  input: {upload: [data/*.txt]}
pool: {vm_size: standard_d2s_v5, nodes: 2, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  count:
    for_each: {files: input}
    command: wc -c {{ file.name }} | head -n {{ top }}
    env: {TOKEN: "{{ token }}"}
    logs: false
  sum:
    needs: [count]
    command: python3 count.py
    resources: [application]
    logs: false
"""
DONE = {
    "spec": SPEC,
    "variables": {"token": "the-value"},
    "jobs": [
        {
            "id": "demo",
            "state": "completed",
            "tasks": {"count": ["done", "done", "done"], "sum": ["done"]},
        }
    ],
}


def changes(folder: Path, before: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """The changes that the plan names for each stage; ``before`` is the earlier version."""
    return {name: step.changes for name, step in submitted(folder, before).items()}


def submitted(folder: Path, before: Mapping[str, Any]) -> dict[str, Step]:
    with situation({**DONE, "before": before}, folder) as found:
        plan = build_plan(found.spec, found.observed)
    return {s.action.stage: s for s in plan.steps if isinstance(s.action, SubmitTasks)}


def test_a_command_is_named_in_its_stage_and_those_that_need_it(tmp_path: Path) -> None:
    named = changes(tmp_path, {"change": {"wc -c": "wc -l"}})
    assert named == {"count": ("command",), "sum": ("command of count",)}


def test_a_parameter_is_named_only_where_it_is_used(tmp_path: Path) -> None:
    other = {"change": {"default: 3": "default: 5", "default: 1": "default: 2"}}
    assert changes(tmp_path, other) == {"count": ("parameter top",), "sum": ("parameter top",)}


def test_a_program_file_is_named_in_the_stage_that_reads_it(tmp_path: Path) -> None:
    named = changes(tmp_path, {"files": {"app/count.py": "old\n", "app/removed.py": "old\n"}})
    assert named == {"sum": ("file application/count.py", "file application/removed.py")}


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("    logs: false\n  sum:", "  sum:", {}),
        ("needs: [count]", "", {"sum": ("needs",)}),
        ("resources: [application]", "", {"sum": ("resources",)}),
        (
            'env: {TOKEN: "{{ token }}"}',
            "",
            {"count": ("environment",), "sum": ("environment of count",)},
        ),
        (
            "max_wall_clock_time: 1h",
            "max_wall_clock_time: 1h, env: {A: b}",
            {"count": ("environment of the job",), "sum": ("environment of the job",)},
        ),
        (
            "image: ubuntu-24.04",
            "image: ubuntu-24.04, start_task: {command: ls, resources: [application]}",
            {"count": ("resources of the nodes",), "sum": ("resources of the nodes",)},
        ),
    ],
    ids=["logs", "needs", "resources", "environment", "job", "nodes"],
)
@pytest.mark.parametrize("added", [True, False], ids=["added", "removed"])
def test_a_property_that_is_added_or_removed_is_named(
    old: str, new: str, named: dict[str, tuple[str, ...]], added: bool, tmp_path: Path
) -> None:
    assert old in SPEC
    here, there = (SPEC, SPEC.replace(old, new))[:: 1 if added else -1]
    with situation({**DONE, "spec": here, "before": {"change": {here: there}}}, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    assert {
        s.action.stage: s.changes[: len(named.get(s.action.stage, ()))]
        for s in plan.steps
        if isinstance(s.action, SubmitTasks)
    } == named


def test_an_input_is_named_for_its_task(tmp_path: Path) -> None:
    steps = submitted(tmp_path, {"files": {"data/a.txt": "old\n", "data/b.txt": "old\n"}})
    assert steps["count"].changes == ("file input/a.txt", "file input/b.txt")
    assert steps["count"].reason == "2 changed (file input/a.txt and 1 more)"


def test_the_image_is_named(tmp_path: Path) -> None:
    named = changes(tmp_path, {"change": {"ubuntu-24.04": "debian-12"}})
    assert named == {"count": ("image",), "sum": ("image",)}


def test_secrets_are_not_recorded(tmp_path: Path) -> None:
    with situation({"spec": SPEC, "variables": {"token": "one"}}, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    (body,) = (s.action.body for s in plan.steps if isinstance(s.action, CreateJob))
    parts = json.loads(str(metadata_of(body)[PARTS]))
    assert "parameter top" in parts
    assert not [name for name in parts if "token" in name]


def test_many_files_of_a_container_are_one_ingredient(tmp_path: Path) -> None:
    files = {f"app/{number}.py": "now\n" for number in range(60)}
    case = {**DONE, "files": files, "before": {"files": {"app/59.py": "before\n"}}}
    with situation(case, tmp_path) as found:
        plan = build_plan(found.spec, found.observed)
    (step,) = (s for s in plan.steps if isinstance(s.action, SubmitTasks))
    assert step.changes == ("files of application",)
    (shown,) = (s for s in json.loads(plan_json(plan))["steps"] if s["id"] == step.id)
    assert shown["changes"] == ["files of application"]


def test_metadata_without_a_record_name_no_change() -> None:
    recorded = {PARTS: '{"image":"1"}'}
    assert changed_parts({}, recorded) == ()
    assert changed_parts({PARTS: "not JSON"}, recorded) == ()
    assert changed_parts({PARTS: '{"image":"2"}'}, recorded) == ("image",)


def test_the_first_change_is_named_and_the_others_are_counted() -> None:
    assert named_changes(()) == ""
    assert named_changes(("image",)) == "image"
    assert named_changes(("image", "command"), 1002) == "image and 1,001 more"
