"""Views of a run: ``live``, ``plain``, ``json`` and ``quiet``; only ``live`` needs rich.

In: stamped events. Out: lines on a stream, or a region of a terminal. Not here: the summary after
the run (``render.summary``), and prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TextIO

from batchspec.apply.events import Stamped
from batchspec.render.progress.json_stream import JsonView
from batchspec.render.progress.line_views import PlainView, QuietView
from batchspec.render.style import symbols_for, wants_color


class Kind(StrEnum):
    """The values of ``--progress``."""

    AUTO = "auto"
    LIVE = "live"
    PLAIN = "plain"
    JSON = "json"
    QUIET = "quiet"


class View(Protocol):
    """Shows the events of a run."""

    def __call__(self, stamped: Stamped) -> None:
        """Show one event."""
        ...

    def paused(self) -> AbstractContextManager[None]:
        """Do not use the screen until the end, so that a question can."""
        ...

    def close(self) -> None:
        """Finish the output. Closing twice has no effect."""
        ...


def open_view(
    kind: Kind,
    stream: TextIO,
    *,
    now: Callable[[], datetime],
    environ: Mapping[str, str],
    version: str = "",
    width: int | None = None,
    height: int | None = None,
) -> View:
    """The view of a kind on a stream; ``auto`` is ``live`` on a terminal, else ``plain``.

    ``now`` is the clock of the events; the live view shows elapsed time between them. ``version``
    is the version of batchspec in the first line of ``json``. ``width`` and ``height`` fix the size
    of the live view; by default it follows the terminal.
    """
    if kind is Kind.AUTO:
        terminal = stream.isatty() and environ.get("TERM") != "dumb"
        kind = Kind.LIVE if terminal else Kind.PLAIN
    match kind:
        case Kind.JSON:
            return JsonView(stream, version)
        case Kind.PLAIN:
            return PlainView(stream)
        case Kind.QUIET:
            return QuietView(stream, color=wants_color(stream, environ))
    from batchspec.render.progress.live import LiveView, console_on  # noqa: PLC0415  (rich)

    console = console_on(stream, environ, width=width, height=height)
    return LiveView(console, now, symbols_for(stream))
