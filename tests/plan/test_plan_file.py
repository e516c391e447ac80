"""A saved plan is valid for one situation. In another, changes are reported with both values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from batchspec.diagnostics import Diagnostic, SpecError, StalePlanError
from batchspec.plan import (
    NO_OPTIONS,
    Part,
    PlanOptions,
    SavedPlan,
    build_plan,
    check_fresh,
    plan_file_text,
    read_plan_file,
    saved_plan,
)
from batchspec.plan.assemble import SINGLY
from tests.plan.situation import SPEC, situation

Case = Mapping[str, Any]

UPLOADED = {"application": {"as_uploaded": True}, "input": {"as_uploaded": True}, "output": {}}
THERE: Case = {"containers": UPLOADED, "pool": {}, "jobs": [{"id": "demo"}]}
ROWS = SPEC.replace("for_each: {files: input}", "for_each: {rows: rows.csv}").replace(
    "{{ file.name }}", "{{ name }}"
)


def kept(case: Case, folder: Path, options: PlanOptions = NO_OPTIONS) -> SavedPlan:
    """The plan of a situation, written to a file and read."""
    folder.mkdir(exist_ok=True)
    with situation(case, folder) as found:
        plan = build_plan(found.spec, found.observed, options=options)
        text = plan_file_text(saved_plan(plan, found.spec, {}, (), options))
    path = folder / "plan.json"
    path.write_text(text, encoding="utf-8")
    again = read_plan_file(path)
    assert again is not None
    assert plan_file_text(again) == text
    return again


def findings_after(before: Case, after: Case, folder: Path) -> tuple[Diagnostic, ...]:
    """The findings about a saved plan in another situation; none if it is still valid."""
    plan = kept(before, folder / "one")
    (folder / "two").mkdir()
    with situation(after, folder / "two") as found:
        try:
            check_fresh(plan, build_plan(found.spec, found.observed))
        except StalePlanError as error:
            return error.problems
    return ()


def case(**changes: object) -> Case:
    """The usual situation with changes."""
    return {**THERE, **changes}


def task(*states: str | None) -> Case:
    return case(jobs=[{"id": "demo", "tasks": {"count": list(states)}}])


def pool(**properties: object) -> Case:
    return case(pool={"set": properties})


def job(**properties: object) -> Case:
    return case(jobs=[{"id": "demo", "set": properties}])


def rows(text: str) -> Case:
    return case(spec=ROWS, files={"rows.csv": text}, jobs=[])


ENV = [{"name": "COLOUR", "value": "red"}]

CHANGES: Mapping[str, tuple[Case, Case, str, str]] = {
    "a file": (
        THERE,
        case(files={"data/a.txt": "other\n"}),
        "the files for input",
        "3 files, 9 bytes -> 3 files, 13 bytes\na.txt: 2 bytes -> 6 bytes",
    ),
    "a file of the same size": (
        THERE,
        case(files={"data/a.txt": "b\n"}),
        "the files for input",
        "a.txt: changed",
    ),
    "a new file": (
        THERE,
        case(files={"data/d.txt": "d\n"}),
        "the files for input",
        "3 files, 9 bytes -> 4 files, 11 bytes\nd.txt: absent -> 2 bytes",
    ),
    "a blob": (
        THERE,
        case(containers={**UPLOADED, "input": {"as_uploaded": True, "blobs": {"x": "1"}}}),
        "the blobs of input",
        "x: absent -> 1 byte",
    ),
    "a container": (
        THERE,
        case(containers={**UPLOADED, "output": {"by": "someone"}}),
        "container output",
        "metadata.batchspec_spec: demo -> someone",
    ),
    "a row": (
        rows("name\na\nb\n"),
        rows("name\na\nc\n"),
        "the rows of rows.csv (stage count)",
        "",
    ),
    "more rows": (
        rows("name\na\n"),
        rows("name\na\nc\n"),
        "the rows of rows.csv (stage count)",
        "1 row -> 2 rows",
    ),
    "the spec": (
        THERE,
        case(change={"nodes: 2": "nodes: 3"}),
        "the spec",
        "",
    ),
    "a parameter": (
        case(change={"name: demo\n": "name: demo\nparameters: {top: {default: 2}}\n"}),
        case(change={"name: demo\n": "name: demo\nparameters: {top: {default: 3}}\n"}),
        "parameter top",
        "2 -> 3",
    ),
    "a pool that is gone": (THERE, case(pool={"state": "deleting"}), "pool demo", "active"),
    "the size of a pool": (
        THERE,
        pool(targetDedicatedNodes=5),
        "pool demo",
        "targetDedicatedNodes: 2 -> 5",
    ),
    "a property of a pool": (
        THERE,
        pool(vmSize="standard_d4s_v5"),
        "pool demo",
        "vmSize: standard_d2s_v5 -> standard_d4s_v5",
    ),
    "a property in a property": (
        THERE,
        pool(**{"startTask.maxTaskRetryCount": 3}),
        "pool demo",
        "startTask.maxTaskRetryCount: absent -> 3",
    ),
    "a pool created again": (
        pool(creationTime="2026-03-01T10:00:00Z"),
        pool(creationTime="2026-03-01T11:00:00Z"),
        "pool demo",
        "creationTime: 2026-03-01T10:00:00Z -> 2026-03-01T11:00:00Z",
    ),
    "a setting that a pool got": (
        THERE,
        pool(**{"startTask.environmentSettings": ENV}),
        "pool demo",
        "startTask.environmentSettings: absent -> set",
    ),
    "a property of a job": (
        THERE,
        job(priority=7),
        "job demo",
        "priority: absent -> 7",
    ),
    "a job that has ended": (
        THERE,
        case(jobs=[{"id": "demo", "state": "completed"}]),
        "job demo",
        "active -> completed",
    ),
    "another job": (
        THERE,
        case(jobs=[{"id": "demo", "state": "completed"}, {"id": "demo-r2"}]),
        "the jobs of demo",
        "demo -> demo, demo-r2",
    ),
    "a task": (
        task("done", None, None),
        task("done", "active", None),
        "the tasks of demo",
        "1 task -> 2 tasks",
    ),
    "a task that failed": (
        task("done", "running", None),
        task("done", "failed", None),
        "the tasks of demo",
        "there in demo -> failed in demo",
    ),
    "results": (
        case(receipt={"job": "demo", "files": 3, "missing": 0}),
        case(receipt={"job": "demo", "files": 3, "missing": 1}),
        "the results on this disk",
        ", 0 gone or changed -> 3 of job demo of ",
    ),
    "the account": (
        THERE,
        case(target="azure"),
        "the account",
        "local: batch, storage -> azure: batch, storage",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_reported_with_both_values(name: str, tmp_path: Path) -> None:
    before, after, what, detail = CHANGES[name]
    problems = {problem.summary: problem for problem in findings_after(before, after, tmp_path)}
    summary = f"the plan is stale: {what} changed since the plan was saved"
    assert summary in problems, list(problems)
    assert detail in problems[summary].detail
    assert all(problem.code == "plan-stale" for problem in problems.values())


SCALES = {"nodes: 2": "nodes: {scale: {max: 4, idle: 10m}}"}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (THERE, THERE),
        (task("running", "active", None), task("running", "running", None)),
        (
            case(change=SCALES, pool={"set": {"targetDedicatedNodes": 1}}),
            case(change=SCALES, pool={"set": {"targetDedicatedNodes": 3}}),
        ),
        (pool(lastModified="2026-03-01T10:00:00Z"), pool(lastModified="2026-03-01T11:00:00Z")),
        (
            pool(**{"startTask.resourceFiles": [{"httpUrl": "http://s/a?se=1&sig=one"}]}),
            pool(**{"startTask.resourceFiles": [{"httpUrl": "http://s/a?se=2&sig=two"}]}),
        ),
        (
            pool(**{"startTask.environmentSettings": ENV}),
            pool(**{"startTask.environmentSettings": [{"name": "COLOUR", "value": "blue"}]}),
        ),
    ],
    ids=[
        "nothing",
        "tasks that start",
        "a pool that scales itself",
        "a stamp",
        "a signature",
        "what may be secret",
    ],
)
def test_progress_and_secrets_do_not_make_a_plan_stale(
    before: Case, after: Case, tmp_path: Path
) -> None:
    assert findings_after(before, after, tmp_path) == ()


def test_a_fact_on_one_side_only_is_reported_without_its_parts(tmp_path: Path) -> None:
    without = {name: value for name, value in THERE.items() if name != "pool"}
    (problem, *_) = findings_after(without, THERE, tmp_path)
    assert problem.detail == "absent -> active"


def test_options_are_kept(tmp_path: Path) -> None:
    for number, options in enumerate(
        (
            NO_OPTIONS,
            PlanOptions(replace=frozenset({Part.JOB, Part.POOL})),
            PlanOptions(rerun=True, replace=frozenset({Part.JOB})),
            PlanOptions(step="tasks:count"),
        )
    ):
        assert kept(THERE, tmp_path / str(number), options).options == options


def test_the_size_of_a_plan_does_not_grow_with_its_files(tmp_path: Path) -> None:
    few, many = ({f"data/{n:04}": "x" for n in range(count)} for count in (SINGLY - 3, 2 * SINGLY))
    lengths = []
    for number, files in enumerate((few, many)):
        change = {"data/*.txt": "data/*"}
        lengths.append(
            len(plan_file_text(kept({"change": change, "files": files}, tmp_path / str(number))))
        )
    assert lengths[1] < lengths[0] < 100 * SINGLY


def test_one_changed_file_of_many_makes_the_plan_stale(tmp_path: Path) -> None:
    files = {f"data/{n:04}": "x" for n in range(SINGLY + 1)}
    change = {"data/*.txt": "data/*"}
    one: Case = {"change": change, "files": files}
    other: Case = {"change": change, "files": {**files, "data/0007": "y"}}
    assert any("the files for input" in p.summary for p in findings_after(one, other, tmp_path))


def test_no_value_of_a_setting_and_no_signature_is_in_the_file(tmp_path: Path) -> None:
    properties = {
        "startTask.environmentSettings": ENV,
        "startTask.resourceFiles": [{"httpUrl": "http://s/a?sv=1&sig=TheSignature%3D"}],
        "startTask.commandLine": "curl http://s/a?sv=1&sig=TheSignature%3D",
    }
    plan = kept(pool(**properties), tmp_path)
    text = plan_file_text(plan)
    assert "TheSignature" not in text
    assert "red" not in dict(plan.snapshot["pool demo"].parts).values()


@pytest.mark.parametrize(
    ("old", "new"),
    [('"version": 3', '"version": 1'), ('"options"', '"others"')],
)
def test_a_file_of_another_format_is_refused(old: str, new: str, tmp_path: Path) -> None:
    kept(THERE, tmp_path)
    path = tmp_path / "plan.json"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(SpecError, match="cannot read"):
        read_plan_file(path)


def test_changed_steps_are_reported_once(tmp_path: Path) -> None:
    after = case(jobs=[{"id": "demo", "state": "completed"}])
    *snapshot, steps = findings_after(THERE, after, tmp_path)
    assert [problem.fix for problem in snapshot] == [""] * len(snapshot)
    assert steps.summary == "the plan is stale: its steps have changed"
    assert "  saved: not in the plan\n  now:   create job demo-r2" in steps.detail


def test_steps_with_equal_texts_and_other_content_are_stale(tmp_path: Path) -> None:
    *_, steps = findings_after(THERE, case(files={"data/a.txt": "b\n"}), tmp_path)
    assert steps.summary == "the plan is stale: its steps would have different effects"


def test_a_plan_that_was_applied_is_stale(tmp_path: Path) -> None:
    done = {"id": "demo", "state": "completed", "tasks": {"count": ["done"] * 3}}
    after = {"jobs": [done], "receipt": {"job": "demo", "files": 3, "missing": 0}}
    *_, steps = findings_after(THERE, after, tmp_path)
    assert steps.summary == "the plan is stale: its steps are no longer needed"
    assert steps.fix == "Everything is up to date: no steps are left."
