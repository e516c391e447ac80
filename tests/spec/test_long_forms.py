"""An error has the same finding in short and in long form, each at its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.spec import read_spec

PAIR: dict[str, Any] = {"enable_inter_node_communication": True}
FORMULA = "$TargetDedicatedNodes = 1;" + " " * 9000
NO_SOURCE = [{"file_path": "x"}]
FILE = {"http_url": "https://example.com/x", "file_path": "../x"}
BAD_URL = "{{ containers.output.write_url }}"
OUTPUT = {
    "file_pattern": "result.txt",
    "destination": {"container": {"container_url": BAD_URL}},
    "upload_options": {"upload_condition": "tasksuccess"},
}
EACH = {"for_each": {"range": [0, 3]}}
BACK = {"code": 3, "exit_options": {"job_action": "terminate"}}
REVERSED = {"start": 9, "end": 5, "exit_options": {"dependency_action": "satisfy"}}
BETWEEN = {"coordination_command_line": "true"}

FORMS: list[tuple[str, str, dict[str, Any], str, dict[str, Any], str]] = [
    # code; part; its short form and the key of the mistake; the same in the long form
    ("out-of-range", "pool", {"nodes": {"dedicated": -1}}, "dedicated",
     {"target_dedicated_nodes": -1}, "target_dedicated_nodes"),
    ("out-of-range", "pool", {"nodes": {"spot": -1}}, "spot",
     {"target_low_priority_nodes": -1}, "target_low_priority_nodes"),
    ("out-of-range", "pool",
     {"nodes": {"autoscale": {"formula": "$TargetDedicatedNodes = 1;", "interval": "1m"}}},
     "interval",
     {"enable_auto_scale": True, "auto_scale_formula": "$TargetDedicatedNodes = 1;",
      "auto_scale_evaluation_interval": "1m"}, "auto_scale_evaluation_interval"),
    ("too-large", "pool", {"nodes": {"autoscale": {"formula": FORMULA}}}, "formula",
     {"enable_auto_scale": True, "auto_scale_formula": FORMULA}, "auto_scale_formula"),
    ("missing-key", "pool", {"start_task": {"command": "true", "resources": NO_SOURCE}},
     "file_path",
     {"start_task": {"command_line": "true", "resource_files": NO_SOURCE}}, "file_path"),
    ("out-of-range", "job", {"max_wall_clock_time": "0s"}, "max_wall_clock_time",
     {"constraints": {"max_wall_clock_time": "0s"}}, "max_wall_clock_time"),
    ("out-of-range", "job", {"max_wall_clock_time": "1h", "max_retries": -2}, "max_retries",
     {"constraints": {"max_wall_clock_time": "1h", "max_task_retry_count": -2}},
     "max_task_retry_count"),
    ("out-of-range", "job",
     {"max_wall_clock_time": "1h", "prepare": {"command": "true", "retries": -2}}, "retries",
     {"max_wall_clock_time": "1h", "job_preparation_task": {
         "command_line": "true", "constraints": {"max_task_retry_count": -2}}},
     "max_task_retry_count"),
    ("leaves-directory", "job",
     {"max_wall_clock_time": "1h", "prepare": {"command": "true", "resources": [FILE]}},
     "file_path",
     {"max_wall_clock_time": "1h", "job_preparation_task": {
         "command_line": "true", "resource_files": [FILE]}}, "file_path"),
    ("missing-key", "job", {"max_wall_clock_time": "1h", "release": {"command": "true"}},
     "release",
     {"max_wall_clock_time": "1h", "job_release_task": {"command_line": "true"}},
     "job_release_task"),
    ("out-of-range", "job",
     {"max_wall_clock_time": "1h", "schedule": {"every": "10s"}}, "every",
     {"max_wall_clock_time": "1h", "schedule": {"recurrence_interval": "10s"}},
     "recurrence_interval"),
    ("out-of-range", "job",
     {"max_wall_clock_time": "1h", "schedule": {"every": "1h", "window": "10s"}}, "window",
     {"max_wall_clock_time": "1h",
      "schedule": {"recurrence_interval": "1h", "start_window": "10s"}}, "start_window"),
    ("out-of-range", "task", {"slots": 2}, "slots", {"required_slots": 2}, "required_slots"),
    ("out-of-range", "task", {"retries": -2}, "retries",
     {"constraints": {"max_task_retry_count": -2}}, "max_task_retry_count"),
    ("out-of-range", "task", {"max_wall_clock_time": "0s"}, "max_wall_clock_time",
     {"constraints": {"max_wall_clock_time": "0s"}}, "max_wall_clock_time"),
    ("out-of-range", "task", {"exit_codes": {"9-5": "satisfy"}}, "9-5",
     {"exit_conditions": {"exit_code_ranges": [REVERSED]}}, "end"),
    ("no-job-action", "task", {"exit_codes": {"3": "terminate"}}, "'3'",
     {"exit_conditions": {"exit_codes": [BACK]}}, "job_action"),
    ("no-communication", "task", {"instances": 2}, "instances",
     {"multi_instance_settings": {"number_of_instances": 2, **BETWEEN}},
     "multi_instance_settings"),
    ("out-of-range", "mpi", {"instances": {"count": 0, "command": "true"}}, "count",
     {"multi_instance_settings": {"number_of_instances": 0, **BETWEEN}}, "number_of_instances"),
    ("either-or", "mpi", {"instances": 2, "slots": 2}, "slots",
     {"multi_instance_settings": BETWEEN, "required_slots": 2}, "required_slots"),
    ("leaves-directory", "mpi",
     {"instances": {"count": 2, "command": "true", "resources": [FILE]}}, "file_path",
     {"multi_instance_settings": {**BETWEEN, "common_resource_files": [FILE]}}, "file_path"),
    ("no-containers", "task", {"container_image": "alpine"}, "container_image",
     {"container_settings": {"image_name": "alpine"}}, "container_settings"),
    ("same-blob", "task",
     {**EACH, "outputs": [{"files": "result.txt", "container": "output"}]}, "files",
     {**EACH, "output_files": [OUTPUT]}, "file_pattern"),
    ("missing-key", "task", {"resources": NO_SOURCE}, "file_path",
     {"resource_files": NO_SOURCE}, "file_path"),
    ("empty", "task", {"command": " "}, "command", {"command_line": " "}, "command_line"),
]  # fmt: skip


def _has_nodes(part: str, given: dict[str, Any]) -> bool:
    return part == "pool" and "start_task" not in given


def findings(folder: Path, part: str, given: dict[str, Any]) -> tuple[Diagnostic, ...]:
    """The errors of a spec with these members in a part of it."""
    pool = {"vm_size": "standard_d2s_v5", "image": "ubuntu-24.04"}
    command = {} if {"command", "command_line"} & set(given) else {"command": "true"}
    document = {
        "version": 1,
        "name": "demo",
        "containers": {"output": {}},
        "pool": {
            **pool,
            **({} if _has_nodes(part, given) else {"nodes": 2}),
            **(given if part == "pool" else {}),
            **(PAIR if part == "mpi" else {}),
        },
        "job": given if part == "job" else {"max_wall_clock_time": "1h"},
        "tasks": {"run": {**command, **given} if part in ("task", "mpi") else {"command": "true"}},
    }
    path = folder / "demo.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    return caught.value.problems


@pytest.mark.parametrize(("code", "part", "short", "short_key", "long", "long_key"), FORMS)
def test_both_forms_of_a_mistake_have_the_same_finding(
    code: str,
    part: str,
    short: dict[str, Any],
    short_key: str,
    long: dict[str, Any],
    long_key: str,
    tmp_path: Path,
) -> None:
    for given, key in ((short, short_key), (long, long_key)):
        (problem,) = findings(tmp_path, part, given)
        assert problem.code == code
        assert problem.where is not None
        assert problem.where.text.strip().removeprefix("- ").startswith(f"{key}:")


def test_all_kinds_of_tasks_have_the_same_rules(tmp_path: Path) -> None:
    """The job manager, preparation, release and start task, and the task of a stage."""
    wrong = {
        "user_identity": {"username": "nobody", "auto_user": {"scope": "task"}},
        "container_settings": {"image_name": "alpine"},
        "resource_files": [FILE],
    }
    job = {"max_wall_clock_time": "1h"}
    task = {"id": "special", "command_line": "true", **wrong}
    preparation = {"job_preparation_task": {"command_line": "true"}}
    for part, given in (
        ("job", job | {"job_manager_task": task}),
        ("job", job | {"job_preparation_task": task}),
        ("job", job | preparation | {"job_release_task": task}),
        ("pool", {"start_task": {"command_line": "true", **wrong}}),
        ("task", wrong),
    ):
        found = {problem.code for problem in findings(tmp_path, part, given)}
        assert found == {"unknown-user", "either-or", "no-containers", "leaves-directory"}, part


def test_the_job_of_a_schedule_and_an_auto_pool_have_the_same_rules(tmp_path: Path) -> None:
    job = {"max_wall_clock_time": "1h", "priority": 1001, "schedule": {"every": "1h"}}
    mount = {"lifetime": "job", "nodes": 1, "mount_configuration": [{}]}
    assert [problem.code for problem in findings(tmp_path, "job", job)] == ["out-of-range"]
    assert [problem.code for problem in findings(tmp_path, "pool", mount)] == ["missing-key"]
