"""The outputs that the blobs of a container fulfil, and tasks without a required output."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from batchspec.plan import (
    OUTPUT_MISSING,
    ExpectedOutput,
    OutputIndex,
    build_plan,
    find_missing_outputs,
)
from batchspec.plan.actions import SubmitTasks, WaitForTasks
from batchspec.plan.observed import Blob, Receipt
from batchspec.plan.receipt import receipt_name
from batchspec.plan.tasks import expand
from tests.plan.situation import SPEC, read_case, situation


def expected(pattern: str, path: str = "") -> ExpectedOutput:
    return ExpectedOutput("say", 0, pattern, "output", path, required=False)


@pytest.mark.parametrize(
    ("outputs", "blobs", "missing"),
    [
        ([expected("a*.csv"), expected("b*.csv")], ["a-1.csv"], {"b*.csv"}),
        ([expected("a*.csv"), expected("b*.csv")], ["b-1.csv"], {"a*.csv"}),
        ([expected("*.csv", "t1"), expected("*.csv", "t2")], ["t1/x.csv"], {"t2/*.csv"}),
        ([expected("out/**/*.csv", "t1")], ["t1/a/b.csv"], set()),
        ([expected("out.txt", "1.txt"), expected("out.txt", "2.txt")], ["2.txt"], {"1.txt"}),
        ([expected("*.csv"), expected("*.txt")], ["deep/a.csv", "b.txt"], set()),
    ],
)
def test_a_pattern_of_one_task_is_not_fulfilled_by_another(
    outputs: list[ExpectedOutput], blobs: list[str], missing: set[str]
) -> None:
    index = OutputIndex()
    for one in outputs:
        index.add(one)
    for name in blobs:
        index.add_blob("output", Blob(name, 1, None))
    assert {one.shown for one in outputs if index.lacks(one)} == missing


def outputs_of(*works: str) -> list[ExpectedOutput]:
    return [replace(expected("*.csv"), task=f"task-{work}", work=work) for work in works]


@pytest.mark.parametrize(
    ("blobs", "missing"),
    [
        ({"1.csv": "a", "2.csv": "b", "3.csv": "c"}, set()),
        ({"1.csv": "a", "2.csv": "a", "3.csv": "c"}, {"*.csv of task-b"}),
        ({"1.csv": "a"}, {"*.csv of task-b", "*.csv of task-c"}),
        ({"1.csv": "a", "2.csv": "", "3.csv": "c"}, set()),
        ({"1.csv": "a", "2.csv": "earlier", "3.csv": "c"}, {"*.csv of task-b"}),
    ],
    ids=["all", "two-of-one", "first", "no-stamp", "other-work"],
)
def test_tasks_with_one_pattern_each_write_a_file(blobs: dict[str, str], missing: set[str]) -> None:
    index, outputs = OutputIndex(), outputs_of("a", "b", "c")
    for one in outputs:
        index.add(one)
    for name, work in blobs.items():
        index.add_blob("output", Blob(name, 1, None, work=work))
    assert {one.shown for one in outputs if index.lacks(one)} == missing


REQUIRED = {
    "spec": SPEC.replace(
        "logs: false",
        'logs: false\n    outputs: [{files: "{{ file.stem }}*.out", container: output,'
        " required: true}]",
    ).replace("results: [{container: output, to: results/}]\n", ""),
    "containers": {
        "application": {"as_uploaded": True},
        "input": {"as_uploaded": True},
        "output": {},
    },
    "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
}


@pytest.mark.parametrize(
    ("names", "exists", "runs"),
    [
        (("a1.out", "b1.out", "c1.out"), True, 0),
        (("a1.out", "c1.out"), True, 1),
        ((), True, 3),
        ((), False, 0),
    ],
    ids=["all", "one-missing", "none", "cleaned-up"],
)
def test_a_task_without_its_required_output_is_not_done(
    names: tuple[str, ...], exists: bool, runs: int, tmp_path: Path
) -> None:
    with situation(REQUIRED, tmp_path) as found:
        assert found.observed.tasks is not None
        tasks = expand(found.spec, found.spec.stages[0], found.observed, windows=False)
        works = dict(zip("abc", (task.marks.work for task in tasks), strict=True))
        assert set(works.values()) == set(found.observed.tasks.works())
        blobs = tuple(Blob(name, 1, None, work=works[name[0]]) for name in names)
        facts = found.observed.containers["output"]
        facts = replace(facts, blobs=blobs) if exists else replace(facts, metadata=None)
        containers = {**found.observed.containers, "output": facts}
        plan = build_plan(found.spec, replace(found.observed, containers=containers))
    submitted = [step for step in plan.steps if isinstance(step.action, SubmitTasks)]
    assert sum(step.items for step in submitted) == runs
    assert [step.reason for step in submitted] == ([f"{runs} with missing outputs"] if runs else [])


def test_a_required_output_of_an_earlier_version_does_not_count(tmp_path: Path) -> None:
    with situation(REQUIRED, tmp_path) as found:
        blobs = tuple(Blob(f"{stem}1.out", 1, None, work="0" * 14) for stem in "abc")
        facts = replace(found.observed.containers["output"], blobs=blobs)
        containers = {**found.observed.containers, "output": facts}
        plan = build_plan(found.spec, replace(found.observed, containers=containers))
    assert sum(step.items for step in plan.steps if isinstance(step.action, SubmitTasks)) == 3


@pytest.mark.parametrize("downloaded", [True, False])
def test_a_result_that_was_deleted_after_its_download_is_not_missing(
    downloaded: bool, tmp_path: Path
) -> None:
    outputs = 'logs: false\n    outputs: [{files: "*.out", container: output}]'
    case = {
        "spec": SPEC.replace("logs: false", outputs),
        "containers": {"output": {"blobs": {}}},
        "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
    }
    with situation(case, tmp_path) as found:
        observed, (job,) = found.observed, found.observed.jobs
        assert observed.tasks is not None
        works = [int(work, 16) for work in observed.tasks.works()] if downloaded else []
        receipt = Receipt(receipt_name(job.id, job.created), 3, 0, works=works)
        plan = build_plan(found.spec, replace(observed, receipt=receipt))
    missing = [finding for finding in plan.findings if finding.code == OUTPUT_MISSING]
    assert len(missing) == (0 if downloaded else 1)


def test_only_tasks_whose_results_are_gone_run_again(tmp_path: Path) -> None:
    """Clean-up deleted the containers; one of the three results was then edited on the disk."""
    outputs = 'logs: false\n    outputs: [{files: "*.out", container: output}]'
    case = {
        "spec": SPEC.replace("logs: false", outputs),
        "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}],
    }
    with situation(case, tmp_path) as found:
        observed, (job,) = found.observed, found.observed.jobs
        assert observed.tasks is not None
        *works, gone = [int(work, 16) for work in observed.tasks.works()]
        edited = found.spec.path.parent / "results" / "c.out"
        receipt = Receipt(
            receipt_name(job.id, job.created),
            files=3,
            missing=1,
            lost=1,
            works=works,
            lost_works=[gone],
            edited=1,
            first_edited=(edited,),
        )
        plan = build_plan(found.spec, replace(observed, receipt=receipt))
    (submit,) = (step for step in plan.steps if isinstance(step.action, SubmitTasks))
    assert submit.items == 1
    (finding,) = (each for each in plan.findings if each.code == "result-edited")
    assert finding.summary == "1 result was edited after the download and will be replaced"
    assert finding.detail == "results/c.out"


@pytest.mark.parametrize("downloaded", [True, False])
def test_results_of_an_earlier_job_that_are_on_the_disk_are_not_verified(
    downloaded: bool, tmp_path: Path
) -> None:
    """An input changed after a run whose containers were deleted by clean-up."""
    outputs = 'logs: false\n    outputs: [{files: "*.out", container: output}]'
    case = {
        "spec": SPEC.replace("logs: false", outputs),
        "jobs": [{"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 2}}],
    }
    with situation(case, tmp_path) as found:
        observed, (job,) = found.observed, found.observed.jobs
        assert observed.tasks is not None
        works = [int(work, 16) for work in observed.tasks.works()]
        name = receipt_name(job.id, job.created)
        receipt = Receipt(name, 2, 0, works=works if downloaded else [])
        plan = build_plan(found.spec, replace(observed, receipt=receipt))
        (step,) = (step for step in plan.steps if isinstance(step.action, WaitForTasks))
        assert isinstance(step.action, WaitForTasks)
        assert step.action.outputs is not None
        assert len(list(step.action.outputs)) == (1 if downloaded else 3)


@pytest.mark.parametrize(
    ("case", "codes"),
    [
        ("outputs-missing", [OUTPUT_MISSING]),
        ("download-of-lost-outputs", ["outputs-lost"]),
        ("finished", []),
        ("work-changed-after-failures", []),
    ],
)
def test_missing_outputs_of_a_finished_run(case: str, codes: list[str], tmp_path: Path) -> None:
    path = Path(__file__).parent / "cases" / f"{case}.yaml"
    with situation(read_case(path), tmp_path) as found:
        missing = find_missing_outputs(found.spec, found.observed)
    assert [problem.code for problem in missing] == codes
