"""Keeps the live screen up: the region at the bottom, failures above it, pauses for questions.

Events come on one thread; rich redraws on another. The board is only touched, and drawn, under the
lock here; nothing is printed while it is held, since printing takes rich's own lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from threading import Lock
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from batchspec.apply import events
from batchspec.apply.events import Stamped
from batchspec.render import event_text
from batchspec.render.diagnostics import diagnostic_text
from batchspec.render.progress.live_frame import Size, frame
from batchspec.render.progress.live_state import LiveState
from batchspec.render.progress.rate import FailureLimit
from batchspec.render.style import wants_color
from batchspec.render.symbols import Symbols

_FRAMES = 8
"""Frames a second: enough for a spinner, little enough for a slow line."""


def console_on(
    stream: TextIO,
    environ: Mapping[str, str],
    *,
    width: int | None = None,
    height: int | None = None,
) -> Console:
    """A console on a stream taken for a terminal; without a size it follows the stream's."""
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
    """Shows a run on a terminal. ``refreshing`` is off where a test draws by itself."""

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
        self._limit = FailureLimit()
        self._held: list[Text] = []
        self._closed = self._paused = False
        self._live: Live | None = None

    def __call__(self, stamped: Stamped) -> None:
        with self._lock:
            self._state.see(stamped)
        self._held += self._above(stamped.event)
        if self._paused:
            return
        if self._live is None and not self._closed:
            self._live = self._raise()
        self._print_held()

    def refresh(self) -> None:
        """Draw now."""
        if self._live is not None:
            self._live.refresh()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take the region away, hold back what happens meanwhile, and put it back at the end."""
        live, self._live, self._paused = self._live, None, True
        if live is not None:
            live.transient = True
            live.stop()
        try:
            yield
        finally:
            self._paused = False
            if live is not None and not self._closed:
                self._live = self._raise()
            self._print_held()

    def close(self) -> None:
        """Draw a last time, every step in its own line, and leave it on the screen."""
        self._closed = True
        live, self._live = self._live, None
        if live is not None:
            with self._lock:
                self._state.closed = True
            live.stop()

    def _raise(self) -> Live:
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

    def _print_held(self) -> None:
        """Print above the region what was said since the last time."""
        above, self._held = self._held, []
        if above:
            self._console.print(*above, sep="\n", overflow="fold", soft_wrap=False)

    def _above(self, event: events.Event) -> list[Text]:
        """What stays on the screen above the region: what went wrong."""
        match event:
            case events.TaskFailed():
                texts = list(self._limit("task", event_text.task_failed_lines(event)))
            case events.NodeFailed():
                texts = list(self._limit("node", event_text.node_failed_lines(event)))
            case events.Noticed(problem) | events.StepFailed(problem=problem):
                text = diagnostic_text(problem, color=True, width=self._console.width)
                return [Text.from_ansi(line) for line in text.splitlines()]
            case _:
                return []
        return [Text(line, "dim" if number else "bold red") for number, line in enumerate(texts)]
