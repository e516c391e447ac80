"""The live view on terminals of 80x24 and 120x40."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from batchspec.apply import events as e
from batchspec.apply.events import Stamped
from batchspec.render.progress.live import LiveView, console_on
from batchspec.render.progress.live_frame import Size, frame
from batchspec.render.progress.state import LiveState
from batchspec.render.style import ASCII, UNICODE, Symbols
from tests.render import golden
from tests.render.recordings import RECORDINGS, START
from tests.render.terminal import Terminal

SIZES = {"80x24": (80, 24), "120x40": (120, 40)}


class Player:
    """Plays a recording on a terminal; the clock is the event's."""

    def __init__(self, columns: int, rows: int, symbols: Symbols = UNICODE) -> None:
        self.terminal = Terminal(columns, rows)
        self.console: Console = console_on(self.terminal, {}, width=columns, height=rows)
        self.now: datetime = START
        self.view = LiveView(self.console, lambda: self.now, symbols, refreshing=False)

    def play(self, stream: list[Stamped]) -> None:
        for stamped in stream:
            self.now = stamped.at
            self.view(stamped)

    def refresh(self) -> str:
        self.view.refresh()
        return self.terminal.screen

    def resize(self, columns: int, rows: int) -> None:
        self.terminal.columns, self.terminal.rows = columns, rows
        self.console.size = (columns, rows)  # type: ignore[assignment]


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("size", SIZES)
def test_screens(name: str, size: str) -> None:
    stream, player = RECORDINGS[name], Player(*SIZES[size])
    shots = []
    marks = sorted({len(stream) * part // 4 for part in range(1, 4)})
    for begin, end in zip([0, *marks], [*marks, len(stream)], strict=True):
        player.play(stream[begin:end])
        if end < len(stream):
            shots.append(f"── after event {end} ──\n{player.refresh()}")
    player.view.close()
    shots.append(f"── closed ──\n{player.terminal.screen}")
    assert not player.terminal.wrapped
    assert player.terminal.cursor_shown
    golden.check(f"{name}.live.{size}.txt", "\n".join(shots))


def test_ascii() -> None:
    player = Player(80, 24, ASCII)
    player.play(RECORDINGS["good"][:26])
    screen = player.refresh()
    assert screen.isascii()
    golden.check("good.live.ascii.txt", screen)


@pytest.mark.parametrize("name", RECORDINGS)
@pytest.mark.parametrize("width", [20, 39, 60, 80, 200])
@pytest.mark.parametrize("height", [4, 10, 24])
def test_every_frame_fits(name: str, width: int, height: int) -> None:
    state = LiveState()
    stream = RECORDINGS[name]
    every = max(len(stream) // 25, 1)
    for number, stamped in enumerate(stream):
        state.add(stamped)
        if number % every == 0:
            lines = frame(state, stamped.at, Size(width, height), UNICODE)
            assert len(lines) < height
            assert max(line.cell_len for line in lines) <= width


def test_failures_stay_above_the_region_once() -> None:
    player = Player(80, 24)
    for stamped in RECORDINGS["failed-task"]:
        player.now = stamped.at
        player.view(stamped)
        player.refresh()
    player.view.close()
    screen = player.terminal.screen
    assert screen.count("UnicodeDecodeError") == 1
    assert screen.count("submit tasks of count") == 1
    assert screen.index("UnicodeDecodeError") < screen.index("submit tasks of count")


def test_a_question_removes_the_region() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["good"][:20])
    player.refresh()
    with player.view.paused():
        assert player.terminal.cursor_shown
        assert "container" not in player.terminal.screen
        player.console.file.write("Delete it? [Y/n] y\n")
    screen = player.refresh()
    assert screen.startswith("Delete it? [Y/n] y\n")
    assert "create container input" in screen


def test_failures_during_a_question_are_printed_after_it() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["failed-task"][:5])
    player.refresh()
    with player.view.paused():
        player.play(RECORDINGS["failed-task"][5:8])
        assert not player.terminal.screen.strip()
    screen = player.refresh()
    assert "UnicodeDecodeError" in screen
    assert "wait for tasks of topn" in screen


def test_a_resize_during_the_run() -> None:
    player = Player(120, 40)
    stream = RECORDINGS["large"]
    player.play(stream[:150])
    player.refresh()
    player.resize(60, 12)
    player.play(stream[150:])
    player.refresh()
    assert all(len(line) <= 60 for line in player.terminal.visible)
    player.resize(100, 30)
    player.view.close()
    assert player.terminal.cursor_shown


def test_elapsed_time_increases_between_events() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["good"][:27])
    assert "limit in 29m 59s" in player.refresh()
    player.now += timedelta(seconds=61)
    assert "limit in 28m 58s" in player.refresh()


def test_a_run_without_an_end_leaves_no_spinner() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["good"][:12])
    assert set(UNICODE.spinner) & set(player.refresh())
    player.view.close()
    player.view.close()
    assert player.terminal.cursor_shown
    assert not set(UNICODE.spinner) & set(player.terminal.screen)


def test_events_after_close_do_not_show_the_region_again() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["good"])
    player.view.close()
    before = player.terminal.screen
    player.view(Stamped(999, player.now, e.StepStarted("late", "create", "pool late")))
    player.view.close()
    assert player.terminal.screen == before


def test_the_region_redraws_automatically() -> None:
    """rich redraws on a thread; the test waits for the condition."""
    terminal = Terminal(80, 24)
    console = console_on(terminal, {}, width=80, height=24)
    drawn: list[datetime] = []

    def now() -> datetime:
        drawn.append(START)
        return START

    view = LiveView(console, now, UNICODE)
    view(RECORDINGS["good"][0])
    try:
        until = time.monotonic() + 20
        while len(drawn) < 4 and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        view.close()
    assert len(drawn) >= 4


def test_a_running_step_is_never_folded() -> None:
    state = LiveState()
    state.add(Stamped(1, START, e.StepStarted("first", "upload", "files to input", 9)))
    for number in range(50):
        done = e.StepDone(f"{number}", "create", f"container c{number}", 1, 1.0)
        state.add(Stamped(number + 2, START, done))
    lines = [line.plain for line in frame(state, START, Size(80, 12), UNICODE)]
    assert any("upload files to input" in line for line in lines)
    assert any("done" in line for line in lines)
    assert any("container c49" in line for line in lines)
    assert not any("container c0 " in line for line in lines)
