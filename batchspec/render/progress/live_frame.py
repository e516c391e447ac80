"""The live view at a moment, as lines: header, steps, tasks, nodes, failures and causes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from batchspec.plan.observed import AccountNames
from batchspec.render import units
from batchspec.render.output import flat
from batchspec.render.progress import live_tasks
from batchspec.render.progress.live_bars import sides
from batchspec.render.progress.live_steps import StepRows
from batchspec.render.progress.state import LiveState
from batchspec.render.run_text import account_line
from batchspec.render.style import Symbols


@dataclass(frozen=True, slots=True)
class Size:
    """Columns and lines of the terminal."""

    width: int
    height: int


_FEWEST_STEPS = 3
"""Lines for steps that other parts leave, if the terminal is high enough."""
_ORDER = ("tasks", "nodes", "longest", "failed", "waits", "notes")
"""The parts below the steps, from top to bottom."""
_SHORTENED = ("notes", "longest", "nodes", "failed", "waits", "tasks")
"""The parts in the order in which they lose lines on a terminal that is not high enough."""


def frame(state: LiveState, now: datetime, size: Size, symbols: Symbols) -> list[Text]:
    """The view at ``now``; no line exceeds the width, and there are not more than fit."""
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
    """What stays on the terminal after the run: every step. The summary has the totals."""
    if state.began is None:
        return []
    lines = [_header(state, now, width, symbols)]
    lines += StepRows(state, now, width, symbols).lines(None)
    return _cropped(lines, width)


def pause_frame(state: LiveState, now: datetime, width: int, symbols: Symbols) -> list[Text]:
    """What is on the terminal during a pause: the tasks."""
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
