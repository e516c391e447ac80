"""Parameters: values by type, from options and files, and secrets that stay secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from batchspec.diagnostics import Secret, SpecError, conceal
from batchspec.render import diagnostics_text
from batchspec.spec import (
    Record,
    Spec,
    Text,
    Value,
    ValueSources,
    dump_document,
    expanded_document,
    read_spec,
    thaw,
)

REST = (
    "pool: {existing: there}\njob: {max_wall_clock_time: 1h}\ntasks: {run: {command: echo hello}}\n"
)


def spec(
    tmp_path: Path, declared: str, rest: str = REST, files: tuple[str, ...] = (), **given: str
) -> Spec:
    path = tmp_path / "spec.yaml"
    path.write_text(f"version: 1\nname: demo\nparameters:\n  {declared}\n{rest}")
    paths = []
    for number, text in enumerate(files):
        paths.append(tmp_path / f"{number}.yaml")
        paths[-1].write_text(text)
    return read_spec(path, ValueSources(given, paths))


@pytest.mark.parametrize(
    ("declared", "given", "value"),
    [
        ("{type: integer}", "5", 5),
        ("{type: integer}", "-5", -5),
        ("{type: integer}", "1.0", None),
        ("{type: integer}", " 5", 5),
        ("{type: integer}", "true", None),
        ("{type: integer}", "", None),
        ("{type: number}", "2.5", 2.5),
        ("{type: number}", "2", 2),
        ("{type: number}", "NaN", None),
        ("{type: boolean}", "true", True),
        ("{type: boolean}", "True", None),
        ("{type: string}", "5", "5"),
        ("{type: string}", "", ""),
        ("{type: string}", "a=b", "a=b"),
        ("{type: array}", '[1, "a"]', (1, "a")),
        ("{type: object}", '{"a": {"b": 1}}', Record(a=Record(b=1))),
        ("{type: [integer, string]}", "5", 5),
        ("{type: [integer, string]}", "five", "five"),
        ("{default: 3}", "5", 5),
        ("{default: 3}", "x", None),
        ("{default: x}", "5", "5"),
        ("{default: false}", "true", True),
        ("{enum: [red, green]}", "red", "red"),
        ("{enum: [red, green]}", "blue", None),
        ("{}", "anything", "anything"),
        ("{type: integer, minimum: 1, maximum: 3}", "3", 3),
        ("{type: integer, minimum: 1, maximum: 3}", "4", None),
    ],
)
def test_options_are_parsed_by_the_declared_type(
    tmp_path: Path, declared: str, given: str, value: Value
) -> None:
    if value is None:
        with pytest.raises(SpecError) as caught:
            spec(tmp_path, f"p: {declared}", p=given)
        assert [p.code for p in caught.value.problems] == ["bad-variable"]
    else:
        assert spec(tmp_path, f"p: {declared}", p=given).parameters == {"p": value}


def test_precedence_of_options_and_files(tmp_path: Path) -> None:
    found = spec(
        tmp_path,
        "a: {default: 0}\n  b: {default: 0}\n  c: {default: 0}\n  d: {default: 0}",
        files=("a: 1\nb: 1\nc: 1\n", '{"b": 2, "c": 2}'),
        c="3",
    )
    assert found.parameters == {"a": 1, "b": 2, "c": 3, "d": 0}


def test_values_of_a_file_have_their_own_types(tmp_path: Path) -> None:
    found = spec(tmp_path, "p: {type: string}\n  q: {type: array}", files=("p: 010\nq: [1]\n",))
    assert found.parameters == {"p": "010", "q": (1,)}
    assert spec(tmp_path, "p: {type: string}", files=("p: 7\n",)).parameters == {"p": "7"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("p: [1", "unclosed"),
        ("- p", "wrong-type"),
        ("q: 1\np: x", "unknown-variable"),
        ("", "empty"),
    ],
)
def test_errors_of_files_are_reported_with_those_of_the_spec(
    tmp_path: Path, text: str, code: str
) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, "p: {type: string, default: x}", REST + "more: 1\n", files=(text,))
    codes = [problem.code for problem in caught.value.problems]
    assert code in codes
    assert "unknown-key" in codes


def test_an_error_in_a_file_has_its_position_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, "p: {type: integer}", files=("# first\np: many\n",))
    (problem,) = caught.value.problems
    assert problem.where is not None
    assert (Path(problem.where.file).name, problem.where.line) == ("0.yaml", 2)


def test_templates_use_parameters_by_type(tmp_path: Path) -> None:
    found = spec(
        tmp_path,
        "n: {type: integer, default: 3}\n  colours: {type: array, default: [red, green]}",
        "pool: {vm_size: s, image: ubuntu-24.04, nodes: '{{ n }}', task_slots_per_node:"
        " '{{ n + 1 }}'}\n"
        "job: {max_wall_clock_time: '{{ n }}h', on_task_failure:"
        " \"{{ 'terminate' if n else '' }}\"}\n"
        "tasks: {run: {command: echo, for_each: {list: '{{ colours }}'}, slots: '{{ n }}'}}\n"
        "cleanup: {pool: ask}\n",
    )
    assert found.pool.properties["targetDedicatedNodes"] == 3
    assert found.pool.properties["taskSlotsPerNode"] == 4
    assert found.job.limit.total_seconds() == 3 * 3600
    assert found.job.properties["onTaskFailure"] == "performexitoptionsjobaction"
    assert found.stages[0].body["requiredSlots"] == 3


SECRET = (
    "pool: {existing: there}\n"
    "job: {max_wall_clock_time: 1h, env: {TOKEN: '{{ token }}', BOTH: 'a {{ token }} b'}}\n"
    "tasks: {run: {command: 'echo {{ token }}'}}\n"
)
DECLARED = "token: {type: string, secret: true, minLength: 4}"


def test_a_secret_is_sent_and_never_shown(tmp_path: Path) -> None:
    found = spec(tmp_path, DECLARED, SECRET, token="hunter2")
    assert isinstance(found.parameters["token"], Secret)
    assert "hunter2" not in repr(found)
    settings = found.job.properties["commonEnvironmentSettings"]
    sent = thaw(settings, lambda text: text.resolve(lambda _: ""))
    assert sent == [
        {"name": "TOKEN", "value": "hunter2"},
        {"name": "BOTH", "value": "a hunter2 b"},
    ]
    assert "hunter2" not in str(thaw(settings, lambda text: text.shown))
    assert isinstance(settings, tuple)
    assert all(isinstance(s["value"], Text) for s in settings if isinstance(s, Record))
    shown = expanded_document(tmp_path / "spec.yaml", ValueSources({"token": "hunter2"}))
    assert "hunter2" not in dump_document(shown, "yaml")


def test_a_secret_is_not_part_of_the_digest(tmp_path: Path) -> None:
    one = spec(tmp_path, DECLARED, SECRET, token="hunter2")
    two = spec(tmp_path, DECLARED, SECRET, token="hunter3")
    assert one.digest == two.digest


def test_another_value_changes_the_digest(tmp_path: Path) -> None:
    digests = {spec(tmp_path, "p: {default: 1}", p=given).digest for given in ("1", "2")}
    assert len(digests) == 2


@pytest.mark.parametrize("files", [(), ("token: abc\n",)])
def test_an_error_in_a_secret_does_not_show_it(tmp_path: Path, files: tuple[str, ...]) -> None:
    given = {} if files else {"token": "abc"}
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, DECLARED, SECRET, files=files, **given)
    text = diagnostics_text(caught.value.problems)
    assert "at least 4 characters" in text
    assert "abc" not in text


def test_a_parameter_without_a_value_is_not_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        spec(tmp_path, "p: {type: integer}", REST.replace("echo hello", "'echo {{ p }}'"))
    assert [problem.code for problem in caught.value.problems] == ["missing-variable"]


def test_a_text_of_the_spec_that_was_a_secret_of_another_read_is_accepted(tmp_path: Path) -> None:
    rest = REST.replace("echo hello", "test correct-horse-9 = correct-horse-9")
    declared = "token: {type: string, secret: true}"
    conceal(Secret("correct-horse-9"))
    assert spec(tmp_path, declared, rest, token="anything").name == "demo"
