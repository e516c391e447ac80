"""Diagnostics as text: place, source line, caret, hint."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batchspec.apply.monitor import CAUSES
from batchspec.cli.error_codes import GROUPS
from batchspec.cloud.errors import TABLE
from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.plan import RULES
from batchspec.plan.failures import RESIZE_FIX
from batchspec.render import diagnostic_json, diagnostics_text
from batchspec.render.diagnostics import diagnostic_text

LINE = "  vm_sise: standard_d2s_v5"


def at(text: str, mark: str, **more: str) -> Diagnostic:
    column = text.index(mark) + 1
    return Diagnostic("code", "summary", where=Place("a.yaml", 7, column, text, len(mark)), **more)


def test_all_parts() -> None:
    problem = Diagnostic(
        "unknown-key",
        "unknown key `vm_sise` in `pool`",
        detail="A pool has no such property.",
        where=Place("specs/topn.yaml", 12, 3, LINE, 7),
        fix="Did you mean `vm_size`?",
        request_id="abc-1",
    )
    assert diagnostic_text(problem).splitlines() == [
        "specs/topn.yaml:12:3: error: unknown key `vm_sise` in `pool` [unknown-key]",
        "  12 |   vm_sise: standard_d2s_v5",
        "     |   ^^^^^^^",
        "  A pool has no such property.",
        "  request id: abc-1",
        "  fix: Did you mean `vm_size`?",
    ]


def test_without_a_place() -> None:
    problem = Diagnostic("unreachable", "no answer", severity=Severity.WARNING)
    assert diagnostic_text(problem) == "warning: no answer [unreachable]"


@pytest.mark.parametrize(
    ("text", "mark", "caret"),
    [
        ("\tkey: x", "key", "    ^^^"),
        ("a\tkey", "key", "     ^^^"),
        ("名前: 値", "値", "      ^^"),
        ("e\u0301: key", "key", "   ^^^"),
        ("😀 key", "key", "   ^^^"),
        ("a\x1b[31mkey", "key", "      ^^^"),
        ("key   ", "key", "^^^"),
    ],
)
def test_the_caret_is_below_the_marked_text(text: str, mark: str, caret: str) -> None:
    lines = diagnostic_text(at(text, mark)).splitlines()
    assert lines[2].partition("| ")[2] == caret


def test_a_mark_after_the_end_of_the_line() -> None:
    lines = diagnostic_text(Diagnostic("c", "s", where=Place("a", 1, 99, "key:", 5))).splitlines()
    assert lines[1:] == ["   1 | key:", "     |     ^"]


@settings(deadline=None)
@given(
    text=st.text(max_size=400).filter(lambda text: "\n" not in text),
    column=st.integers(1, 500),
    length=st.integers(0, 500),
    width=st.integers(40, 200),
)
def test_any_source_line_can_be_shown(text: str, column: int, length: int, width: int) -> None:
    problem = Diagnostic("c", "s", where=Place("a", 1, column, text, length))
    for line in diagnostic_text(problem, width=width).split("\n"):
        assert not any(unicodedata.category(c) == "Cc" for c in line)


@settings(deadline=None)
@given(before=st.text("ab名\t", max_size=300), after=st.text("ab名", max_size=300))
def test_a_long_line_is_cut_around_its_mark(before: str, after: str) -> None:
    text = f"{before}KEY{after}"
    where = Place("a", 1, len(before) + 1, text, 3)
    _, source, caret = diagnostic_text(Diagnostic("c", "s", where=where), width=72).split("\n")
    shown = source.partition("| ")[2]
    assert "KEY" in shown
    position = sum(2 if c == "名" else 1 for c in shown[: shown.index("KEY")])
    assert caret.partition("| ")[2] == " " * position + "^^^"


def test_the_longest_line_is_cut_in_linear_time() -> None:
    """A spec can have a line of a million characters; quadratic time is hours."""
    text = "x: " + "y" * 1_000_000
    where = Place("a.yaml", 1, 4, text, 1_000_000)
    shown = diagnostic_text(Diagnostic("code", "summary", where=where))
    assert max(map(len, shown.splitlines())) <= 100


def test_several_diagnostics_are_counted() -> None:
    problems = [
        at(LINE, "vm_sise"),
        Diagnostic("x", "y"),
        Diagnostic("z", "w", severity=Severity.NOTE),
    ]
    text = diagnostics_text(problems)
    assert text.endswith("\n\n2 errors, 1 note")
    assert diagnostics_text(problems[1:2]) == "error: y [x]"


def test_color_adds_only_escape_sequences() -> None:
    problem = at(LINE, "vm_sise", fix="h", detail="d\n\ne")
    colored = diagnostic_text(problem, color=True)
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == diagnostic_text(problem)


def test_escape_sequences_in_texts_are_removed() -> None:
    text = diagnostic_text(
        Diagnostic("x", "a\x1b[2Jb", detail="c\x07d\x1b]0;title\x07", fix="e\rf")
    )
    assert not set(text) & set("\x1b\x07\r")
    assert "ab" in text


def test_json() -> None:
    problem = at(LINE, "vm_sise", fix="h")
    assert json.loads(json.dumps(diagnostic_json(problem))) == {
        "code": "code",
        "severity": "error",
        "message": "summary",
        "where": {"file": "a.yaml", "line": 7, "column": 3, "length": 7},
        "hint": "h",
    }
    assert diagnostic_json(Diagnostic("x", "y"))["where"] is None


@pytest.mark.parametrize(
    "fix",
    [
        "Stop it first.",
        "`-y` means yes.",
        "https:// and the name of the account",
        "vm_size is missing",
        "top is a parameter",
        "python run.py --all",
        "az login",
        "batchspec local stop",
    ],
)
def test_a_fix_is_shown_as_it_is_written(fix: str) -> None:
    assert diagnostic_text(Diagnostic("x", "y", fix=fix)).splitlines()[-1] == f"  fix: {fix}"


_ROOT = Path(__file__).parents[1]
_SHOWN_FIX = re.compile(r"^\s*fix: (.*)$", re.MULTILINE)
_START = re.compile(r"[A-Z`]")
_CAPITALIZED_COMMAND = re.compile(
    r"`(Batchspec|Az|Curl|Python3?|Pip|Npm|Chmod|Rm|Export|Unset|Dos2unix|Iconv) "
)


def golden_fixes() -> dict[str, str]:
    """Each fix in the expected messages of the tests, and a file that contains it."""
    found: dict[str, str] = {}
    for folder in ("spec/cases", "plan/cases", "cli/golden", "render/golden"):
        for path in sorted((_ROOT / folder).glob("*.txt")):
            for match in _SHOWN_FIX.finditer(path.read_text(encoding="utf-8")):
                found.setdefault(match[1], f"{folder}/{path.name}")
    return found


def test_a_fix_starts_with_a_capital_or_with_code() -> None:
    fixes = golden_fixes()
    assert len(fixes) > 200, "the pattern finds the fixes"
    assert [f"{path}: {fix}" for fix, path in fixes.items() if not _START.match(fix)] == []
    rules = [(rule.code, rule.fix) for rule in RULES.values()]
    causes = [(cause.code, cause.action) for cause in CAUSES.values()]
    commands = [(each.code, each.fix) for group in GROUPS for each in group.codes]
    services = [(code, fix) for code, (_, fix) in TABLE.items()]
    resizes = list(RESIZE_FIX.items())
    written = [*rules, *causes, *commands, *services, *resizes]
    assert [f"{code}: {fix}" for code, fix in written if fix and not _START.match(fix)] == []


def test_no_command_is_capitalized() -> None:
    found = [fix for fix in golden_fixes() if _CAPITALIZED_COMMAND.search(fix)]
    assert found == []
