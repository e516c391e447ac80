"""Values that readers of YAML interpret differently are printed unambiguously."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchspec.diagnostics import SpecError
from batchspec.spec import dump_document, expanded_document, read_spec

PLAIN = [
    *("1e-3", "1E5", "12e03", "1.5e+10", ".5", "1.", "+1", "-0", "0755", "0o17", "0x1F", "0b11"),
    *("1_000", "190:20:30", "1:30", ".inf", "-.Inf", ".nan", "2026-01-31", "2026-01-31T02:00:00Z"),
    *("yes", "no", "on", "off", "y", "n", "Yes", "NO", "true", "True", "TRUE", "false", "null"),
    *("Null", "~", "1e400", "123456789" * 5, "4.35", "1e22", "5e-324", "0.1", "00", "-1", "0"),
    *("=", "<<"),
]
"""Unquoted values that YAML 1.1, YAML 1.2 or JSON read differently."""

TRICKY = (
    *PLAIN,
    *("", " ", " x", "x ", "\t", "x\t", "#", "# x", "x # y", "a: b", "- a", "[a]", "{a}", "*a"),
    *("&a", "!x", "|", ">", "%a", "@a", "`a", "'", '"', "''", "?", ":", "-", "---", "..."),
    *("a\nb", "a\nb\n", "a\n\n", "\na", " a\nb", "a\n b", "a \nb", "\n", "\n\n", "a\tb\n"),
    *("\x7f", "\x85", "\u2028", "a\u2028b\n", "\ufeff", "\u00a0", "ü€😀", "\\", "\\n", "a\\"),
    *("%PATH%", "$HOME", "x" * 200, "a " * 100),
)  # fmt: skip
texts = st.sampled_from(TRICKY) | st.text(
    st.characters(exclude_categories=["Cc", "Cs", "Cn"]) | st.sampled_from("\n\t '\":#-"),
    max_size=12,
)
scalars = texts | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False)


def spec_of(texts: list[str], values: list[Any]) -> dict[str, Any]:
    """A spec with these strings and values in places of all kinds."""
    plain = [text.replace("{{", "{ {") for text in texts]
    return {
        "version": 1,
        "name": "demo",
        "description": plain[0],
        "parameters": {
            "text": {"type": "string", "default": texts[0]},
            "any": {"default": values[0] if values else "", "description": plain[-1]},
        },
        "pool": {"existing": "there"},
        "job": {"max_wall_clock_time": "1h", "env": {f"N{n}": t for n, t in enumerate(plain)}},
        "tasks": {
            "run": {
                "command": "echo {{ text }} {{ value }}",
                "env": {"VALUE": "{{ value }}", "TEXT": "{{ text }}"},
                "for_each": {"list": [*plain, *map(escaped, values)]},
            }
        },
    }


def escaped(value: Any) -> Any:
    return value.replace("{{", "{ {") if isinstance(value, str) else value


@settings(max_examples=50, deadline=None)
@given(st.lists(texts, min_size=1, max_size=4), st.lists(scalars, max_size=4))
@example([*TRICKY], [1e-3, 12e03, 1e22, 5e-324, 10**38, True, False, -0.0])
def test_printed_values_are_equal_for_every_reader(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], values: list[Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "texts.yaml"
    path.write_text(json.dumps(spec_of(texts, values)), "utf-8")
    document, spec = expanded_document(path), read_spec(path)
    for form in ("yaml", "json"):
        printed = dump_document(document, form)
        path.write_text(printed, "utf-8", newline="")
        assert same(expanded_document(path)) == same(document)
        again = read_spec(path)
        assert (again.digest, again.stages[0].for_each) == (spec.digest, spec.stages[0].for_each)
        assert (again.parameters, again.warnings) == (spec.parameters, ())
        assert same(yaml.load(printed, CoreLoader)) == same(document), "YAML 1.2"
        if form == "yaml":
            assert same(yaml.safe_load(printed)) == same(document), "YAML 1.1"


@pytest.mark.parametrize("value", PLAIN)
def test_an_unquoted_value_keeps_its_meaning(value: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: demo\npool: {existing: there}\njob: {max_wall_clock_time: 1h}\n"
        f"tasks: {{run: {{command: echo, for_each: {{list: [x, {value}]}}}}}}\n"
    )
    spec, document = read_spec(path), expanded_document(path)
    printed = dump_document(document, "yaml")
    path.write_text(printed)
    again = read_spec(path)
    assert (again.digest, again.stages[0].for_each) == (spec.digest, spec.stages[0].for_each)
    assert again.warnings == ()
    assert same(yaml.safe_load(printed)) == same(yaml.load(printed, CoreLoader)) == same(document)


@pytest.mark.parametrize("value", PLAIN)
def test_a_warning_shows_values_that_an_editor_reads_differently(
    value: str, tmp_path: Path
) -> None:
    path = tmp_path / "spec.yaml"
    text = f"[x, {value}]"
    path.write_text(
        "version: 1\nname: demo\npool: {existing: there}\njob: {max_wall_clock_time: 1h}\n"
        f"tasks: {{run: {{command: echo, for_each: {{list: {text}}}}}}}\n"
    )
    spec = read_spec(path)
    (_, ours) = spec.stages[0].for_each.values  # type: ignore[union-attr]
    theirs = yaml.load(text, CoreLoader)[1]
    differ = type(ours) is not type(theirs)
    assert [warning.code for warning in spec.warnings] == ["ambiguous-number"] * differ
    assert [w.where.line for w in spec.warnings if w.where] == [5] * differ


def same(value: object) -> str:
    """A value in which ``1``, ``1.0`` and ``true`` differ."""
    return json.dumps(value)


class CoreLoader(yaml.SafeLoader):
    """A reader of the core schema of YAML 1.2 (section 10.3.2), as in editors."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - as in the base class


for tag, pattern, first in (
    ("null", r"|~|null|Null|NULL", None),
    ("bool", r"true|True|TRUE|false|False|FALSE", None),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", None),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", None),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", None),
):
    CoreLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{tag}", re.compile(f"(?:{pattern})$"), first
    )


def core_integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0) if text[:2] in ("0o", "0x") else int(text)


CoreLoader.add_constructor("tag:yaml.org,2002:int", core_integer)


def test_a_pair_of_escapes_is_one_character(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    document = spec_of(["\U0001f600"], [])
    path.write_text(json.dumps(document))
    assert "\\ud83d\\ude00" in path.read_text()
    assert read_spec(path).description == "\U0001f600"
    path.write_text(json.dumps(document).replace("\\ude00", ""))
    with pytest.raises(SpecError) as caught:
        read_spec(path)
    assert {problem.code for problem in caught.value.problems} == {"control-character"}
    assert all(problem.where is not None for problem in caught.value.problems)


def test_a_command_in_data_of_the_user_is_not_a_command(tmp_path: Path) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(
        "version: 1\nname: demo\npool: {existing: there}\nparameters: {a: {default: ls}}\n"
        "job: {max_wall_clock_time: 1h, env: {command: '{{ a }} -l'}}\n"
        "tasks:\n"
        "  run:\n"
        "    for_each: {list: [{command: '{{ a }} -l'}]}\n"
        "    command: echo {{ value.command }}\n"
        "    env: {command_line: '{{ a }} {{ index }}'}\n"
    )
    spec = read_spec(path)
    (item,) = spec.stages[0].for_each.values  # type: ignore[union-attr]
    assert item == {"command": "ls -l"}
    (setting,) = spec.job.properties["commonEnvironmentSettings"]  # type: ignore[misc]
    assert setting == {"name": "command", "value": "ls -l"}
    (setting,) = spec.stages[0].body["environmentSettings"]  # type: ignore[misc]
    assert (setting["name"], setting["value"].source) == ("command_line", "{{ a }} {{ index }}")
    path.write_text(dump_document(expanded_document(path), "yaml"))
    assert read_spec(path).digest == spec.digest
