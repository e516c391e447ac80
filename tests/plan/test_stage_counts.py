"""Totals of stages, from display names, metadata of jobs and a list of tasks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from batchspec.plan import StageCounts, count_stages, read_recorded
from batchspec.plan.metadata import STAGES
from batchspec.plan.observed import UNMARKED, JobFacts, Marks, TaskFacts, read_marks
from batchspec.plan.stage_tasks import StageTotals, recorded
from batchspec.spec import Record, Spec, read_spec

A, B, C = "a" * 14, "b" * 14, "c" * 14
SPEC = """\
version: 1
name: run
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 5m}
tasks:
  map: {command: echo}
  merge: {command: echo, needs: [map]}
"""


@pytest.mark.parametrize(
    "marks",
    [Marks(A, B, C, "map"), Marks(A, "", C, "map-2_x"), Marks(A, B, C), Marks(A, "", C)],
)
def test_marks_are_read_with_and_without_a_stage(marks: Marks) -> None:
    assert read_marks(marks.named("[map item] of x")) == marks
    assert read_marks(marks.named("")) == marks
    assert len(marks.named("x" * 2000)) == 1024


def test_the_form_of_a_display_name() -> None:
    assert Marks(A, B, C, "map").named("one") == f"one [map item {A}.{B} work {C}]"
    assert read_marks(f"one [item {A} work {C}]") == Marks(A, "", C)
    assert read_marks("one [map item of x]") == UNMARKED


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    path = tmp_path / "s.yaml"
    path.write_text(SPEC, encoding="utf-8")
    return read_spec(path)


def job(text: str | None) -> JobFacts:
    metadata = {} if text is None else {STAGES: text}
    return JobFacts("run", "active", datetime(2026, 1, 1, tzinfo=UTC), Record(), metadata)


def test_metadata_of_a_job_is_read(spec: Spec) -> None:
    totals = (StageTotals("map", 200, 190, 1, 8), StageTotals("merge", 1))
    assert read_recorded(job(recorded(totals)), spec) == totals
    old = '{"map":[200,198,1],"merge":[1,0,0]}'
    assert read_recorded(job(old), spec)[0] == StageTotals("map", 200, 198, 1)


@pytest.mark.parametrize("text", [None, "", "[1]", '{"map":[1]}', '{"map":["1",2,3]}', "{"])
def test_without_metadata_the_tasks_of_the_job_count(spec: Spec, text: str | None) -> None:
    assert read_recorded(job(text), spec) == (StageTotals("map"), StageTotals("merge"))


async def test_kept_tasks_count_and_those_of_an_earlier_version_do_not() -> None:
    done = TaskFacts("x", "completed", True, marks=Marks(A, "", C, "map"))
    failed = replace(done, succeeded=False)
    running = replace(done, state="preparing", succeeded=None)
    waiting = replace(running, state="active")
    other = replace(done, marks=Marks(A, "", C))

    async def tasks() -> AsyncIterator[TaskFacts]:
        for task in (done, done, failed, running, waiting, other):
            yield task

    totals = (StageTotals("map", 10, 5, 1), StageTotals("merge", 1))
    assert await count_stages(totals, tasks()) == {
        "map": StageCounts(total=10, active=1, running=1, succeeded=6, failed=1),
        "merge": StageCounts(total=1, active=0, running=0, succeeded=0, failed=0),
    }
