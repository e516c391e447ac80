"""Errors of tasks are found before a task is sent: with positions, and only the first few."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from batchspec.diagnostics import Diagnostic, Severity
from batchspec.plan import Task
from batchspec.plan.items import Item
from batchspec.plan.observed import Observed
from batchspec.plan.rules.tasks import check_tasks
from batchspec.plan.tasks import TaskFactory
from batchspec.spec import (
    BlobUrl,
    Command,
    EachBlob,
    EachFile,
    EachNumber,
    EachValue,
    Kind,
    NumberRange,
    Record,
    Rows,
    Shell,
    Stage,
    Template,
    Value,
)
from tests.plan.making import WHERE, blob, local_file, observed, spec, stage, template

TEN = EachNumber(NumberRange(0, 10))
SLOTS = Kind("required_slots", {"type": "integer"}, WHERE)


def errors_of(
    it: Stage, world: Observed | None = None, before: tuple[Stage, ...] = ()
) -> tuple[Diagnostic, ...]:
    return check_tasks(spec(*before, it), it, world or observed(), windows=False)


def codes(it: Stage, world: Observed | None = None, before: tuple[Stage, ...] = ()) -> list[str]:
    return [problem.code for problem in errors_of(it, world, before)]


def test_valid_tasks_have_no_errors() -> None:
    assert errors_of(stage("run {{ value }} {{ task.id }}", TEN)) == ()


def test_items_without_a_valid_task_are_reported_up_to_a_limit() -> None:
    found = errors_of(stage("run {{ 1 // value }}", EachNumber(NumberRange(-1, 2))))
    assert [(p.code, p.detail) for p in found] == [("template-value", "With index 1: '0'.")]
    (problem,) = errors_of(stage("run {{ gone }}", TEN))
    assert (problem.code, problem.detail) == (
        "template-value",
        "With index 0: '0', and 9 more items.",
    )


@pytest.mark.parametrize(
    ("source", "severity"),
    [
        (EachFile("input"), Severity.ERROR),
        (EachValue(()), Severity.ERROR),
        (EachNumber(NumberRange(1, 1)), Severity.ERROR),
        (EachBlob("there"), Severity.WARNING),
        (Rows(Path("rows.csv"), WHERE), Severity.WARNING),
    ],
)
def test_a_stage_without_items_is_reported(
    source: EachFile | EachValue | EachNumber | EachBlob | Rows, severity: Severity
) -> None:
    (problem,) = errors_of(stage("run", source), observed(rows={"count": ()}))
    code = "no-items" if severity is Severity.ERROR else "no-items-now"
    assert (problem.code, problem.severity) == (code, severity)


def test_two_items_with_equal_work_are_reported() -> None:
    (problem,) = errors_of(stage("run {{ value }}", EachValue(("a", "b", "a"))))
    assert problem.code == "same-work"
    assert "Indexes 0 and 2" in problem.detail
    assert "count-a-" in problem.summary


def test_ids_that_differ_by_case_are_the_same() -> None:
    it = stage("run", EachValue(("a", "A")), task_id="t-{{ value }}")
    (problem,) = errors_of(it)
    assert problem.code == "same-id"
    assert problem.where == template("t-{{ value }}").where
    assert "'t-A'" in problem.summary


def test_only_the_first_of_many_duplicates_are_reported() -> None:
    assert codes(stage("run", TEN, task_id="same")) == ["same-id"] * 5


def test_ids_of_another_stage_are_reported() -> None:
    first = stage("run", TEN, name="first", task_id="t-{{ value }}")
    second = stage("run", TEN, name="second", task_id="T-{{ value + 9 }}")
    assert codes(first, before=()) == []
    (problem,) = errors_of(second, before=(first,))
    assert problem.code == "same-id"
    assert problem.detail == "Index 9 of first and 0 of second."
    assert codes(stage("run", TEN, name="second"), before=(first,)) == []


def test_a_body_above_the_size_of_a_request_is_reported() -> None:
    files = [local_file(f"{n:05}-{'x' * 50}.txt") for n in range(3_000)]
    (problem,) = errors_of(stage("run", EachFile("input", group=3_000)), observed(files))
    assert problem.code == "task-too-large"
    assert codes(stage("run", EachFile("input", group=1_000)), observed(files)) == []


@pytest.mark.parametrize(
    ("windows", "length", "expected"),
    [
        (False, 131_000, []),
        (False, 131_072, ["command-too-long"]),
        (True, 8_000, []),
        (True, 8_192, ["command-too-long"]),
    ],
)
def test_a_command_too_long_for_the_shell_is_reported(
    windows: bool, length: int, expected: list[str]
) -> None:
    it = stage(f"run {{{{ 'x' * {length} }}}}")
    found = check_tasks(spec(it), it, observed(), windows=windows)
    assert [problem.code for problem in found] == expected


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/x", "..", "a/.."])
def test_a_file_outside_the_working_directory_is_reported(name: str) -> None:
    it = stage("run", EachBlob("there", group=1))
    assert codes(it, observed(blobs=[blob(name)])) == ["leaves-directory"]


def output(path: Value, pattern: str = "out.csv") -> Record:
    container = Record(containerUrl=BlobUrl("output", None, "cw"), path=path)
    return Record(
        outputFiles=(Record(filePattern=pattern, destination=Record(container=container)),)
    )


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (output("out.csv"), ["same-output"]),
        (output(template("{{ index // 2 }}.csv")), ["same-output"]),
        (output(template("{{ task.id }}/out.csv")), []),
        (output("all/", "*.csv"), []),
    ],
)
def test_two_tasks_that_write_one_blob_are_reported(body: Record, expected: list[str]) -> None:
    assert codes(stage("run {{ value }}", TEN, body=body)) == expected
    one = stage("run", body=body)
    assert codes(one) == []


@pytest.mark.parametrize(
    ("first", "second", "needs", "expected"),
    [
        ("out.csv", "out.csv", (), ["same-output"]),
        ("out.csv", "other.csv", (), []),
        ("out.csv", "out.csv", ("first",), []),
        ("{{ task.id }}/out.csv", "out.csv", (), []),
    ],
)
def test_two_stages_that_write_one_blob_are_reported(
    first: str, second: str, needs: tuple[str, ...], expected: list[str]
) -> None:
    """A stage that waits for the other may overwrite its outputs on purpose."""
    one = stage("run {{ value }}", TEN, name="first", body=output(template(first)))
    other = stage("run", name="second", body=output(template(second)), needs=needs)
    one = stage("run", name="first", body=output(template(first))) if first == "out.csv" else one
    assert codes(other, before=(one,)) == expected


def test_an_error_in_another_stage_is_reported_once() -> None:
    broken = stage("run {{ gone }}", TEN, name="first", body=output("out.csv"))
    assert codes(stage("run", body=output("out.csv")), before=(broken,)) == []


def test_only_outputs_of_another_stage_are_compared() -> None:
    """Tasks of another stage that overwrite each other are reported with that stage."""
    twice = stage("run {{ value }}", TEN, name="first", body=output("all.csv"))
    assert codes(stage("run", body=output("out.csv")), before=(twice,)) == []


@pytest.fixture
def created(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The indexes of the tasks that are created."""
    found: list[int] = []
    create = TaskFactory.task

    def task(factory: TaskFactory, index: int, item: Item) -> Task:
        found.append(index)
        return create(factory, index, item)

    monkeypatch.setattr(TaskFactory, "task", task)
    return found


def test_tasks_that_differ_only_in_commands_are_checked_without_being_created(
    created: list[int],
) -> None:
    assert errors_of(stage("run {{ value }} {{ containers.output.write_url }}", TEN)) == ()
    assert created == [0]


@pytest.mark.parametrize(
    "members",
    [
        {"id": template("t-{{ value }}")},
        {"id": template("t-{{ value }}"), "command": template("run {{ value }} {{ task.id }}")},
        {"body": Record(displayName=template("{{ value }}"))},
        {"body": Record(environmentSettings=(Record(name="A", value=template("{{ value }}")),))},
    ],
)
def test_tasks_that_differ_only_in_strings_are_checked_without_being_created(
    created: list[int], members: dict[str, Any]
) -> None:
    assert errors_of(stage_with(members)) == ()
    assert created == [0]


@pytest.mark.parametrize(
    "members",
    [
        {"command": template("run {{ value }} {{ task.id }}")},
        {"body": Record(resourceFiles=(Record(httpUrl="u", filePath=template("{{ value }}")),))},
        {"body": Record(requiredSlots=Template("{{ value }}", WHERE, SLOTS))},
    ],
)
def test_tasks_that_differ_in_more_are_created(created: list[int], members: dict[str, Any]) -> None:
    errors_of(stage_with(members))
    assert created == list(range(10))


def stage_with(members: dict[str, Any]) -> Stage:
    command = Command(Shell.DEFAULT, members.pop("command", template("run {{ value }}")))
    return replace(stage("run", TEN), command=command, **members)


def test_a_string_that_makes_a_task_too_large_is_found(created: list[int]) -> None:
    body = Record(environmentSettings=tuple(variable(name) for name in "AB"))
    values = ("a", "b" * 400_000, "c" * 499_000, "d" * 500_000, "é" * 90_000)
    found = errors_of(stage("run", EachValue(values), body=body))
    assert [problem.code for problem in found] == ["task-too-large", "task-too-large"]
    assert created == [0, 2, 3, 4]


def variable(name: str) -> Record:
    return Record(name=name, value=template("{{ value }}"))


def test_a_task_whose_command_may_be_wrong_is_created(created: list[int]) -> None:
    values = ("a", "b" * 131_071, "c", None, "d" * 7_000)
    found = errors_of(stage("run {{ value }}", EachValue(values)))
    assert [problem.code for problem in found] == ["command-too-long", "template-value"]
    assert created == [0, 1, 3]


def test_equal_work_with_other_words_is_not_the_same_task() -> None:
    rows = (Record(a="1", b="x"), Record(a="1", b="y"), Record(a="1", b="x"))
    assert codes(stage("run {{ value.a }}", EachValue(rows[:2]))) == []
    (problem,) = errors_of(stage("run {{ value.a }}", EachValue(rows)))
    assert (problem.code, problem.detail.partition(" have")[0]) == ("same-work", "Indexes 0 and 2")
