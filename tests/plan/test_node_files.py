"""Files with the same path on a node are reported unless their content is the same."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import pytest

from batchspec.diagnostics import Diagnostic
from batchspec.plan.observed import Blob, LocalFile, Observed
from batchspec.plan.rules.files import item_not_there, same_file
from batchspec.plan.rules.rule import RuleContext
from batchspec.spec import BlobUrl, EachFile, Record, Stage, Value
from tests.plan.making import blob, local_file, observed, spec, stage, template


def findings(
    it: Stage,
    files: Iterable[LocalFile] = (),
    blobs: Iterable[Blob] = (),
    *,
    windows: bool = False,
) -> list[Diagnostic]:
    world: Observed = observed(files, blobs=blobs)
    whole = spec(it, start=())
    whole = replace(whole, pool=replace(whole.pool, windows=windows))
    return [
        *same_file(RuleContext(whole, world, Record())),
        *item_not_there(RuleContext(whole, world, Record())),
    ]


def own(path: str, url: Value = "https://example.org/x") -> Record:
    return Record(resourceFiles=(Record(httpUrl=url, filePath=path),))


def test_two_containers_with_files_of_the_same_name() -> None:
    it = stage("run", resources=("input", "there"))
    (problem,) = findings(it, [local_file("a"), local_file("b")], [blob("b"), blob("c")])
    assert problem.code == "same-file"
    assert "'b'" in problem.summary
    assert problem.detail == "Sources: input/b and there/b."


def test_files_with_the_same_content_do_not_conflict() -> None:
    it = stage("run", resources=("input", "there"))
    assert findings(it, [local_file("a", "x")], [blob("a", "x")]) == []
    (problem,) = findings(it, [local_file("a", "x"), local_file("b")], [blob("a", "x"), blob("b")])
    assert "'b'" in problem.summary


def test_a_container_named_twice_counts_once() -> None:
    assert findings(stage("run", resources=("input", "input")), [local_file("a")]) == []


@pytest.mark.parametrize(
    ("path", "windows", "count"),
    [
        ("d/a.txt", False, 1),
        ("./d//a.txt", False, 1),
        ("D/A.TXT", False, 0),
        ("D/A.TXT", True, 1),
        ("d\\a.txt", False, 0),
        ("d\\a.txt", True, 1),
        ("a.txt", False, 0),
    ],
)
def test_paths_are_normalized(path: str, windows: bool, count: int) -> None:
    it = stage("run", resources=("input",), body=own(path))
    assert len(findings(it, [local_file("d/a.txt")], windows=windows)) == count


def test_a_file_that_differs_between_tasks_is_checked_with_its_task() -> None:
    it = stage("run", resources=("input",), body=own("a", template("{{ value }}")))
    assert [problem.code for problem in findings(it, [local_file("a")])] == ["same-file"]
    unnamed = Record(resourceFiles=(Record(httpUrl="https://x", filePath=template("{{ value }}")),))
    assert findings(stage("run", resources=("input",), body=unnamed), [local_file("a")]) == []


@pytest.mark.parametrize(
    ("command", "resources", "body", "count"),
    [
        ("run {{ file.name }}", ("app",), Record(), 1),
        ("run {{ file }}", ("app",), Record(), 1),
        ("run {{ file.stem }} {{ file.url }}", ("app",), Record(), 0),
        ("run {{ containers.input.read_url }} {{ file }}", ("app",), Record(), 0),
        ("run {{ file }}", ("app", "input"), Record(), 0),
        ("run {{ file }}", None, Record(), 0),
        ("run {{ index }} file", ("app",), Record(), 0),
        ("run {{ file }}", ("app",), own("x", template("{{ file.url }}")), 0),
        ("run {{ file }}", ("app",), own("x", BlobUrl("input", "x", "r")), 1),
    ],
)
def test_a_command_names_a_file_that_is_not_on_the_node(
    command: str, resources: tuple[str, ...] | None, body: Record, count: int
) -> None:
    it = stage(command, EachFile("input"), resources=resources, body=body)
    found = findings(it, [local_file("a")])
    assert [problem.code for problem in found] == ["item-not-there"] * count
