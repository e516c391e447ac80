"""Templates: refused templates and their positions, evaluated templates, and the sandbox."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchspec.diagnostics import Diagnostic, Place, Secret, SpecError
from batchspec.spec import BlobUrl, Quoting, Template, Text, evaluate
from batchspec.spec.template import ANYTHING, VALUE, Names, check
from batchspec.spec.values import Named

NAMES = Names(
    {
        "top": VALUE,
        "list": ANYTHING,
        "file": Names({"name": VALUE, "stem": VALUE}),
        "containers": Names({"output": Names({"write_url": VALUE, "read_url": VALUE})}),
        "row": ANYTHING,
    }
)
URL = BlobUrl("out", None, "cw")
SCOPE: Mapping[str, object] = {
    "top": 3,
    "ratio": 0.5,
    "yes": True,
    "none": None,
    "list": ("a b", "c"),
    "object": {"k": "v", "deep": {"n": 1}},
    "file": {"name": "it's.txt", "stem": "it's"},
    "url": URL,
    "secret": Secret("hunter2"),
    "secrets": (Secret("hunter2"),),
}


def template(source: str, column: int = 12) -> Template:
    """A template on a separate line, after ``command: >`` or another key."""
    line = "  command: ".ljust(column - 1) + source.partition("\n")[0]
    return Template(source, Place("spec.yaml", 7, column, line))


def faults(source: str, quoting: Quoting | None = None) -> list[tuple[str, str]]:
    """Each fault's code, and the text its place points at."""
    return [(p.code, pointed(p)) for p in check(template(source), NAMES, quoting=quoting)]


def pointed(problem: Diagnostic) -> str:
    where = problem.where
    assert where is not None
    return where.text[where.column - 1 :][: where.length]


def value(source: str, **options: Quoting) -> str | Text:
    return evaluate(template(source), SCOPE, **options)


def failure(source: str, **options: Quoting) -> Diagnostic:
    with pytest.raises(SpecError) as caught:
        evaluate(template(source), SCOPE, **options)
    (problem,) = caught.value.problems
    return problem


# --- check -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "source",
    [
        "plain",
        "{{ top }}",
        "{{ file.name }} {{ file['stem'] }}",
        "{{ containers.output.write_url }}/x",
        "{{ row.anything.at_all }} {{ list[0] }} {{ list[1:] | join(',') }}",
        "{{ file.name.upper() }} {{ file.name.split('.')[0] }}",
        "{{ 'a' if top > 2 and file.name is string else 'b' ~ top }}",
        "{{ file.stem | replace('a', 'b') | zfill(4) | hash }}",
        "awk '{print $1}' ${#list[@]} ${x%.txt} }} {x{",
        "{{ '{{' | raw }}.Name{{ '}}' | raw }}",
        "{{- top -}}",
    ],
)
def test_valid_templates_are_accepted(source: str) -> None:
    assert faults(source) == []


@pytest.mark.parametrize(
    ("source", "code", "at"),
    [
        ("run {{ tpo }}", "unknown-name", "tpo"),
        ("run {{ file.nam }}", "unknown-name", "nam"),
        ("run {{ file['nam'] }}", "unknown-name", "nam"),
        ("{{ file.name }} {{ containers.outptu.write_url }}", "unknown-name", "outptu"),
        ("{{ top.x }}", "unknown-name", "x"),
        ("{{ 1 + (file.size or 2) }}", "unknown-name", "size"),
        ("{{ top | uper }}", "unknown-filter", "uper"),
        ("{{ top is evn }}", "unknown-test", "evn"),
        ("{{ nope is defined }}", "unknown-name", "nope"),
        ("{{ range(3) }}", "template-call", "range"),
        ("{{ file.name.format(1) }}", "template-call", "format"),
        ("{{ top.__class__.__mro__ }}", "unknown-name", "__class__"),
        ("a {{ top", "template-syntax", "{{ top"),
        ("{{ top }} b {{ top + }} c", "template-syntax", "{{ top + }}"),
        ("{{ }}", "template-syntax", "{{ }}"),
        ("{{ {'a': 1} }}", "template-syntax", "{{ {'a': 1} }}"),
        ("x {% if top %}y{% endif %}", "template-statement", "{% if top %}"),
        ("{% include 'x' %}", "template-statement", "{% include 'x' %}"),
        ("{# note #} x {{ top }}", "template-statement", "{# note #}"),
    ],
)
def test_errors_have_their_position(source: str, code: str, at: str) -> None:
    assert (code, at) in faults(source)


def test_all_errors_are_reported_with_a_fix() -> None:
    found = check(template("{{ tpo }} {{ file.nam }} {{ containers.output.writeurl }}"), NAMES)
    assert [p.fix for p in found] == [
        "Did you mean `top`?",
        "Did you mean `name`?",
        "Did you mean `write_url`?",
    ]


def test_open_names_accept_any_member() -> None:
    assert check(template("{{ whatever.else }}"), ANYTHING) == ()


@pytest.mark.parametrize(
    ("where", "source", "expected"),
    [
        (Place("f", 3, 5, 'a: "{{ x }}"'), "{{ x }}", (3, 8)),
        (Place("f", 3, 4, "a: go {{ x }}"), "go {{ x }}", (3, 10)),
        (Place("f", 4, 3, "  first"), "first\nthen {{ x }}\n", (5, 11)),
        (Place("f", 3, 5, r'a: "\t{{ x }}"'), "\t{{ x }}", (3, 10)),
        (Place("f", 3, 3, "  folded"), "folded then {{ x }}", (3, 3)),
    ],
    ids=["quoted", "plain", "block", "escape", "folded"],
)
def test_positions_in_all_yaml_styles(where: Place, source: str, expected: tuple[int, int]) -> None:
    (problem,) = check(Template(source, where), NAMES)
    assert problem.where is not None
    assert (problem.where.line, problem.where.column) == expected


# --- evaluate ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("plain 'text'", "plain 'text'"),
        ("{{ top }}{{ ratio }}{{ yes }}", "30.5true"),
        ("{{ file.name }}\n", "it's.txt\n"),
        ("{{ object.deep.n + top }}", "4"),
        ("{{ object['k'] ~ '-' ~ yes }}", "v-true"),
        ("{{ list | join('+') }}", "a b+c"),
        ("{{ list | length }}{{ list[1] }}{{ list | first }}", "2ca b"),
        ("{{ object | tojson }}", '{"k": "v", "deep": {"n": 1}}'),
        ("{{ none | default('x', true) }} {{ gone | default('y') }}", "x y"),
        ("{{ 'a/b.tar.gz' | stem }} {{ 'a/b.gz' | suffix }}", "b.tar .gz"),
        ("{{ 'a/b.gz' | basename }} {{ 'a/b.gz' | dirname }}", "b.gz a"),
        ("{{ 7 | zfill(3) }} {{ 'Ä b' | slug }}", "007 A-b"),
        ("{{ 'x' | hash }} {{ 'x' | hash(4) }}", "2d711642 2d71"),
        ("{{ 'a b' | quote }} {{ 'a b' | raw }}", "'a b' a b"),
        ("{{ 2 ** 10 }} {{ 7 // 2 }} {{ 7 % 4 }}", "1024 3 3"),
        ("{{ 'a,b'.split(',')[1].upper() }}", "B"),
    ],
)
def test_values_as_strings(source: str, expected: str) -> None:
    assert value(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("run {{ file.name }}", "run 'it'\"'\"'s.txt'"),
        ("run {{ list }}", "run 'a b' c"),
        ("run --x={{ 'a b' }}{{ top }}/y", "run --x='a b3'/y"),
        ("run {{ list | join(' ') }} {{ list | raw }}", "run 'a b c' a b c"),
        ("run {{ 'x' if top else 'y z' }}", "run x"),
        ("run {{ '' }}", "run ''"),
        ("run {{ file.name | quote }}", "run 'it'\"'\"'s.txt'"),
        ("run {{ list | map('upper') }}", "run 'A B' C"),
    ],
)
def test_values_in_a_command(source: str, expected: str) -> None:
    assert value(source, quoting=Quoting.POSIX) == expected


def test_the_explicit_quote_knows_the_shell() -> None:
    assert value("{{ '%A%' | quote }}", shell=Quoting.WINDOWS) == '^"^%^A^%^"'


def test_a_mapping_with_a_text_form() -> None:
    files = (Named("d/a b", {"name": "a b"}), Named("c", {"name": "c"}))
    made = evaluate(template("{{ files }} {{ files[0].name }}"), {"files": files},
                    quoting=Quoting.POSIX)  # fmt: skip
    assert made == "'d/a b' c 'a b'"


def test_deferred_values_are_pieces() -> None:
    made = value("run {{ url }} --pw={{ secret }}", quoting=Quoting.POSIX)
    assert isinstance(made, Text)
    assert made.shown == "run <sas> --pw=***"
    assert made.resolve(lambda _: "https://x?a=1&b=2") == "run 'https://x?a=1&b=2' --pw=hunter2"
    assert "hunter2" not in made.identity() + repr(made) + str(made)
    plain = value("{{ url }}/{{ secret }}")
    assert isinstance(plain, Text)
    assert plain.pieces == (URL, "/", Secret("hunter2"))


@pytest.mark.parametrize(
    "use",
    [
        "{x} ~ 'a'", "{x} + 'a'", "'a' + {x}", "{x} | upper", "{x} | length", "{x} | hash",
        "{x} | default('a')", "{x} | int(0)", "{x} | replace('a', 'b')", "{x} | tojson",
        "{x} == 'a'", "'a' in {x}", "{x} in ['a']", "{x}[0]", "{x}[:2]", "{x} | list",
        "'%s' % {x}", "[{x}] | join(',')", "{x} < 'b'", "{x} | string", "{x} | trim", "{x} * 2",
        "{x} | urlencode", "[{x}, 'a'] | sort", "'a'.startswith({x})", "{x} | stem", "{x} | first",
        "[{x}] | tojson", "[{x}] | map('upper') | first", "{x} | truncate(2)",
        "'a' | replace('a', {x})",
    ],
)  # fmt: skip
@pytest.mark.parametrize("opaque", ["secret", "url", "secrets[0]"])
def test_opaque_values_can_only_be_inserted(use: str, opaque: str) -> None:
    source = "{{ " + use.replace("{x}", opaque) + " }}"
    problem = failure(source)
    assert problem.code == "template-value"
    assert "hunter2" not in f"{problem}"


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("a {{ none }}", "null"),
        ("a {{ object }}", "an object"),
        ("a {{ list }}", "a list"),
        ("a {{ gone }}", "`gone` is not defined"),
        ("a {{ object.gone }}", "has no member `gone`"),
        ("a {{ 1 / 0 }}", "division by zero"),
        ("a {{ top + 'x' }}", "unsupported operand"),
        ("a {{ 'x' if not yes }}", "`if` without `else`"),
        ("a {{ 'a' * 9999999 }}", "1,000,000"),
        ("a {{ [1, 2] * 9999999 }}", "1,000,000"),
        ("a {{ 9 ** 99999 }}", "too large"),
        ("a {{ 'a' | zfill(99999999) }}", "1,024"),
        ("a {{ list | map('nope') | join }}", "nope"),
    ],
)
def test_evaluation_errors_have_their_position(source: str, words: str) -> None:
    problem = failure(source)
    assert words in problem.summary
    assert pointed(problem) == source[2:]


def test_repeated_doubling_stays_bounded() -> None:
    grow = " | replace('a', 'aaaaaaaaaaaaaaaa')" * 8
    assert "1,000,000" in failure("{{ 'a'" + grow + " }}").summary


@pytest.mark.parametrize(
    "source",
    [
        "{{ file.__class__ }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ list.__init__.__globals__ }}",
        "{{ secret._value }}",
        "{{ secret.reveal() }}",
        "{{ url.container }}",
        "{{ self }}",
        "{{ self._TemplateReference__context }}",
        "{{ cycler.__init__ }}",
        "{{ file.update({'name': 1}) }}",
        "{{ file.keys() }}",
        "{{ file['__class__'] }}",
        "{{ 'a'['upper'] }}",
        "{{ 'a'['__class__'] }}",
        "{{ list | map(attribute='__class__') | first }}",
        "{{ [file] | map(attribute='keys') | first }}",
        "{{ '{0.__class__}'.format(1) }}",
        "{{ 'x' | attr('__class__') }}",
        "{{ list.append(1) }}",
    ],
)
def test_python_objects_cannot_be_reached(source: str) -> None:
    with pytest.raises(SpecError):
        evaluate(template(source), SCOPE, quoting=Quoting.POSIX)


@given(st.text(st.sampled_from("{}%# '\"\\|.()[]~+*topfilename12\n"), max_size=40))
def test_any_text_is_evaluated_or_refused(source: str) -> None:
    found = check(template(source), NAMES, quoting=Quoting.POSIX)
    try:
        made = evaluate(template(source), SCOPE, quoting=Quoting.POSIX)
    except SpecError as error:
        assert error.problems
        assert all(problem.where for problem in error.problems)
    else:
        assert isinstance(made, str | Text)
    assert all(problem.where is not None for problem in found)


def test_jinja_is_imported_on_first_use() -> None:
    script = (
        "import sys, batchspec.spec.template as t\n"
        "from batchspec.diagnostics import Place\n"
        "from batchspec.spec.values import Template\n"
        "assert t.evaluate(Template('plain', Place('f', 1, 1)), {}) == 'plain'\n"
        "assert 'jinja2' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
