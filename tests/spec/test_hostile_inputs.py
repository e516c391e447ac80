"""Hostile inputs end with a diagnostic, within bounds of time and memory."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from batchspec.api import loading
from batchspec.diagnostics import Place, SpecError
from batchspec.observe import scan
from batchspec.plan.rules import checks
from batchspec.render import diagnostics
from batchspec.spec import Target, Template, evaluate, read_rows, read_spec, yaml_parser
from batchspec.spec.rows import LONGEST_LINE
from batchspec.spec.template import sandbox
from tests.spec.hostile_inputs import case, written
from tools.input_fuzz import command, run


def code_of(path: Path) -> str:
    with pytest.raises(SpecError) as raised:
        read_spec(path, needs_secrets=False)
    problem, *_ = raised.value.problems
    return problem.code


def expression(folder: Path, text: str) -> str:
    path = written(folder, description=f'"{{{{ {text} }}}}"')
    with pytest.raises(SpecError) as raised:
        read_spec(path, needs_secrets=False)
    problem, *_ = raised.value.problems
    assert problem.where is not None
    assert problem.where.line == 3
    return problem.summary


def test_a_sample_of_inputs() -> None:
    tally = run(range(10), 1)
    assert tally.failures == []
    assert tally.outcomes.total() == 10


def test_inputs_are_repeatable(tmp_path: Path) -> None:
    for number in range(20):
        for name in ("a", "b"):
            (tmp_path / f"{name}{number}").mkdir()
        first, again = (case(number, 3, tmp_path / f"{name}{number}") for name in "ab")
        if first.spec.is_file():
            assert first.spec.read_bytes() == again.spec.read_bytes()


def fails(_: int, __: int, ___: Path) -> str:
    raise ZeroDivisionError


def ends(_: int, __: int, ___: Path) -> str:
    os._exit(3)


def grows(_: int, __: int, ___: Path) -> str:
    return str(len(bytearray(2 << 30)))


@pytest.mark.parametrize(
    ("checks", "reason"),
    [(fails, "ZeroDivisionError"), (ends, "the process ended"), (grows, "1024 MB")],
)
def test_failures_are_found(checks: object, reason: str) -> None:
    (found, *_) = run(range(2), 1, checks=checks).failures  # type: ignore[arg-type]
    assert reason in found[1]


def test_numbers_of_thousands_of_digits(tmp_path: Path) -> None:
    assert "too many digits" in expression(tmp_path, "9" * 5000)


@pytest.mark.parametrize(
    "text", ["top" + " | string" * 500, "(" * 300 + "1" + ")" * 300, "-" * 3000 + "1"]
)
def test_deep_expressions(text: str, tmp_path: Path) -> None:
    assert "nested too deeply" in expression(tmp_path, text)


def test_long_expressions(tmp_path: Path) -> None:
    assert "10,000 characters" in expression(tmp_path, " + ".join(["1"] * 5000))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", "division by zero"),
        ("-'a'", "bad operand type"),
        ("5 | dictsort", "no attribute"),
        ("[1] | map('dictsort') | raw", "no attribute"),
        ("'abc' | truncate(1)", "expected length"),
        ("1 | round(10000000, 'floor')", "at most 300"),
        ("[1][5]", "out of range"),
        ("10**1000 * 10**1000 * 10**1000 * 10**1000 * 10**1000", "a number is too large"),
        ("[10**1000 * 10**1000 * 10**1000 * 10**1000 * 10**1000] | tojson", "too large"),
        ("(1e308 / 1e-10) | tojson", "a number is too large"),
        ("9e999", "a number is too large"),
        ("-9e999 | abs", "a number is too large"),
        ("'a'.upper", "not a method"),
    ],
)
def test_errors_in_expressions_have_their_position(text: str, reason: str, tmp_path: Path) -> None:
    assert reason in expression(tmp_path, text)


def test_half_of_a_character_in_a_url() -> None:
    template = Template("http://a/{{ value }}", Place("f", 1, 1), target=Target.URL)
    with pytest.raises(SpecError, match="not valid Unicode"):
        evaluate(template, {"value": "a\ud800"})


def test_an_internal_error_is_not_an_error_of_an_expression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise NotImplementedError

    monkeypatch.setitem(sandbox().filters, "upper", broken)
    path = written(tmp_path, description='"{{ words | upper }}"')
    with pytest.raises(NotImplementedError):
        read_spec(path, needs_secrets=False)


def test_the_time_to_insert_into_json_is_linear() -> None:
    # With a search of all text before each value, this takes minutes.
    template = Template('["' + '{{ value }}", "' * 20_000 + '"]', Place("f", 1, 1))
    assert str(evaluate(template, {"value": 1})).count("1") == 20_000


def test_json_that_is_nested_too_deeply_is_plain_text() -> None:
    for source, value in (("[" * 100_000 + "{{ value }}", 1), ("[{{ value }}]", "[" * 100_000)):
        assert str(evaluate(Template(source, Place("f", 1, 1)), {"value": value})).startswith("[")


def test_pipes_and_devices_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "spec.yaml")
    assert code_of(tmp_path / "spec.yaml") == "not-a-file"
    (tmp_path / "rows.csv").symlink_to("/dev/zero")
    with pytest.raises(SpecError, match="not a regular file"):
        read_rows(tmp_path / "rows.csv")
    # `batchspec apply FILE` looks for a saved plan first.
    assert command("apply", str(tmp_path / "spec.yaml"))[0] == 2


def test_a_pipe_of_the_shell_is_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    ours, theirs = os.pipe()
    text = path.read_bytes()
    writer = threading.Thread(target=lambda: (os.write(theirs, text), os.close(theirs)))
    writer.start()
    assert read_spec(Path(f"/dev/fd/{ours}"), needs_secrets=False).name == "demo"
    writer.join()
    os.close(ours)


@pytest.mark.parametrize("name", ["a\0b.csv", "x" * 300 + ".csv"])
def test_impossible_names_of_rows(name: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError):
        read_rows(tmp_path / name)


def test_lines_of_rows_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": "' + "x" * LONGEST_LINE + '"}\n', "utf-8")
    with pytest.raises(SpecError, match="more than 1,000,000 bytes"):
        list(read_rows(path))


def test_values_of_a_file_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_parser, "MOST_VALUES", 1000)
    values = ", ".join(["1"] * 1000)
    assert code_of(written(tmp_path, for_each=f"{{list: [{values}]}}")) == "too-large"


def test_a_matrix_with_excludes_is_bounded(tmp_path: Path) -> None:
    each = "{matrix: {a: {range: [0, 2000]}, b: {range: [0, 2000]}}, exclude: [{a: 1}]}"
    assert code_of(written(tmp_path, for_each=each)) == "out-of-range"


def test_a_part_of_many_tasks_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "MOST_ITEMS", 100)
    path = written(tmp_path, for_each="{range: [0, 10000000]}")
    code, text = command("validate", str(path))
    assert code == 0
    assert "only the first 100 of 10,000,000 tasks of work are checked [tasks-not-checked]" in text
    path = written(tmp_path, for_each="{range: [0, 100]}")
    assert "not-checked" not in command("validate", str(path))[1]


@pytest.mark.parametrize(
    "each",
    [
        "{range: [0, 10000001]}",
        "{range: [1e-400, 1e308, 1e300]}",
        "{matrix: {a: {range: [0, 10000]}, b: {range: [0, 1001]}}}",
    ],
)
def test_the_tasks_of_a_stage_are_bounded(each: str, tmp_path: Path) -> None:
    assert code_of(written(tmp_path, for_each=each)) == "out-of-range"


def test_many_problems_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    stages = "".join(f"  s{number}: {{x: 1}}\n" for number in range(300))
    path.write_text(path.read_text("utf-8").replace("results:", stages + "results:"), "utf-8")
    code, text = command("validate", str(path))
    assert code == 2
    assert "more are not shown" in text.splitlines()[-1]
    assert len(text) < 50_000
    monkeypatch.setattr(diagnostics, "MOST_IN_JSON", 50)
    code, text = command("validate", "--format", "json", str(path))
    found = json.loads(text)
    assert code == 2
    assert (len(found["problems"]), found["more"] > 200) == (50, True)


def test_the_files_of_a_spec_with_errors_are_listed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = []

    def counted(*args: Any, **kwargs: Any) -> None:
        listed.append(1)
        scan(*args, **kwargs)

    monkeypatch.setattr(loading, "scan", counted)
    code, text = command("validate", str(written(tmp_path, limit="nope", match="[]")))
    assert (code, len(listed)) == (2, 1), text
