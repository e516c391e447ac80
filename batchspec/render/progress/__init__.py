"""Views of a run: ``live``, ``plain``, ``json`` and ``quiet``; only ``live`` needs rich.

In: stamped events. Out: lines on a stream, or a region of a terminal. Not here: the summary after
the run (``render.summary``), and prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Protocol, TextIO

from batchspec.apply.events import (
    Event,
    LongestSeen,
    NodeFailed,
    Noticed,
    Stamped,
    StepFailed,
    TaskFailed,
    Waiting,
)
from batchspec.render.json_lines import JsonView
from batchspec.render.output import NodeIds, symbols_for, wants_color
from batchspec.render.progress.line_views import PlainView, QuietView


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
        """Do not use the screen from now on, so that a question can use it."""
        ...

    def close(self) -> None:
        """Finish the output. Closing twice has no effect."""
        ...


def is_live(kind: Kind, stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether a run is shown as a screen; ``auto`` is a screen on a terminal that is not dumb."""
    terminal = stream.isatty() and environ.get("TERM") != "dumb"
    return kind is Kind.LIVE or (kind is Kind.AUTO and terminal)


def open_view(
    kind: Kind,
    stream: TextIO,
    *,
    now: Callable[[], datetime],
    environ: Mapping[str, str],
    version: str = "",
    width: int | None = None,
    full_ids: bool = False,
) -> View:
    """The view of a kind on a stream; ``auto`` is ``live`` on a terminal, else ``plain``.

    ``now`` is the clock of the events; the live view shows elapsed time between them. ``version``
    is the version of batchspec in the first line of ``json``. ``width`` fixes the width of the live
    view; by default it follows the terminal. Ids of nodes are shortened, except with ``full_ids``
    and in ``json``.
    """
    if kind is Kind.AUTO:
        kind = Kind.LIVE if is_live(kind, stream, environ) else Kind.PLAIN
    if kind is Kind.JSON:
        return JsonView(stream, version)
    if kind is Kind.PLAIN:
        view: View = PlainView(stream)
    elif kind is Kind.QUIET:
        view = QuietView(stream, color=wants_color(stream, environ))
    else:
        from batchspec.render.progress.live import LiveView, console_on  # noqa: PLC0415  (rich)

        console = console_on(stream, environ, width=width)
        view = LiveView(console, now, symbols_for(stream))
    return view if full_ids else _WithShortIds(view)


@dataclass(slots=True)
class _WithShortIds:
    """A view that shows the ids of nodes shortened."""

    view: View
    ids: NodeIds = field(default_factory=NodeIds)

    def __call__(self, stamped: Stamped) -> None:
        self.view(replace(stamped, event=_shortened(stamped.event, self.ids)))

    def paused(self) -> AbstractContextManager[None]:
        return self.view.paused()

    def close(self) -> None:
        self.view.close()


def _shortened(event: Event, ids: NodeIds) -> Event:
    """The event with short ids of nodes; output of tasks and nodes is unchanged."""
    match event:
        case TaskFailed(node=node, message=message) if node is not None:
            return replace(event, node=ids(node), message=ids(message))
        case LongestSeen(tasks=tasks):
            return replace(event, tasks=tuple(replace(t, node=ids(t.node)) for t in tasks))
        case NodeFailed(node=node, message=message):
            return replace(event, node=ids(node), message=ids(message))
        case Waiting():
            return ids.waiting(event)
        case Noticed(problem) | StepFailed(problem=problem):
            return replace(event, problem=ids.problem(problem))
        case _:
            return event
