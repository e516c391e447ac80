"""The work of a stage depends on the work of the stages that it needs, not on stored outputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from batchspec.plan.observed import Blob, ContainerFacts, Observed
from batchspec.plan.tasks import expand
from batchspec.spec import Spec
from tests.plan.situation import situation

SPEC = """\
version: 1
name: demo
containers:
  input: {upload: [data/*.txt]}
  middle: {}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  count: {for_each: {files: input}, command: "count {{ file.name }}"}
  merge: {needs: [count], resources: [middle], command: merge}
"""


def merge_id(spec: Spec, observed: Observed) -> str:
    stage = next(stage for stage in spec.stages if stage.name == "merge")
    (task,) = expand(spec, stage, observed, windows=False)
    return task.id


def id_of(folder: Path, **case: Any) -> str:
    folder.mkdir(exist_ok=True)
    with situation({"spec": SPEC, **case}, folder) as found:
        return merge_id(found.spec, found.observed)


def test_a_changed_input_of_a_needed_stage_changes_the_work(tmp_path: Path) -> None:
    assert id_of(tmp_path) != id_of(tmp_path, files={"data/a.txt": "changed"})


def test_outputs_of_the_run_do_not_change_the_work(tmp_path: Path) -> None:
    with situation({"spec": SPEC}, tmp_path) as found:
        there = ContainerFacts({}, (), (Blob("x", 1, b"0" * 16),))
        later = replace(found.observed, containers={**found.observed.containers, "middle": there})
        assert merge_id(found.spec, found.observed) == merge_id(found.spec, later)
