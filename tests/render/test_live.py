"""The live view on terminals of four sizes."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest
from rich.console import Console

from batchspec.apply import events as e
from batchspec.apply.events import Stamped
from batchspec.render.output import ASCII, UNICODE, Symbols
from batchspec.render.progress.live import LiveView, Size, console_on, frame
from batchspec.render.progress.screen import BYTES_PER_SECOND, FRAMES_PER_SECOND
from batchspec.render.progress.state import LiveState
from tests.render import golden
from tests.render.recordings import RECORDINGS, START
from tests.render.terminal import Terminal

SIZES = {"60x20": (60, 20), "80x24": (80, 24), "120x40": (120, 40), "200x50": (200, 50)}


class Player:
    """Plays a recording on a terminal; the clock is the event's."""

    def __init__(
        self,
        columns: int,
        rows: int,
        symbols: Symbols = UNICODE,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.terminal = Terminal(columns, rows)
        self.console: Console = console_on(self.terminal, environ or {}, width=columns, height=rows)
        self.now: datetime = START
        self.seconds = 0.0
        self.view = LiveView(
            self.console,
            lambda: self.now,
            symbols,
            monotonic=lambda: self.seconds,
            refreshing=False,
        )

    def play(self, stream: list[Stamped]) -> None:
        for stamped in stream:
            self.now = stamped.at
            self.view(stamped)

    def refresh(self) -> str:
        """The screen after a frame, long after the previous frame."""
        self.seconds += 10
        self.view.refresh()
        assert not self.terminal.synchronized
        return "\n".join(self.terminal.visible).rstrip("\n") + "\n"

    def resize(self, columns: int, rows: int) -> None:
        self.terminal.resize(columns, rows)
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
            assert len(lines) <= height
            assert max(line.cell_len for line in lines) <= width


def test_failures_are_one_line_on_the_screen_and_one_block_after_it() -> None:
    player = Player(80, 24)
    stream = RECORDINGS["failed-task"]
    player.play(stream[:8])
    assert player.refresh().count("exit code 1") == 1
    player.play(stream[8:])
    player.view.close()
    screen = player.terminal.screen
    assert screen.count("UnicodeDecodeError") == 1
    assert screen.count("submit tasks of count") == 1
    assert screen.index("UnicodeDecodeError") < screen.index("submit tasks of count")


def test_a_question_is_asked_on_the_primary_screen() -> None:
    player = Player(80, 24)
    player.terminal.write("$ batchspec apply topn.yaml\n")
    player.play(RECORDINGS["good"][:20])
    assert "create container input" in player.refresh()
    with player.view.paused():
        assert player.terminal.cursor_shown
        player.refresh()
        assert player.terminal.screen == "$ batchspec apply topn.yaml\n"
        player.console.file.write("Delete it? [Y/n] y\n")
    screen = player.refresh()
    assert player.terminal.alternate
    assert "create container input" in screen
    player.view.close()
    assert player.terminal.screen.startswith("$ batchspec apply topn.yaml\nDelete it? [Y/n] y\n")


def test_failures_and_totals_are_above_a_question() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["failed-task"][:11])
    player.refresh()
    with player.view.paused():
        screen = player.terminal.screen
        assert screen.startswith("1 task failed: exit code 1 (count-b-2f1c09aa)\n  | Traceback")
        assert re.search(r"\ntasks .* 3/3 +100% +1\n", screen)
    player.play(RECORDINGS["failed-task"][11:])
    player.view.close()
    assert player.terminal.screen.count("UnicodeDecodeError") == 1


def test_diagnostics_are_printed_in_full_before_a_question_and_once() -> None:
    player = Player(80, 24)
    stream = RECORDINGS["time-limit"]
    at = next(n for n, each in enumerate(stream) if isinstance(each.event, e.Noticed))
    player.play(stream[: at + 1])
    assert "notes    warning: the job 'sweep' was ended" in player.refresh()
    with player.view.paused():
        assert "fix: Give" in player.terminal.screen
    player.play(stream[at + 1 :])
    player.view.close()
    assert player.terminal.screen.count("[time-limit]") == 1


def test_resizes_leave_no_fragments() -> None:
    """The screen is correct after each resize, and no part of it is in the scrollback."""
    player = Player(120, 40)
    player.terminal.write("$ batchspec apply sweep.yaml\n")
    stream, shots = RECORDINGS["stages"], []
    for number, (columns, rows) in enumerate([(120, 40), (60, 16), (200, 50), (80, 24)]):
        player.resize(columns, rows)
        player.play(stream[number * 100 : number * 100 + 100])
        shots.append(f"── {columns}x{rows} ──\n{player.refresh()}")
        assert player.terminal.scrollback == []
    golden.check("stages.live.resized.txt", "\n".join(shots))
    player.view.close()
    screen = player.terminal.screen
    assert screen.startswith("$ batchspec apply sweep.yaml\n79 tasks failed: exit code 137")
    assert screen.count("sweep on azure") == 1


_COLOR = re.compile(r"\x1b\[(?:\d+;)*(\d+)m")


@pytest.mark.parametrize("name", RECORDINGS)
def test_colours_are_those_of_the_terminal(name: str) -> None:
    """Only the 16 colours that the user's theme defines, so light and dark are legible."""
    player = Player(80, 24)
    player.play(RECORDINGS[name])
    player.refresh()
    player.view.close()
    codes = {int(code) for code in _COLOR.findall(player.terminal.written)}
    assert codes <= {0, 1, 2, 22, *range(30, 38), 39, *range(90, 98)}


@pytest.mark.parametrize("name", RECORDINGS)
def test_no_color(name: str) -> None:
    texts = []
    for environ in ({}, {"NO_COLOR": "1"}):
        player = Player(80, 24, environ=environ)
        player.play(RECORDINGS[name][:-1])
        player.refresh()
        player.play(RECORDINGS[name][-1:])
        player.view.close()
        texts.append(player.terminal.screen)
    assert texts[0] == texts[1]
    assert {int(code) for code in _COLOR.findall(player.terminal.written)} <= {0, 1, 2}


@pytest.mark.parametrize("size", SIZES)
def test_output_is_bounded(size: str) -> None:
    """Fast changes stay within the documented maximum of bytes and frames per second."""
    stream, columns, rows = io.StringIO(), *SIZES[size]
    console = console_on(stream, {}, width=columns, height=rows)
    at = [0.0]
    now = lambda: START + timedelta(seconds=at[0])  # noqa: E731
    view = LiveView(console, now, UNICODE, monotonic=lambda: at[0], refreshing=False)
    frames = []
    for tick in range(1500):
        at[0] = tick / 25
        done = e.TasksSeen("j", 10**6, 10**6 - tick * 97 - 9, 9, tick * 96, tick, 9e3)
        nodes = e.NodesSeen("p", {"running": tick % 60, "idle": 60 - tick % 60}, 60)
        for event in (done, nodes, e.StepStarted(f"s{tick % 40}", "create", f"container {tick}")):
            view(Stamped(tick, now(), event))
        view.refresh()
        if text := stream.getvalue():
            frames.append(len(text.encode()))
            stream.seek(0)
            stream.truncate()
    assert sum(frames) <= BYTES_PER_SECOND * 60 + max(frames)
    assert 40 < len(frames) <= FRAMES_PER_SECOND * 60 + 1


def test_a_frame_of_a_quiet_run_is_small() -> None:
    """A second in which only times change."""
    player = Player(80, 24)
    player.play(RECORDINGS["stages"][:200])
    player.refresh()
    player.terminal.written = ""
    for _ in range(4):
        player.seconds += 0.25
        player.now += timedelta(seconds=0.25)
        player.view.refresh()
    assert 0 < len(player.terminal.written.encode()) < 1500


def test_a_frame_is_one_synchronized_write() -> None:
    writes: list[str] = []

    class Counting(Terminal):
        def write(self, text: str) -> int:
            writes.append(text)
            return super().write(text)

    view = LiveView(console_on(Counting(80, 24), {}), lambda: START, UNICODE, refreshing=False)
    view(RECORDINGS["good"][0])
    view.refresh()
    (text,) = writes
    assert text.startswith("\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J\x1b[?2026h")
    assert text.endswith("\x1b[?2026l")


def test_output_of_other_programs_is_overwritten() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["good"][:20])
    before = player.refresh()
    player.terminal.write("\x1b[3;1HBroadcast message from root")
    assert player.refresh() != before
    player.seconds += 30
    assert player.refresh() == before


def test_time_left_is_unknown_when_only_the_last_tasks_run() -> None:
    player = Player(80, 24)
    stream = RECORDINGS["stages"]
    waiting = [n for n, s in enumerate(stream) if getattr(s.event, "active", 0) > 10]
    player.play(stream[: waiting[-1] + 1])
    assert re.search(r"map .* 100/s +\d+s\n", player.refresh())
    player.play(stream[waiting[-1] + 1 : -2])
    screen = player.refresh()
    assert re.search(r"map .* unknown\n", screen)
    assert re.search(r"total .* unknown\n", screen)


@pytest.mark.parametrize("name", RECORDINGS)
def test_time_left_is_never_zero(name: str) -> None:
    state = LiveState()
    stream = RECORDINGS[name]
    for stamped in stream[:: max(len(stream) // 100, 1)]:
        state.add(stamped)
        for after in (0, 3, 40):
            lines = frame(state, stamped.at + timedelta(seconds=after), Size(80, 24), UNICODE)
            text = "\n".join(line.plain for line in lines)
            assert not re.search(r"left 0|\b0(\.0)?s left|/s +0", text)


def test_a_growing_total_has_no_percentage() -> None:
    player = Player(80, 24)
    player.play([Stamped(1, START, e.StepStarted("d", "download", "results from output"))])
    seen = e.StepProgress("d", 40, 41, 40_000, growing=True)
    player.play([Stamped(2, START + timedelta(seconds=5), seen)])
    screen = player.refresh()
    assert "40 files so far · 39.1 KiB" in screen
    assert UNICODE.full not in screen


def test_node_hours_and_cost_so_far() -> None:
    player = Player(80, 24)
    for hours, nodes in enumerate((4, 10, 10)):
        at = START + timedelta(hours=hours)
        seen = e.NodesSeen("p", {"idle": nodes}, 9, "standard_d2s_v5", nodes - 1, 1, at)
        player.play([Stamped(hours, at, seen)])
    screen = player.refresh()
    assert "17 node-hours" in screen, "a number that has changed is the mean"
    assert "USD" not in screen
    player.play([Stamped(8, player.now, e.PricesSeen("standard_d2s_v5", "USD", 0.5, 0.25))])
    assert "17 node-hours  8.00 USD" in player.refresh(), "15 dedicated and 2 spot"
    player.now += timedelta(hours=1)
    assert "27 node-hours  12.75 USD" in player.refresh(), "also between events"
    unknown = e.PricesSeen("standard_d2s_v5", "USD", 0.5, unknown="no row")
    player.play([Stamped(9, player.now, unknown)])
    assert "27 node-hours  cost not known" in player.refresh()


def test_the_total_is_never_less_than_the_stages() -> None:
    """The lists of stages may be newer than the counts of the job."""
    player = Player(120, 40)
    player.play(RECORDINGS["stages"][:20])
    at, seen = player.view._state.tasks["sweep"]
    ahead = {"total": 99_999, "running": 5, "succeeded": seen.succeeded + 7, "failed": seen.failed}
    player.play([Stamped(99, at, e.StagesSeen("sweep", {"map": ahead}, final=False))])
    done = f"{seen.succeeded + seen.failed + 7:,}"
    assert re.search(rf"total .* {done}/100,000", player.refresh())


def test_many_stages_are_counted() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["stages"][:20])
    done = {"total": 3, "succeeded": 3}
    runs = {"total": 3, "running": 1, "active": 2}
    stages = {f"s{n}": done if n < 9 else runs if n < 11 else {"total": 3} for n in range(40)}
    player.play([Stamped(99, player.now, e.StagesSeen("sweep", stages, final=False))])
    screen = player.refresh()
    assert "9 more stages done" in screen
    assert "29 more stages waiting" in screen
    assert [n for n in range(40) if f"\ns{n} " in screen] == [9, 10]


def test_many_stages_with_failures_are_counted() -> None:
    player = Player(80, 24)
    player.play(RECORDINGS["stages"][:20])
    failed = {"total": 3, "succeeded": 2, "failed": 1}
    runs = {"total": 3, "running": 1, "active": 2}
    stages = {f"s{n}": failed if n < 8 else runs for n in range(10)}
    player.play([Stamped(99, player.now, e.StagesSeen("sweep", stages, final=False))])
    screen = player.refresh()
    assert "4 more stages failed" in screen
    assert "running\n" not in screen
    assert [n for n in range(10) if f"\ns{n} " in screen] == [0, 1, 2, 3, 8, 9]


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
    """A thread redraws; the test waits for the condition."""
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
