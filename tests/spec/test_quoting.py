"""The program on the node gets every value unchanged as one argument."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchspec.diagnostics import Place, Secret, SpecError
from batchspec.spec import (
    BlobUrl,
    Command,
    Quoting,
    Shell,
    Template,
    Text,
    UnquotableError,
    command_line,
    quote,
)
from batchspec.spec.convert import joined
from tests.spec.windows_model import arguments, program_line

WHERE = Place("spec.yaml", 1, 1)
SHELLS = [path for name in ("dash", "bash", "sh") if (path := shutil.which(name))]
_NASTY = r"""
it's|say "hi"|a b|$(touch x)|`id`|${HOME}|%PATH%|%PATH:a=b%|-rf|--|| |ü→🎉|a;b|a&b|<a>|(a)|!x!|^
\|a\|\"|C:\dir\|C:\my dir\|*|~|#|%|%%|a%b c%d|"|''|\\"\\|'"'
"""
NASTY = [*_NASTY.strip("\n").replace("\n", "|").split("|"), "a|b", "a\nb", "a\tb"]
posix_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
windows_text = st.text(st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]))
sharp = st.text(st.sampled_from(" '\"\\$`%^&|<>()!;#~*?-=,:{}ab"), max_size=12)
VARIABLES = {"PATH": "C:\\Windows", "A": "expanded", "B": "expanded", "^P": "no"}


def run(shell: str, script: str) -> list[str]:
    done = subprocess.run([shell, "-c", script], capture_output=True, check=True, timeout=20)
    return done.stdout.decode("utf-8", "surrogateescape").split("\0")[:-1]


def text_command(source: str, shell: Shell = Shell.DEFAULT) -> Command:
    return Command(shell, template=Template(source, WHERE))


def sent(line: str | Text, url: str = "https://x/c?sig=a%2Fb&se=1") -> str:
    return line if isinstance(line, str) else line.resolve(lambda _: url)


@pytest.mark.parametrize("shell", SHELLS)
def test_sh_gets_special_characters_unchanged(shell: str) -> None:
    line = " ".join(quote(value, Quoting.POSIX) for value in NASTY)
    assert run(shell, rf"printf '%s\0' {line}") == NASTY


@settings(max_examples=60, deadline=None)
@given(st.lists(posix_text | sharp, min_size=1, max_size=20))
def test_sh_gets_any_value_unchanged(values: list[str]) -> None:
    line = " ".join(quote(value, Quoting.POSIX) for value in values)
    assert run("/bin/sh", rf"printf '%s\0' {line}") == values


@settings(max_examples=60, deadline=None)
@given(first=posix_text | sharp, second=sharp, third=posix_text)
@example(first="-n", second="'", third="a\nb")
def test_a_whole_command_survives_the_service_and_the_shell(
    first: str, second: str, third: str
) -> None:
    command = text_command(r"printf '%s\0' {{ a }} x{{ b }} {{ a }}{{ c }} {{ list }} {{ pw }}")
    scope = {"a": first, "b": second, "c": third, "list": (second, third), "pw": Secret(first)}
    program, option, script = shlex.split(sent(command_line(command, scope, windows=False)))
    assert (program, option) == ("/bin/sh", "-c")
    expected = [first, "x" + second, first + third, second, third, first]
    assert run("/bin/sh", script) == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(posix_text | sharp, min_size=1, max_size=8))
def test_a_list_is_split_into_its_own_items(values: list[str]) -> None:
    command = Command(
        Shell.DEFAULT,
        arguments=tuple(Template(f"{{{{ v{n} }}}}", WHERE) for n in range(len(values))),
    )
    scope = {f"v{n}": value for n, value in enumerate(values)}
    assert shlex.split(sent(command_line(command, scope, windows=False))) == values


def test_a_signed_url_is_one_argument_once_resolved() -> None:
    url = "https://a/c?sig=x%2F'y&se=1 2"
    line = command_line(
        text_command(r"printf '%s\0' {{ u }}/x"), {"u": BlobUrl("c")}, windows=False
    )
    assert isinstance(line, Text)
    assert run("/bin/sh", shlex.split(line.resolve(lambda _: url))[2]) == [url + "/x"]


@given(st.lists(windows_text | sharp, min_size=1, max_size=8))
@example([value for value in NASTY if "\n" not in value])
def test_a_windows_program_gets_any_value_through_cmd(values: list[str]) -> None:
    line = " ".join(quote(value, Quoting.WINDOWS) for value in values)
    handed = program_line(f'"prog {line}"', VARIABLES)
    assert arguments(handed) == ["prog", *values]


@given(st.lists(windows_text | sharp, min_size=1, max_size=8))
@example(NASTY)
def test_a_windows_program_gets_any_value_without_cmd(values: list[str]) -> None:
    line = "prog " + " ".join(quote(value, Quoting.WINDOWS_PROGRAM) for value in values)
    assert arguments(line) == ["prog", *values]


@given(windows_text | sharp, sharp)
@example("a b", "c")
@example("", "a b")
def test_windows_values_join_the_text_before_them(first: str, second: str) -> None:
    """A backslash of the user, or another value, directly before a value: one argument."""
    command = text_command(r"prog C:\dir\{{ a }} {{ a }}{{ b }} {{ pair }}")
    scope = {"a": first, "b": second, "pair": (first, second)}
    line = sent(command_line(command, scope, windows=True)).removeprefix("cmd /c ")
    expected = ["prog", "C:\\dir\\" + first, first + second, first, second]
    assert arguments(program_line(line, VARIABLES)) == expected


@given(sharp)
def test_deferred_windows_values_are_quoted_equally(value: str) -> None:
    command = text_command(r"prog C:\dir\{{ now }} {{ now }}")
    known = command_line(command, {"now": value}, windows=True)
    later = command_line(command, {"now": Secret(value)}, windows=True)
    assert isinstance(later, Text)
    assert later.resolve(str) == known


@given(st.lists(windows_text | sharp, min_size=1, max_size=6))
def test_a_windows_list_is_quoted_for_the_program(values: list[str]) -> None:
    assert arguments("p " + sent(joined(values, windows=True))) == ["p", *values]


@pytest.mark.parametrize(
    ("value", "quoting"),
    [
        ("a\0b", Quoting.POSIX),
        ("a\0b", Quoting.WINDOWS),
        ("a\0b", Quoting.WINDOWS_PROGRAM),
        ("a\nb", Quoting.WINDOWS),
        ("a\rb", Quoting.WINDOWS),
    ],
)
def test_values_that_cannot_be_quoted_are_refused(value: str, quoting: Quoting) -> None:
    with pytest.raises(UnquotableError) as caught:
        quote(value, quoting)
    assert value not in str(caught.value)


def test_a_value_that_cmd_cannot_contain_is_an_error_of_the_spec() -> None:
    with pytest.raises(SpecError, match="line break"):
        command_line(text_command("prog {{ a }}"), {"a": "x\ny"}, windows=True)
    with pytest.raises(SpecError, match="line break"):
        command_line(text_command("prog {{ a }}"), {"a": Secret("x\ny")}, windows=True)


@pytest.mark.parametrize(
    ("value", "posix", "windows"),
    [
        ("plain-1.txt", "plain-1.txt", "plain-1.txt"),
        ("a b", "'a b'", '"a b"'),
        ("", "''", '""'),
        ('a"b', "'a\"b'", r'^"a\^"b^"'),
        ("%PATH%", "%PATH%", '^"^%^PATH^%^"'),
        ("C:\\d\\", "'C:\\d\\'", '"C:\\d\\\\"'),
    ],
)
def test_simple_values_stay_readable(value: str, posix: str, windows: str) -> None:
    assert quote(value, Quoting.POSIX) == posix
    assert quote(value, Quoting.WINDOWS) == windows


@settings(max_examples=60, deadline=None)
@given(first=posix_text | sharp, second=sharp)
@example(first="it's", second='say "hi"')
@example(first="", second="$(touch x) `id` \\")
def test_values_between_quotes_survive_the_shell(first: str, second: str) -> None:
    source = (
        r"""printf '%s\0' '{{ a }}' "{{ b }}" 'x {{ a }}y'"z{{ b }} "{{ a }} "{{ list }}" """
        r""" "{{ pw }}" "$(printf %s. {{ a }})" '{{ pw }}{{ b }}' """
    )
    scope = {"a": first, "b": second, "list": (first, second), "pw": Secret(second)}
    _, _, script = shlex.split(sent(command_line(text_command(source), scope, windows=False)))
    both = f"{first} {second}"
    expected = [first, second, f"x {first}yz{second} {first}", both, second, f"{first}."]
    assert run("/bin/sh", script) == [*expected, second + second]


@settings(max_examples=40, deadline=None)
@given(posix_text | sharp)
@example("it's $HOME")
def test_a_service_that_splits_the_line_gets_values_between_quotes(value: str) -> None:
    command = text_command("""tool '{{ v }}' "a {{ v }} b" {{ v }}""", Shell.NONE)
    line = sent(command_line(command, {"v": value}, windows=False))
    assert shlex.split(line) == ["tool", value, f"a {value} b", value]


@settings(max_examples=40, deadline=None)
@given(posix_text | sharp)
@example("it's $HOME")
def test_another_shell_gets_an_argument(value: str) -> None:
    source = r"""sh -c "printf '%s\0' {{ v | quote }}"; sh -c 'printf "%s\0" {{ v | quote }}'"""
    _, _, script = shlex.split(
        sent(command_line(text_command(source), {"v": value}, windows=False))
    )
    assert run("/bin/sh", script) == [value, value]


@settings(max_examples=100, deadline=None)
@given(windows_text | sharp)
@example("a b")
def test_windows_values_between_quotes_are_unchanged_or_refused(value: str) -> None:
    command = text_command('tool "{{ v }}" "C:\\my dir\\{{ v }}" x')
    try:
        line = sent(command_line(command, {"v": value}, windows=True))
    except SpecError as error:
        assert not value or '"' in value or "%" in value or value.endswith("\\")
        assert "Remove the quotes" in error.problems[0].fix
        return
    program = program_line(line.removeprefix("cmd /c "), VARIABLES)
    assert arguments(program) == ["tool", value, f"C:\\my dir\\{value}", "x"]
