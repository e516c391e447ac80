"""A lookup without Jinja has the result of Jinja."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.diagnostics import Place
from batchspec.spec import BlobUrl, Quoting, Record, Template
from batchspec.spec.template import VALUE, Names, is_simple_and_valid, looked_up, parts, sandbox
from batchspec.spec.template_syntax import problems_of

SCOPE = {
    "a": "one",
    "b": Record(c=2, d=Record(e="three"), **{"with space": "x"}),
    "files": ("x", "y"),
    "url": BlobUrl("output"),
    "upper": "a name, and a method",
}
NAMES = Names(
    {
        "a": VALUE,
        "b": Names({"c": VALUE, "d": Names({"e": VALUE})}),
        "files": Names(open=True),
        "url": VALUE,
        "upper": VALUE,
    }
)
PIECES = st.sampled_from(
    [
        *("{{ a }}", "{{a}}", "{{ b.c }}", "{{ b['d'].e }}", '{{ b["c"] }}', "{{ b . c }}"),
        *("{{ url }}", "{{ files }}", "{{ nope }}", "{{ b.nope }}", "{{ a.upper }}", "{{ upper }}"),
        *("{{ a | upper }}", "{{ true }}", "{{ not }}", "{{ b.in }}", "{{- a }}", "{{ a", "}}"),
        *("{{ '{{' }}", "{{ 1 }}", "{{ b[0] }}", "{{ b['with space'] }}", "{{ a\n}}", "{{}}"),
        *(
            "{% if a %}",
            "{# a #}",
            "${#list}",
            "text ",
            "'",
            '"',
            "\\",
            "\n",
            "\r\n",
            "{",
            "ü",
            "#",
        ),
    ]
)
TEMPLATES = st.lists(PIECES, min_size=1, max_size=5).map("".join)


def said(yielded: Iterable[object]) -> list[object]:
    """The parts with adjacent strings joined; opaque values by their content."""
    found: list[object] = []
    for part in yielded:
        if isinstance(part, str) and found and isinstance(found[-1], str):
            found[-1] += part
        elif isinstance(part, tuple):
            found.append((getattr(part[0], "value", part[0]),))
        elif part:
            found.append(part)
    return found


@settings(max_examples=300)
@given(TEMPLATES)
def test_the_same_parts(source: str) -> None:
    simple = parts(source)
    found = None if simple is None else looked_up(simple, SCOPE)
    if found is not None:
        assert said(found) == said(sandbox().renderer(source)(SCOPE))


@settings(max_examples=300)
@given(TEMPLATES, st.sampled_from([None, *Quoting]))
def test_accepted_templates_have_no_problems_in_jinja(source: str, quoting: Quoting | None) -> None:
    if is_simple_and_valid(source, NAMES, quoting):
        assert problems_of(Template(source, Place("f", 1, 1, source)), NAMES, quoting) == ()


@pytest.mark.parametrize(
    "source",
    ["plain", "{{ a }}", "run {{ a }} > {{ b.d.e }}.txt", "{{ b['c'] }}", "{{ files }}", "{}"],
)
def test_common_templates_need_no_jinja(source: str) -> None:
    simple = parts(source)
    assert simple is not None
    assert looked_up(simple, SCOPE) is not None
    assert is_simple_and_valid(source, NAMES, Quoting.POSIX)


@pytest.mark.parametrize("source", ["{{ nope }}", "{{ b.nope }}", "{{ a.upper }}"])
def test_unknown_names_need_jinja(source: str) -> None:
    simple = parts(source)
    assert simple is not None
    assert looked_up(simple, SCOPE) is None
    assert not is_simple_and_valid(source, NAMES, None)
