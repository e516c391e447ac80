"""Numbers, durations and times of any size: a value or an error with a position, never a crash."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchspec.diagnostics import SpecError
from batchspec.spec import Record, duration, evaluate, iso, read_spec
from batchspec.spec.convert import LONGEST, is_too_long, moment
from batchspec.spec.parameter_values import declaration_mismatch, value_mismatch
from tests.spec.test_template import template

DOTNET = "P10675199DT2H48M5.4775807S"
"""The longest duration of .NET, which the service shows for a task or job without limit."""


@given(st.integers(0, LONGEST // timedelta(microseconds=1)))
@example(LONGEST // timedelta(microseconds=1))
def test_a_duration_is_read_as_it_is_written(microseconds: int) -> None:
    length = timedelta(microseconds=microseconds)
    assert duration(iso(length)) == length


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DOTNET, LONGEST),
        ("5.4775807s", timedelta(seconds=5, microseconds=477_580)),
        ("PT0.0000001S", timedelta()),
        ("P10675199DT2H48M5.5S", None),
        ("9" * 25 + "d", None),
        ("9" * 5000 + "d", None),
        ("PT1" + "0" * 5000 + "S", None),
    ],
)
def test_durations_of_any_length(text: str, expected: timedelta | None) -> None:
    assert duration(text) == expected
    assert is_too_long(text) == (expected is None)


def test_the_longest_duration_is_sent_as_the_service_writes_it() -> None:
    assert iso(LONGEST) == DOTNET


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
def test_a_time_outside_the_calendar_is_not_a_time(text: str) -> None:
    assert moment(text) is None


def test_a_task_can_have_the_longest_limit(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: demo\npool: {existing: p}\njob: {max_wall_clock_time: 1h}\n"
        f"tasks: {{run: {{command: hostname, max_wall_clock_time: {DOTNET}}}}}\n"
    )
    (stage,) = read_spec(path).stages
    assert stage.body["constraints"] == Record(maxWallClockTime=DOTNET)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("'7' | int", "7"),
        ("'7.9' | int", "7"),
        ("'ff' | int(base=16)", "255"),
        ("'7.5' | float", "7.5"),
        ("'x' | int(3)", "3"),
        ("'x' | int(default=3)", "3"),
        ("'x' | float(2)", "2"),
        ("'nan' | float(2)", "2"),
        ("none | int(0)", "0"),
        ("true | int", "1"),
    ],
)
def test_a_text_becomes_a_number(expression: str, expected: str) -> None:
    assert evaluate(template(f"{{{{ {expression} }}}}"), {}) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "'x' | int",
        "'' | int",
        "'1e999' | int",
        "none | int",
        "[1] | int",
        "'x' | float",
        "'inf' | float",
        "'nan' | float",
        "'1e999' | float",
        "('9' * 5000) | int",
    ],
)
def test_a_text_that_is_not_a_number_is_an_error(expression: str) -> None:
    with pytest.raises(SpecError, match=r"is not (an integer|a number)") as caught:
        evaluate(template(f"{{{{ {expression} }}}}"), {})
    (problem,) = caught.value.problems
    assert (problem.code, problem.where is None) == ("template-value", False)
    assert problem.fix.startswith("Give a default: `|")


@pytest.mark.parametrize(
    ("schema", "valid", "invalid"),
    [
        ({"multipleOf": 0.01}, [4.35, 0.07, 1, 1e300, -2.5], [4.355, 1e-9]),
        ({"multipleOf": 0.1}, [0.3, 1.1], [0.35]),
        ({"pattern": "^a$"}, ["a"], ["a\n", "ba"]),
        ({"pattern": "a"}, ["bab"], ["b"]),
        ({"pattern": r"^\d+$"}, ["12"], ["\u0663", "1\n"]),
        ({"pattern": r"^\w$"}, ["a", "_"], ["é", "\u0661"]),
        ({"pattern": r"^\s$"}, [" ", "\ufeff", "\u2028"], ["\x1c"]),
        ({"pattern": "^.$"}, ["a", "😀"], ["\r", "\u2028", "\n"]),
        ({"pattern": r"^\cA\u0042\/\-$"}, ["\x01B/-"], ["AB/-"]),
        ({"pattern": r"^\p{Lu}+$"}, ["ÀB"], ["a"]),
        ({"pattern": "^(?=a)(?!ab)..$"}, ["ac"], ["ab", "bc"]),
        ({"items": {"pattern": "x$"}}, [["x"]], [["x\n"]]),
        ({"patternProperties": {"^\\d$": {"type": "string"}}}, [{"\u0663": 1}], [{"3": 1}]),
        ({"type": "integer"}, [2**70, 1.0], [1.5, True]),
    ],
)
def test_keywords_have_the_meaning_of_json_schema(
    schema: dict[str, object], valid: list[object], invalid: list[object]
) -> None:
    assert declaration_mismatch(schema) is None
    assert [value for value in valid if value_mismatch(schema, value) is not None] == []
    assert [value for value in invalid if value_mismatch(schema, value) is None] == []


@pytest.mark.parametrize("pattern", ["[", r"\Z", r"\A", "(?i)a", "a{2,1}", "(?P<n>a)"])
def test_a_pattern_that_is_not_of_ecmascript_is_refused(pattern: str) -> None:
    found = declaration_mismatch({"pattern": pattern})
    assert found is not None
    assert (found.expected, found.path) == ("must be a regular expression", ("pattern",))


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*$", "^(?:a{1,50}){1,50}$"])
def test_the_time_of_a_match_is_bounded(pattern: str) -> None:
    """A backtracking engine needs more than the age of the universe."""
    assert value_mismatch({"pattern": pattern}, "a" * 5000 + "b") is not None


def test_a_pattern_that_needs_too_many_steps_is_an_error() -> None:
    found = value_mismatch({"pattern": r"^(a|a)*\1$"}, "a" * 60 + "b")
    assert found is not None
    assert found.expected.startswith("cannot be compared with `pattern`")


@pytest.mark.parametrize("reference", ["#/nothing", "http://127.0.0.1:9/x", "file:///etc/hosts"])
def test_a_reference_to_nothing_is_an_error_and_is_not_fetched(reference: str) -> None:
    found = declaration_mismatch({"$ref": reference})
    assert found is not None
    assert found.expected.startswith("must refer to a part of itself")
