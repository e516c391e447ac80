"""Values in places where the shell would interpret them are reported, and no other values."""

from __future__ import annotations

import subprocess
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from batchspec.diagnostics import Place
from batchspec.spec import Command, Quoting, Shell, Template, quote
from batchspec.spec.convert import check_command
from batchspec.spec.insertion import SAFE, UNREAD, reader
from batchspec.spec.template import ANYTHING, check, in_quotes

V = "{{ v }}"


def stands(source: str, quoting: Quoting = Quoting.POSIX) -> list[str]:
    """The problem of each value in a command, in order; none for a safe value."""
    found = check(Template(source, Place("f", 1, 1, source)), ANYTHING, quoting=quoting)
    assert {problem.code for problem in found} <= {"quoted-expression"}
    return [problem.summary.removeprefix("an expression cannot be inserted ") for problem in found]


@pytest.mark.parametrize(
    "source",
    [
        f"prog {V} --x={V} a/{V}/b {V}{V}",
        f"echo 'it' \"is\" {V} && ls",
        f'echo "$(cat {V})" `cat {V}` $(cat {V})',
        f'echo "a $(echo "b" {V}) c" {V}',
        f'x="${{HOME}}"; echo ${{x:-y}} {V}',
        f"echo a#b {V}",
        f"# a comment, don't mind\necho {V}",
        f'echo \\\' {V} \\" "a\\"b" {V}',
        f"cat <<EOF\nit's \"text\nEOF\necho {V}",
        f"cat <<-'END' | grep x {V}\n\tit's\n\tEND\necho {V}",
        f"cat <<A <<B {V}\n'\nA\n\"\nB\necho {V}",
        f"cat <<<{V}; echo $((1 << 2)) {V}\necho {V}",
        f"awk '{{print $1}}' {V}",
        f"case {V} in a) echo {V};; esac",
        f"x=$(cat <<EOF\nit's\nEOF\n) {V}",
        f"( ( cat <<EOF\nit's\nEOF\n) ); echo ${{x:-<<EOF}} {V}\necho {V}",
        f"( cd {V} && ls )",
        f"[ ${{#list}} -gt 2 ] && echo {V}",
        f"echo '$'{V}",
        f"echo \\\\{V}",
        f"echo '{V}' \"{V}\" 'a {V}b'\"{V}\"",
        f"python3 -c 'print({V})'; awk '{{print {V}}}' push {V}",
        f'echo "a `date` $(date) ${{x}} {V}" && test -e finish "{V}"',
        f"echo $(echo '{V}')",
        f'sh -c "$(cat {V})" \'{V}\'; sh -c ls; echo "{V}"',
        "sh -c 'ls {{ v | quote }}'; ssh host \"ls {{ v | quote }}\"",
    ],
)
def test_safe_values_in_sh_are_accepted(source: str) -> None:
    assert stands(source) == []


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (f"sh -c 'echo {V}'", "inside single quotes, into a command for another shell"),
        (f'bash -lc "ls {V}"', "inside double quotes, into a command for another shell"),
        (f"su me -c \"ls '{V}'\"", "inside double quotes, into a command for another shell"),
        (f'ssh host "ls {V}"', "inside double quotes, into a command for another shell"),
        (f"eval 'x={V}'", "inside single quotes, into a command for another shell"),
        (f'echo "${{x:-{V}}}"', "in an expansion inside double quotes"),
        (f'echo "${V}"', "right after `$`"),
        (f"echo a # to {V}\n", "in a comment"),
        (f"cat <<EOF\nvalue: {V}\nEOF\n", "in a here-document"),
        (f'cat << "E F"\n{V}\nE F\n', "in a here-document"),
        (f"cat <<EOF{V}\nEOF\n", "right after `<<`"),
        (f'cat <<E"O"F\nEOF\necho {V}', UNREAD),
        (f"cat <<{V}\n", UNREAD),
        (f'echo "`echo \\"{V}\\"`"', UNREAD),
        (f"echo $'it\\'s' {V}", UNREAD),
        (f"x=$(cat <<EOF; echo `\nEOF\n`) {V}", UNREAD),
        (f'echo "$(case a in a) echo "{V}";; esac)"', UNREAD),
        (f"echo ${V}", "right after `$`"),
        (f"echo \\{V}", "right after `\\`"),
    ],
)
def test_values_that_a_shell_would_interpret_are_reported(source: str, where: str) -> None:
    assert stands(source) == [where]


@pytest.mark.parametrize("source", ["echo '{{ v | raw }}'", "cat <<E\n{{ v | raw }}\nE\n",
                                    "echo \"{{ (v | raw) if w else ('x' | raw) }}\""])  # fmt: skip
def test_raw_is_accepted(source: str) -> None:
    assert stands(source) == []


@pytest.mark.parametrize(
    ("source", "where"),
    [
        (f"prog {V} C:\\dir\\{V} /x:{V}", []),
        (f'prog "a b" {V} "c" "C:\\\\" {V}', []),
        (f"echo it's {V}", []),
        (f"echo ^^{V} ^& {V}", []),
        (f'prog "{V}" "a {V}" "C:\\dir\\{V}\\x"', []),
        (f'prog "a"{V}', ["next to a double quote"]),
        (f'prog {V}"a"', ["next to a double quote"]),
        (f"prog ^{V}", ["right after `^`"]),
        (f'prog "a\\" {V}', ["inside quotes that cmd and the program read differently"]),
    ],
)
def test_windows_quotes(source: str, where: list[str]) -> None:
    assert stands(source, Quoting.WINDOWS) == where


def test_cmd_runs_one_line() -> None:
    where = Place("f", 5, 3, "  first")
    command = Command(Shell.DEFAULT, template=Template("first\nsecond\n", where))
    (problem,) = check_command(command, ANYTHING, windows=True)
    assert problem.code == "command-lines"
    assert problem.where is not None
    assert problem.where.line == 6
    assert check_command(command, ANYTHING, windows=False) == ()


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "${a " * 25_000,
        "((" * 20_000 + " <<1" * 20_000,
        "`" + "(" * 50_000 + "\n#" * 50_000,
        "<<a " * 25_000 + "\n" + "a\n" * 25_000,
        "''" * 50_000,
    ],
    ids=["groups", "expansions", "shifts", "comments", "documents", "quotes"],
)
def test_a_long_command_is_read_in_linear_time(text: str) -> None:
    """A reader that searches the open constructs for each character takes half a minute."""
    shell = reader(Quoting.POSIX)
    start = time.process_time()
    shell.read(text)
    assert time.process_time() - start < 5


PAYLOADS = [
    "$(: >got)",
    "`: >got`",
    "'; : >got; '",
    '"; : >got; "',
    "\n: >got\n",
    "EOF\n: >got\n",
]
MARKS = [*"'\"\\$`{}#()\n a", "$(", "<<EOF", "EOF", "${a:-", "true "]
MARKS += ["<<", "$((", "((", "case a in a)", "esac", ";;", "\nEOF\n", "1<<2"]
ENDS = ["", "'", '"', "`", ")", ')"', "\n", "\nEOF\n", '}"', "}"]


@settings(max_examples=150, deadline=None)
@given(
    before=st.lists(st.sampled_from(MARKS), max_size=6),
    payload=st.sampled_from(PAYLOADS),
    after=st.sampled_from(ENDS),
)
@example(before=["'"], payload="'; : >got; '", after="'")
@example(before=['"'], payload="$(: >got)", after='"')
@example(before=['"', "${a:-"], payload="$(: >got)", after='}"')
@example(before=["<<EOF", "\n"], payload="$(: >got)", after="\nEOF\n")
@example(before=["<<EOF", '"', "`", '"'], payload='"; : >got; "', after="")
@example(
    before=["$(", "true ", "<<EOF", "\n", '"', "\nEOF\n", ")"], payload='"; : >got; "', after=""
)
@example(before=["${a:-", "<<EOF", "}", "\n", '"', "\nEOF\n"], payload="$(: >got)", after='"')
@example(before=["(", " ", "(", "<<EOF", "\n", '"', "\nEOF\n"], payload='"; : >got; "', after="))")
@example(before=['"', "$(", "case a in a)", "true ", '"'], payload="$(: >got)", after='";; esac)"')
@example(before=['"', "$", "$(("], payload="$(: >got)", after='"')
@example(before=["`", ")", "'", "`"], payload="$(: >got)", after="")
@example(before=["`", " ", "#", "`"], payload="$(: >got)", after="")
@example(before=['"', "`", "true ", "\\", '"'], payload="$(: >got)", after='\\"`"')
@example(before=["#"], payload="\n: >got\n", after="")
@example(before=["\\"], payload=" $(: >got)", after="'")
@example(before=["'a "], payload="'; : >got; '", after=" b'")
@example(before=['"a '], payload='"; : >got; "', after=' b"')
def test_sh_never_runs_an_accepted_value(
    tmp_path_factory: pytest.TempPathFactory, before: list[str], payload: str, after: str
) -> None:
    """Random text around a value: no value runs as a command in a place that counts as safe."""
    text = ": " + "".join(before)
    shell = reader(Quoting.POSIX)
    shell.read(text)
    context = shell.value(after)
    if context not in SAFE:
        return
    folder = tmp_path_factory.mktemp("sh")
    script = text + quote(payload, in_quotes(context, Quoting.POSIX)) + after
    subprocess.run(
        ["/bin/sh", "-c", script],
        cwd=folder,
        capture_output=True,
        check=False,
        timeout=20,
        stdin=subprocess.DEVNULL,
    )
    assert list(folder.iterdir()) == []
