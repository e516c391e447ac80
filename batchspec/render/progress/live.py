"""The live view: a screen during the run, and its last frame after it.

Events arrive on one thread; another one draws. One lock protects the state while it is changed and
formatted; another protects writes to the terminal, so that a blocked terminal does not stop the
run.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Event, Lock, Thread
from typing import TextIO, cast

from rich.console import Console
from rich.text import Text

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.diagnostics import Diagnostic
from batchspec.frozen import frozen
from batchspec.plan import Verb
from batchspec.plan.observed import AccountNames
from batchspec.render import run_text, units
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.output import Symbols, flat, wants_color, wrap
from batchspec.render.progress import live_tasks
from batchspec.render.progress.live_tasks import bar, cut, flowed, sides
from batchspec.render.progress.screen import FRAMES_PER_SECOND, Screen
from batchspec.render.progress.state import FailureGroup, LiveState, StepRow
from batchspec.render.report import StepState
from batchspec.render.run_text import account_line, phrase, tail_lines

_MOVING = frozenset({Verb.UPLOAD, Verb.DOWNLOAD, Verb.SUBMIT})
"""The verbs with a bar from the start; other steps get a bar with their first progress event."""
_ELAPSED = 8
_MIN_BAR = 12
"""The shortest bar; if there is less room beside the figures, they are on the line below."""


class StepRows:
    """Formats the steps at a moment as lines of a width."""

    def __init__(self, state: LiveState, now: datetime, width: int, symbols: Symbols) -> None:
        self._state, self._now, self._width, self._symbols = state, now, width, symbols
        self._column = max(min(width * 2 // 5, 44), 12)

    def lines(self, height: int | None) -> Iterator[Text]:
        """All steps in ``height`` lines; if necessary, one line counts the first finished steps."""
        rows = list(self._state.rows.values())
        drawn = {row.step: self._row(row) for row in rows}
        pending = (self._state.run.steps if self._state.run else 0) - len(rows)
        last = [Text(f"  {units.counted(pending, 'step')} pending", "dim")]
        if pending <= 0 or self._state.over:
            last = []
        folded = [] if height is None else self._folded(rows, drawn, height - len(last))
        if folded:
            done = sum(row.state is StepState.DONE for row in folded)
            others = len(folded) - done
            text = f"{done:,} done" + (f", {others:,} not done" if others else "")
            yield Text(f"{self._symbols.done} {text}", "dim")
        counted = {row.step for row in folded}
        for row in rows:
            if row.step not in counted:
                yield from drawn[row.step]
        yield from last

    @staticmethod
    def _folded(rows: list[StepRow], drawn: dict[str, list[Text]], height: int) -> list[StepRow]:
        """The finished steps that are only counted, so that the others fit into the height."""
        needed = sum(len(text) for text in drawn.values())
        folded: list[StepRow] = []
        for row in rows:
            # The count itself needs a line.
            if needed + bool(folded) <= height:
                break
            if row.state is not StepState.RUNNING:
                folded.append(row)
                needed -= len(drawn[row.step])
        return folded

    def _row(self, row: StepRow) -> list[Text]:
        """A step; on a narrow terminal its figures are on a second line."""
        text = self._name(row)
        room = self._width - text.cell_len - _ELAPSED
        if row.state is StepState.SKIPPED:
            return [text.append_text(self._result(row, self._width - text.cell_len))]
        took = (self._now - row.began).total_seconds()
        right = Text(units.duration(took if row.state is StepState.RUNNING else row.seconds), "dim")
        below: list[Text] = []
        if row.state is not StepState.RUNNING:
            text.append_text(self._result(row, room))
        elif self._moves(row):
            figures = [*self._figures(row)]
            facts = self._symbols.dot.join(figures)
            cells = min(room - len(facts) - 3, 40)
            own_line = cells < _MIN_BAR
            cells = max(room - 1, 0) if own_line else cells
            if not row.growing:
                share = run_text.progress_share(self._progress(row))
                text.append_text(bar(*share, cells, self._symbols))
            if own_line:
                entries = (Text(figure, "dim") for figure in figures)
                below = [*flowed(entries, self._symbols.dot, self._width, 4)]
            else:
                text.append(f"  {facts}")
        return [sides(text, right, self._width, self._symbols), *below]

    def _name(self, row: StepRow) -> Text:
        symbols = self._symbols
        since = (self._now - (self._state.began or self._now)).total_seconds()
        symbol, style = {
            StepState.RUNNING: (symbols.spinner[int(since * 8) % len(symbols.spinner)], "cyan"),
            StepState.DONE: (symbols.done, "green"),
            StepState.FAILED: (symbols.failed, "bold red"),
            StepState.SKIPPED: (symbols.skipped, "dim"),
        }[row.state]
        if row.state is StepState.RUNNING and self._state.over:
            symbol, style = symbols.skipped, "yellow"
        colored = row.state in {StepState.FAILED, StepState.SKIPPED}
        name = Text(phrase(row.verb, row.subject), style if colored else "")
        name = cut(name, self._column, symbols)
        name.pad_right(self._column - name.cell_len)
        return Text().append(f"{symbol} ", style).append_text(name).append("  ")

    def _result(self, row: StepRow, room: int) -> Text:
        if row.state is StepState.FAILED:
            return cut(Text(flat(row.note), "red"), room, self._symbols)
        if row.state is StepState.DONE:
            return cut(Text(", ".join(_done_facts(row)), "dim"), room, self._symbols)
        names = {r.step: phrase(r.verb, r.subject) for r in self._state.rows.values()}
        return cut(Text(run_text.skipped_text(row.note, names), "dim"), room, self._symbols)

    @staticmethod
    def _progress(row: StepRow) -> events.StepProgress:
        return events.StepProgress(row.step, row.done, row.items, row.moved, row.size)

    def _moves(self, row: StepRow) -> bool:
        if self._state.over:
            return False
        return bool(row.size) or (row.items > 1 and (row.verb in _MOVING or row.done > 0))

    def _figures(self, row: StepRow) -> Iterator[str]:
        """Progress, rate and time left."""
        item = run_text.item_noun(row.verb, row.subject)
        if row.growing:
            yield f"{units.counted(row.done, item)} so far"
            yield units.size(row.moved)
            return
        if row.size:
            yield units.amount(row.moved, row.size)
        if row.items > 1:
            yield f"{row.done:,}/{units.counted(row.items, item)}"
        speed = row.rate.per_second(self._now)
        if speed is not None:
            yield units.byte_rate(speed) if row.size else units.rate(speed, f"{item}s")
            _, total = run_text.progress_share(self._progress(row))
            left = row.rate.seconds_left(self._now, total)
            yield f"time left {units.estimate(left or None)}"


def _done_facts(row: StepRow) -> Iterator[str]:
    if row.items > 1:
        yield units.counted(row.items, run_text.item_noun(row.verb, row.subject))
    if row.size:
        yield units.size(row.size)
    if row.note:
        yield flat(row.note)


@frozen
class Size:
    """Columns and lines of the terminal."""

    width: int
    height: int


_FEWEST_STEPS = 3
"""Minimum lines for steps, if the terminal is high enough."""
_ORDER = ("tasks", "nodes", "longest", "failed", "waits", "notes")
"""The parts below the steps, from top to bottom."""
_SHORTENED = ("notes", "longest", "nodes", "failed", "waits", "tasks")
"""The parts in the order in which they lose lines on a terminal that is not high enough."""


def frame(state: LiveState, now: datetime, size: Size, symbols: Symbols) -> list[Text]:
    """The view at ``now``; its lines fit into the width and the height."""
    if state.began is None:
        return []
    width = size.width
    parts = {
        "tasks": [*live_tasks.tasks_lines(state, now, width, symbols)],
        "nodes": [*live_tasks.nodes_lines(state, now, width, symbols)],
        "longest": [*live_tasks.longest_lines(state, now, width, symbols)],
        "failed": [*live_tasks.failures_lines(state, width, symbols)],
        "waits": [*live_tasks.waits_lines(state, now, width)],
        "notes": [*live_tasks.notes_lines(state, width)],
    }
    room = size.height - 1 - _FEWEST_STEPS
    below = _fitting(parts, room)
    step_lines = max(size.height - 1 - len(below), 1)
    lines = [_header(state, now, width, symbols)]
    lines += StepRows(state, now, width, symbols).lines(step_lines)
    return _cropped([*lines, *below][: size.height], width)


def closing_frame(state: LiveState, now: datetime, width: int, symbols: Symbols) -> list[Text]:
    """The text that stays on the terminal after the run: every step. The summary has the totals."""
    if state.began is None:
        return []
    lines = [_header(state, now, width, symbols)]
    lines += StepRows(state, now, width, symbols).lines(None)
    return _cropped(lines, width)


def pause_frame(state: LiveState, now: datetime, width: int, symbols: Symbols) -> list[Text]:
    """The text on the terminal during a pause: the tasks."""
    return _cropped([*live_tasks.tasks_lines(state, now, width, symbols)], width)


def _fitting(parts: dict[str, list[Text]], room: int) -> list[Text]:
    """The parts, each after an empty line if there is room, shortened to fit otherwise."""

    def taken() -> int:
        return sum(len(lines) for lines in parts.values())

    for least in (1, 0):
        for name in _SHORTENED:
            while taken() > room and len(parts[name]) > least:
                parts[name].pop()
    shown = [parts[name] for name in _ORDER if parts[name]]
    apart = taken() + len(shown) <= room
    return [line for lines in shown for line in ([Text()] if apart else []) + lines]


def _cropped(lines: list[Text], width: int) -> list[Text]:
    for line in lines:
        line.truncate(width, overflow="crop")
    return lines


def _header(state: LiveState, now: datetime, width: int, symbols: Symbols) -> Text:
    """The spec, the account and the elapsed time."""
    text = Text()
    if state.run is not None:
        run = state.run
        account = AccountNames(run.target, _bare(run.batch), _bare(run.storage))
        text.append(flat(run.name), "bold").append(f" on {account_line(account)}", "dim")
    began = state.began or now
    took = state.end.seconds if state.end else (now - began).total_seconds()
    return sides(text, Text(units.duration(took), "bold"), width, symbols)


def _bare(address: str) -> str:
    """An address without its scheme, to keep the header short; the plan shows it in full."""
    return address.removeprefix("https://").removeprefix("http://").rstrip("/")


def console_on(
    stream: TextIO,
    environ: Mapping[str, str],
    *,
    width: int | None = None,
    height: int | None = None,
) -> Console:
    """A console on a stream that is treated as a terminal; the default size is the stream's.

    Colours are the 16 named colours of the terminal; its theme makes them legible on light and
    dark.
    """
    return Console(
        file=stream,
        force_terminal=True,
        force_interactive=True,
        color_system="standard",
        width=width,
        height=height,
        no_color=not wants_color(stream, environ),
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
        _environ=dict(environ),
    )


class LiveView:
    """Shows a run on a terminal. ``refreshing`` is off in tests, which call :meth:`refresh`."""

    def __init__(
        self,
        console: Console,
        now: Callable[[], datetime],
        symbols: Symbols,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        refreshing: bool = True,
    ) -> None:
        self._console, self._now, self._symbols = console, now, symbols
        self._encoder = Console(
            file=io.StringIO(),
            force_terminal=True,
            color_system="standard",
            no_color=console.no_color,
            legacy_windows=False,
        )
        self._refreshing = refreshing
        self._state = LiveState()
        self._screen = Screen(cast(TextIO, console.file), monotonic)
        self._lock, self._writing = Lock(), Lock()
        self._unprinted: list[Diagnostic] = []
        self._printed: list[FailureGroup] = []
        self._closed = self._paused = False
        self._stop = Event()
        self._thread: Thread | None = None

    def __call__(self, stamped: Stamped) -> None:
        with self._lock:
            self._state.add(stamped)
        match stamped.event:
            case events.Noticed(problem) | events.StepFailed(problem=problem):
                self._unprinted.append(problem)
        if self._refreshing and self._thread is None and not self._closed:
            self._thread = Thread(target=self._refresh_until_closed, name="screen", daemon=True)
            self._thread.start()

    def refresh(self) -> None:
        """Draw now, unless the bound on the output does not allow it yet."""
        with self._writing:
            if self._paused or self._closed or not self._screen.due:
                return
            width, height = self._console.size
            with self._lock:
                lines = frame(self._state, self._now(), Size(width, height), self._symbols)
            self._screen.draw([self._encoded(line) for line in lines], (width, height))

    def _refresh_until_closed(self) -> None:
        while True:
            try:
                self.refresh()
            except OSError:
                # The terminal was closed; its signal stops the run.
                return
            except BaseException:
                self._screen.leave()
                raise
            if self._stop.wait(1 / FRAMES_PER_SECOND):
                return

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the screen from now on, for a question, or for the user to look."""
        with self._writing:
            before, self._paused = self._paused, True
            self._screen.leave()
        with self._lock:
            tasks = pause_frame(self._state, self._now(), self._console.width, self._symbols)
        self._print([*self._diagnostics(), *self._failures(), *tasks])
        try:
            yield
        finally:
            self._paused = before

    def close(self) -> None:
        """Leave the screen and print every step, the tasks and the failures by cause."""
        self._stop.set()
        with self._writing:
            if self._closed:
                return
            self._closed = True
            self._screen.leave()
        with self._lock:
            self._state.closed = True
            width = self._console.width
            lines = closing_frame(self._state, self._now(), width, self._symbols)
        self._print([*self._diagnostics(), *self._failures(), *lines])

    def _encoded(self, line: Text) -> str:
        """A line with its colours as escape sequences."""
        with self._encoder.capture() as captured:
            self._encoder.print(line, end="", no_wrap=True, overflow="ignore", crop=False)
        return captured.get()

    def _diagnostics(self) -> Iterator[Text]:
        """The diagnostics since the last call, in full."""
        problems, self._unprinted = self._unprinted, []
        for problem in problems:
            yield from self._diagnostic(problem)

    def _failures(self) -> Iterator[Text]:
        """Failures by cause, each with the last lines of stderr of one of them, if they changed."""
        groups = self._state.failures()
        if groups == self._printed:
            return
        self._printed = groups
        for group in groups:
            yield Text(group.text(), "bold red")
            yield from (Text(line, "dim") for line in tail_lines(group.stderr))

    def _print(self, lines: Sequence[Text]) -> None:
        if lines:
            self._console.print(*lines, sep="\n", overflow="fold", soft_wrap=False)

    def _diagnostic(self, problem: Diagnostic) -> list[Text]:
        width = self._console.width
        text = diagnostic_text(problem, color=True, width=width)
        lines = (Text.from_ansi(line) for line in text.splitlines())
        return [part for line in lines for part in _wrapped(line, width)]


def _wrapped(line: Text, width: int) -> Iterator[Text]:
    """A line in parts that fit, each with the indentation of the first."""
    plain = line.plain
    indent = len(plain) - len(plain.lstrip())
    starts, at = [], 0
    for part in wrap(plain.strip(), width - indent):
        at = plain.index(part, at)
        starts.append(at)
        at += len(part)
    for number, text in enumerate(line.divide(starts[1:])):
        text.rstrip()
        yield text if number == 0 else Text(" " * indent).append_text(text)
