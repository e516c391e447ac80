"""Templates give tasks different numbers, durations and enum values."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.diagnostics import Diagnostic, SpecError
from batchspec.plan.observed import AccountNames, ContainerFacts, Observed
from batchspec.plan.rules.tasks import check_tasks
from batchspec.plan.tasks import expand
from batchspec.spec import Spec, dump_document, expanded_document, read_spec, thaw

FACTS = {key: ContainerFacts({}) for key in ("output", "logs")}
WORLD = Observed(AccountNames("local", "b", "s"), datetime(2026, 3, 1, tzinfo=UTC), FACTS)


def spec(
    folder: Path,
    stage: dict[str, Any],
    job: dict[str, Any] | None = None,
    parameters: dict[str, Any] | None = None,
) -> Spec:
    """A spec of one stage, ``each``."""
    document = {
        "version": 1,
        "name": "demo",
        "parameters": parameters or {},
        "containers": {"output": {}},
        "pool": {
            "vm_size": "standard_d2s_v5",
            "nodes": 1,
            "image": "ubuntu-24.04",
            **({} if "instances" in stage else {"task_slots_per_node": 4}),
            "enable_inter_node_communication": True,
        },
        "job": {"max_wall_clock_time": "1h", **(job or {})},
        "tasks": {"each": {"command": "run {{ index }}", "logs": False, **stage}},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    return read_spec(path)


def bodies(found: Spec) -> list[dict[str, Any]]:
    """The body of each task, with URLs without their signatures."""
    tasks = expand(found, found.stages[0], WORLD, windows=False)
    shown = [thaw(task.body, lambda text: text.shown) for task in tasks]
    return [body for body in shown if isinstance(body, dict)]


def errors_of(found: Spec) -> tuple[Diagnostic, ...]:
    return check_tasks(found, found.stages[0], WORLD, windows=False)


def each(*values: Any, **members: Any) -> dict[str, Any]:
    return {"for_each": {"list": list(values)}, **members}


@pytest.mark.parametrize(
    ("member", "values", "path", "expected"),
    [
        ({"slots": "{{ value }}"}, [1, 4], "requiredSlots", [1, 4]),
        ({"required_slots": "{{ value }}"}, ["2"], "requiredSlots", [2]),
        ({"retries": "{{ value }}"}, [0, -1], "constraints.maxTaskRetryCount", [0, -1]),
        (
            {"max_wall_clock_time": "{{ value }}h"},
            [1, 36],
            "constraints.maxWallClockTime",
            ["PT1H", "P1DT12H"],
        ),
        (
            {"constraints": {"retention_time": "{{ value }}"}},
            ["1h30m", "PT30M"],
            "constraints.retentionTime",
            ["PT1H30M", "PT30M"],
        ),
        (
            {"instances": "{{ value }}"},
            [2, 3],
            "multiInstanceSettings.numberOfInstances",
            [2, 3],
        ),
        (
            {"instances": {"count": "{{ value }}", "command": "echo {{ name }}"}},
            [2],
            "multiInstanceSettings",
            [
                {
                    "numberOfInstances": 2,
                    "coordinationCommandLine": "/bin/sh -c 'echo demo'",
                }
            ],
        ),
        (
            {"user_identity": {"auto_user": {"elevation_level": "{{ value }}"}}},
            ["admin"],
            "userIdentity.autoUser.elevationLevel",
            ["admin"],
        ),
        (
            {"elevated": "{{ value }}"},
            [True, False],
            "userIdentity.autoUser",
            [
                {"scope": "pool", "elevationLevel": "admin"},
                {"scope": "task", "elevationLevel": "nonadmin"},
            ],
        ),
        (
            {"outputs": [{"files": "a*", "container": "output", "when": "{{ value }}"}]},
            ["failure", "always"],
            "outputFiles.0.uploadOptions.uploadCondition",
            ["taskfailure", "taskcompletion"],
        ),
        (
            {
                "exit_conditions": {
                    "exit_codes": [
                        {"code": "{{ value }}", "exit_options": {"dependency_action": "block"}}
                    ]
                }
            },
            [3, -4],
            "exitConditions.exitCodes.0.code",
            [3, -4],
        ),
        (
            {"exit_codes": {3: "{{ value }}", "default": "block"}},
            ["satisfy", "block"],
            "exitConditions",
            [
                {
                    "exitCodes": [{"code": 3, "exitOptions": {"dependencyAction": action}}],
                    "default": {"dependencyAction": "block"},
                }
                for action in ("satisfy", "block")
            ],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_each_task_has_its_own_value(
    member: dict[str, Any], values: list[Any], path: str, expected: list[Any], tmp_path: Path
) -> None:
    found = spec(tmp_path, each(*values, **member))
    assert errors_of(found) == ()
    made: list[Any] = bodies(found)
    for step in path.split("."):
        made = [body[int(step)] if step.isdigit() else body[step] for body in made]
    assert made == expected


def test_exit_codes_act_on_the_job_if_it_allows_job_actions(tmp_path: Path) -> None:
    stage = each("terminate", "satisfy", exit_codes={"default": "{{ value }}"})
    found = spec(tmp_path, stage, {"on_task_failure": "terminate"})
    assert [body["exitConditions"]["default"] for body in bodies(found)] == [
        {"jobAction": "terminate"},
        {"jobAction": "none", "dependencyAction": "satisfy"},
    ]
    (problem,) = errors_of(spec(tmp_path, stage))
    assert problem.summary == "`default` must be `satisfy` or `block`, not the string `terminate`"
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, each("none", exit_codes={3: {"job_action": "{{ value }}"}}))
    assert [problem.code for problem in caught.value.problems] == ["no-job-action"]


def test_outputs_that_do_not_differ_are_expanded(tmp_path: Path) -> None:
    outputs = [
        {"files": "a*", "container": "output", "when": "{{ value }}"},
        {"files": "b*", "container": "output"},
    ]
    (body,) = bodies(spec(tmp_path, each("always", outputs=outputs)))
    assert {file["filePattern"]: file["uploadOptions"] for file in body["outputFiles"]} == {
        "a*": {"uploadCondition": "taskcompletion"},
        "b*": {"uploadCondition": "tasksuccess"},
    }


def test_the_output_of_config_creates_the_same_tasks(tmp_path: Path) -> None:
    stage = each(
        {"n": 2, "action": "satisfy", "root": True, "when": "failure"},
        {"n": 3, "action": "block", "root": False, "when": "success"},
        slots="{{ n }}",
        max_wall_clock_time="{{ n }}h",
        elevated="{{ root }}",
        instances="{{ n }}",
        exit_codes={3: "{{ action }}"},
        outputs=[{"files": "*", "container": "output", "when": "{{ when }}"}],
    )
    found = spec(tmp_path, stage)
    again = tmp_path / "again.yaml"
    again.write_text(dump_document(expanded_document(found.path), "yaml"), encoding="utf-8")
    assert bodies(read_spec(again)) == bodies(found)
    assert read_spec(again).digest == found.digest


@pytest.mark.parametrize(
    ("member", "value", "summary", "fix"),
    [
        ({"slots": "{{ value }}"}, "x", "`slots` must be an integer, not the string `x`", ""),
        ({"slots": "{{ value }}"}, "", "`slots` must be an integer, not an empty string", ""),
        (
            {"slots": "{{ value / 2 }}"},
            4,
            "`slots` must be an integer, not the string `2.0`",
            "Convert it with `| int`, or divide with `//`.",
        ),
        ({"slots": "{{ value }}"}, 0, "`slots` must be at least 1, not 0", ""),
        (
            {"constraints": {"max_task_retry_count": "{{ value }}"}},
            -2,
            "`max_task_retry_count` must be at least 0, or -1 for no limit, not -2",
            "Use a value within these bounds.",
        ),
        (
            {"max_wall_clock_time": "{{ value }}"},
            30,
            "`max_wall_clock_time` must be a duration, not the string `30`",
            "Write a unit: `30s`, `30m` or `30h`.",
        ),
        (
            {"elevated": "{{ value }}"},
            "yes",
            "`elevated` must be `true` or `false`, not the string `yes`",
            "Write `true`.",
        ),
        (
            {"user_identity": {"auto_user": {"elevation_level": "{{ value }}"}}},
            "Admin",
            "`elevation_level` must be `nonadmin` or `admin`, not the string `Admin`",
            "Did you mean `admin`?",
        ),
        (
            {"slots": "{{ containers.output.url if value else 1 }}"},
            1,
            "`slots` must be an integer, not `<url>`",
            "",
        ),
    ],
)
def test_invalid_values_are_reported_with_their_position(
    member: dict[str, Any], value: Any, summary: str, fix: str, tmp_path: Path
) -> None:
    found = spec(tmp_path, each(1, value, **member))
    problem = errors_of(found)[-1]
    assert (problem.summary, problem.fix) == (summary, fix)
    assert problem.where is not None
    line = found.path.read_text("utf-8").splitlines()[problem.where.line - 1]
    assert line[problem.where.column - 1 :] == line.partition(": ")[2]


def test_more_slots_than_a_node_has_are_reported(tmp_path: Path) -> None:
    found = spec(tmp_path, each(1, 8, id="each-{{ value }}", slots="{{ value }}"))
    (problem,) = errors_of(found)
    assert problem.summary == "task each-8 requires 8 slots, and a node has 4"
    assert problem.fix == "Add `task_slots_per_node: 8` to the pool."
    assert problem.where is not None
    assert problem.where.text[problem.where.column - 1 :] == "'{{ value }}'"


def test_the_error_names_the_item(tmp_path: Path) -> None:
    (problem,) = errors_of(spec(tmp_path, each(1, "two", slots="{{ value }}")))
    assert problem.detail == "With index 1: 'two'."


LITERALS = st.one_of(
    st.integers(-3, 4),  # a node has 4 slots, and another test checks larger numbers
    st.booleans(),
    st.sampled_from(["1", "0", "", "x", "2h", "30m", "1:30", "true", "none", "Admin", "admin"]),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), max_size=4).filter(
        lambda text: not text.isdecimal() or int(text) <= 4
    ),
)
PLACES: tuple[tuple[str, ...], ...] = (
    ("slots",),
    ("retries",),
    ("max_wall_clock_time",),
    ("constraints", "max_task_retry_count"),
    ("user_identity", "auto_user", "scope"),
)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(PLACES), LITERALS)
def test_a_value_of_a_task_is_parsed_like_a_parameter(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str, ...], value: object
) -> None:
    """The same value, once for all tasks and once for each: the same body, or the same problem."""
    folder = tmp_path_factory.getbasetemp()
    assert outcome(folder, place, value, "shared") == outcome(folder, place, value, "value")


def outcome(folder: Path, place: tuple[str, ...], value: object, name: str) -> object:
    member: Any = f"{{{{ {name} }}}}"
    for key in reversed(place):
        member = {key: member}
    stage = each(value, id="one-{{ index }}", **member)
    try:
        found = spec(folder, stage, parameters={"shared": {"default": value}})
        problems = errors_of(found)
    except SpecError as error:
        problems = error.problems
    return [(problem.code, problem.summary, problem.fix) for problem in problems] or bodies(found)
