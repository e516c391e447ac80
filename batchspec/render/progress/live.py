"""Updates the live view: the region at the bottom, failures above it, pauses for questions.

Events arrive on one thread; rich redraws on another. The state is changed and drawn under the lock
here; nothing is printed while it is held, because printing acquires the lock of rich.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.diagnostics import Diagnostic
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.output import wrap
from batchspec.render.progress.live_frame import Size, frame
from batchspec.render.progress.state import FailureGroups, LiveState
from batchspec.render.style import Symbols, wants_color

_FRAMES = 8
"""Frames a second: enough for the spinner, few enough for a slow connection."""


def console_on(
    stream: TextIO,
    environ: Mapping[str, str],
    *,
    width: int | None = None,
    height: int | None = None,
) -> Console:
    """A console on a stream that is treated as a terminal; the default size is the stream's."""
    return Console(
        file=stream,
        force_terminal=True,
        force_interactive=True,
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
        refreshing: bool = True,
    ) -> None:
        self._console, self._now, self._symbols = console, now, symbols
        self._refreshing = refreshing
        self._state = LiveState()
        self._lock = Lock()
        self._failures = FailureGroups()
        self._above_region: list[Text] = []
        self._closed = self._paused = False
        self._live: Live | None = None

    def __call__(self, stamped: Stamped) -> None:
        with self._lock:
            self._state.add(stamped)
        self._above_region += self._above(stamped.event)
        if self._paused:
            return
        if self._live is None and not self._closed:
            self._live = self._start()
        self._print_above()

    def refresh(self) -> None:
        """Draw now."""
        if self._live is not None:
            self._live.refresh()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Remove the region, collect lines until the end of the pause, then restore it."""
        live, self._live, self._paused = self._live, None, True
        if live is not None:
            live.transient = True
            live.stop()
        try:
            yield
        finally:
            self._paused = False
            if live is not None and not self._closed:
                self._live = self._start()
            self._print_above()

    def close(self) -> None:
        """Draw a last time, with every step on its own line, and leave it on the screen."""
        self._closed = True
        live, self._live = self._live, None
        if live is not None:
            with self._lock:
                self._state.closed = True
            live.stop()

    def _start(self) -> Live:
        live = Live(
            console=self._console,
            get_renderable=self._draw,
            auto_refresh=self._refreshing,
            refresh_per_second=_FRAMES,
            vertical_overflow="crop",
        )
        live.start(refresh=True)
        return live

    def _draw(self) -> Group:
        size = self._console.size
        with self._lock:
            height = None if self._state.closed else size.height
            return Group(*frame(self._state, self._now(), Size(size.width, height), self._symbols))

    def _print_above(self) -> None:
        """Print the collected lines above the region."""
        above, self._above_region = self._above_region, []
        if above:
            self._console.print(*above, sep="\n", overflow="fold", soft_wrap=False)

    def _above(self, event: events.Event) -> list[Text]:
        """What an event prints above the region: failures and diagnostics."""
        match event:
            case events.TaskFailed() | events.NodeFailed():
                return self._failed(self._failures.add(event))
            case events.Noticed(problem):
                return self._diagnostic(problem)
            case events.StepFailed(problem=problem):
                return [*self._failed(self._failures.take()), *self._diagnostic(problem)]
            case events.StepDone() | events.RunEnded():
                return self._failed(self._failures.take())
        return []

    @staticmethod
    def _failed(lines: Iterable[str]) -> list[Text]:
        return [Text(line, "dim" if line.startswith("  |") else "bold red") for line in lines]

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
