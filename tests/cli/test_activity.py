"""The line that shows the activity of a command until its first output."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from batchspec.cli.console import clear_activity, out, show_activity
from tests.cli.conftest import Workplace
from tests.e2e.terminal import answered
from tests.render.terminal import Terminal


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal(40, 5)
    # Between the phases of a test, pytest replaces the streams of `sys`.
    monkeypatch.setattr("batchspec.cli.console.sys", SimpleNamespace(stderr=terminal))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr("time.monotonic", lambda: 7.0)
    clear_activity()
    terminal.written = ""
    return terminal


def test_the_line_is_replaced_by_the_next_and_by_output(terminal: Terminal) -> None:
    show_activity("reading files of input")
    assert terminal.screen == "reading files of input ...\n"
    show_activity("listing blobs of input", "2,000")
    assert terminal.screen == "listing blobs of input: 2,000 ...\n"
    out("Nothing to do.")
    assert terminal.screen == "\n"


def test_a_long_subject_stays_on_one_line(terminal: Terminal) -> None:
    show_activity("reading " + "x" * 90)
    assert len(terminal.visible[0]) == 39
    clear_activity()
    assert terminal.screen == "\n"


def test_counts_are_written_at_most_ten_times_a_second(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    for tick in range(1000):
        monkeypatch.setattr("time.monotonic", lambda tick=tick: 7 + tick / 1000)
        show_activity("reading files", f"{tick}")
    assert terminal.written.count("\r") <= 11


@pytest.mark.parametrize("term", ["dumb", None])
def test_nothing_is_written_without_a_terminal(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, term: str | None
) -> None:
    if term is None:
        monkeypatch.setattr(terminal, "isatty", lambda: False)
    else:
        monkeypatch.setenv("TERM", term)
    show_activity("reading files")
    assert terminal.written == ""


def test_a_plan_shows_its_activity_and_removes_the_line(near: Workplace) -> None:
    code, text = answered(near, [], "plan", near.spec, term="xterm")
    assert code == 0
    names = ["reading topn.yaml", "reading files of", "reading the account", "comparing the spec"]
    places = [text.index(name) for name in names]
    assert places == sorted(places)
    terminal = Terminal(100, 60)
    terminal.write(text)
    assert not [name for name in names if name in terminal.screen]
