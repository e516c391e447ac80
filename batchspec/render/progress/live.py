"""The live view: a screen while the run goes, and its last frame after it.

Events arrive on one thread; another one draws. The state is changed and formatted under one lock;
the terminal is written to under another, so that a terminal that does not read does not stop the
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
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.output import wrap
from batchspec.render.progress.live_frame import Size, closing_frame, frame, pause_frame
from batchspec.render.progress.screen import FRAMES_PER_SECOND, Screen
from batchspec.render.progress.state import FailureGroup, LiveState
from batchspec.render.run_text import tail_lines
from batchspec.render.style import Symbols, wants_color


def console_on(
    stream: TextIO,
    environ: Mapping[str, str],
    *,
    width: int | None = None,
    height: int | None = None,
) -> Console:
    """A console on a stream that is treated as a terminal; the default size is the stream's.

    Colours are the 16 of the terminal by name, which its theme makes legible on light and dark.
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
                # The terminal was closed; the signal that reports it stops the run.
                return
            except BaseException:
                self._screen.leave()
                raise
            if self._stop.wait(1 / FRAMES_PER_SECOND):
                return

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the screen until the end, so that a question can be asked, or the user look."""
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
