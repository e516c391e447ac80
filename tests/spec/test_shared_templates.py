"""A command with shared values filled in has the identity of the command line."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from batchspec.diagnostics import Place, Secret, SpecError
from batchspec.spec import (
    BlobUrl,
    Command,
    Record,
    Shell,
    Template,
    Text,
    bind_command,
    bind_template,
    command_line,
    evaluate,
)

WHERE = Place("run.yaml", 1, 1, "")
SHARED = {
    "name": "a run",
    "number": 7,
    "params": Record(key=Secret("s3cret"), text="it's", many=("a", "b"), nothing=None),
    "containers": Record(out=Record(url=BlobUrl("out"), write_url=BlobUrl("out", None, "cw"))),
}
PIECES = st.sampled_from(
    [
        *("run ", "--x=", " ", "\n", "é", "[", "'", '"', "'a b'", "$(x)", "\\", "\r\n"),
        *(
            "{{ a }}",
            "{{ row.b }}",
            "{{ row['b'] }}",
            "{{ a.b }}",
            "{{ a | upper }}",
            "{{ 1 + 1 }}",
        ),
        *("{{ name }}", "{{ number }}", "{{ params.key }}", "{{ params.text }}", "{{ gone }}"),
        *("{{ params.many }}", "{{ params.nothing }}", "{{ params.gone }}"),
        *("{{ containers.out.url }}", "{{ containers.out.write_url }}"),
    ]
)
TEXTS = st.lists(PIECES, max_size=6).map("".join)
VALUES = st.one_of(
    st.text(),
    st.text("'\"\\ $ab", max_size=4),
    st.sampled_from(["", "it's", "a b", "x\0", "-1", BlobUrl("in", "f", "r"), Secret("s3cret")]),
    st.integers(),
    st.sampled_from([10**5000, True, None, 1.5, (), Record(b=1)]),
)


def command(shell: Shell, texts: list[str]) -> Command:
    templates = tuple(Template(text, WHERE) for text in texts)
    return Command(shell, templates[0]) if len(texts) == 1 else Command(shell, None, templates)


@given(st.sampled_from(Shell), st.lists(TEXTS, min_size=1, max_size=3), VALUES, VALUES)
@example(Shell.DEFAULT, ["run {{ a }} {{ containers.out.write_url }}\n"], "it's", "")
@example(Shell.DEFAULT, ["run {{ params.text }}{{ a }}"], "x", "")
@example(Shell.DEFAULT, ["{{ a }}{{ row.b }}\n\n"], "", 3)
@example(Shell.NONE, ["run", "{{ params.key }}{{ a }}", "x y"], "it's", "")
@example(Shell.NONE, [" \n"], "", "")
def test_the_identity_is_that_of_the_command_line(
    shell: Shell, texts: list[str], a: object, b: object
) -> None:
    given_command = command(shell, texts)
    bound = bind_command(given_command, SHARED, windows=False)
    variables = {"a": a, "row": Record(b=b)}  # type: ignore[arg-type]
    found = None if bound is None else bound.identity(variables)
    if found is not None:
        made = command_line(given_command, {**SHARED, **variables}, windows=False)
        assert found == (made.identity() if isinstance(made, Text) else made)


@given(TEXTS, VALUES, VALUES)
@example("{{ a }}/{{ number }}", 3, "")
@example('{"a": "{{ a }}"}', '"', "")
def test_a_bound_template_has_the_text_of_the_template(text: str, a: object, b: object) -> None:
    bound = bind_template(Template(text, WHERE), SHARED)
    variables = {"a": a, "row": Record(b=b)}  # type: ignore[arg-type]
    found = None if bound is None else bound.filled(variables)
    if found is not None:
        assert found == evaluate(Template(text, WHERE), {**SHARED, **variables})


def test_templates_with_plain_values_are_bound() -> None:
    bound = bind_template(Template("{{ name }}/{{ a }}%", WHERE), SHARED)
    assert bound is not None
    assert bound.filled({"a": 3}) == "a run/3%"
    assert bound.filled({"a": 3, "name": "another"}) is None
    assert bind_template(Template("{{ params.key }}", WHERE), SHARED) is None


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["run {{ a }}-{{ row.b }}"], "/bin/sh -c 'run x-'\"'\"'a b'\"'\"''"),
        (["run {{ name }} {{ index }}"], "/bin/sh -c 'run '\"'\"'a run'\"'\"' 4'"),
        (["run", "{{ a }} y", "{{ index }}"], "run 'x y' 4"),
    ],
)
def test_commands_with_plain_values_are_bound(texts: list[str], expected: str) -> None:
    bound = bind_command(command(Shell.DEFAULT, texts), SHARED, windows=False)
    assert bound is not None
    assert bound.identity({"a": "x", "row": Record(b="a b"), "index": 4}) == expected


def test_urls_and_secrets_that_tasks_share_are_bound() -> None:
    bound = bind_command(
        command(Shell.DEFAULT, ["{{ a }} {{ containers.out.url }} {{ params.key }}"]),
        SHARED,
        windows=False,
    )
    assert bound is not None
    found = bound.identity({"a": "x"})
    assert found is not None
    assert "out" in found
    assert "s3cret" not in found


def test_a_variable_with_the_name_of_a_shared_value_hides_it() -> None:
    bound = bind_command(command(Shell.DEFAULT, ["{{ name }}"]), SHARED, windows=False)
    assert bound is not None
    assert bound.identity({"a": "x"}) is not None
    assert bound.identity({"name": "x"}) is None


@pytest.mark.parametrize(
    "text", ["{{ a | upper }}", "{{ params.many }}{{ a }}", "'{{ a }}'", "{{ params.nothing }}", ""]
)
def test_other_commands_are_not_bound(text: str) -> None:
    assert bind_command(command(Shell.DEFAULT, [text]), SHARED, windows=False) is None


def test_commands_for_windows_are_not_bound() -> None:
    assert bind_command(command(Shell.DEFAULT, ["{{ a }}"]), SHARED, windows=True) is None


def test_errors_are_left_to_the_command_line() -> None:
    given_command = command(Shell.DEFAULT, ["{{ a }}"])
    bound = bind_command(given_command, SHARED, windows=False)
    assert bound is not None
    for variables in ({"a": "x\0"}, {"a": None}, {}, {"a": 10**5000}, {"a": "x" * 1_000_001}):
        assert bound.identity(variables) is None
        with pytest.raises(SpecError):
            command_line(given_command, variables, windows=False)
