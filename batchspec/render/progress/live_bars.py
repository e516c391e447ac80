"""Bars and strips: how many cells each part of a whole gets, and the parts of a pool and a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.text import Text

from batchspec.apply.events import NodesSeen, TasksSeen
from batchspec.render.event_text import node_state_text
from batchspec.render.symbols import Symbols


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: its symbol, colour and name, and the number that it stands for."""

    symbol: str
    style: str
    name: str
    count: int


def shares(counts: Sequence[int], width: int) -> list[int]:
    """The cells of each part of a bar that is ``width`` cells wide.

    They are in proportion and fill the bar, and every part that is not empty has a cell, so that
    one failed task of a million is visible. With more parts than cells, the last ones have none.
    """
    total = sum(counts)
    if total == 0 or width <= 0:
        return [0] * len(counts)
    cells = [max(count * width // total, 1) if count else 0 for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda i: -(counts[i] * width % total))
    for index in by_remainder:
        if sum(cells) < width and counts[index]:
            cells[index] += 1
    while sum(cells) > width:
        largest = max(range(len(cells)), key=lambda i: (cells[i], i))
        cells[largest] -= 1
    return cells


def strip(parts: Sequence[Part], width: int) -> list[tuple[Part, int]]:
    """One cell for each item if they fit, otherwise cells in proportion."""
    counts = [part.count for part in parts]
    cells = counts if sum(counts) <= width else shares(counts, width)
    return list(zip(parts, cells, strict=True))


_KINDS: Mapping[str, str] = {
    "running": "running",
    "idle": "idle",
    "creating": "starting",
    "starting": "starting",
    "waitingforstarttask": "starting",
    "rebooting": "starting",
    "reimaging": "starting",
    "upgradingos": "starting",
    "starttaskfailed": "failed",
    "unusable": "failed",
    "unknown": "failed",
}
"""The states of a node (BatchNodeState) in groups; every other state counts as leaving."""

_ORDER = ("running", "idle", "starting", "leaving", "failed")


def node_parts(seen: NodesSeen, symbols: Symbols) -> list[Part]:
    """The nodes of a pool by state, running ones first, nodes that are not allocated yet last."""
    appearance = {
        "running": (symbols.node_running, "green"),
        "idle": (symbols.node_idle, "cyan"),
        "starting": (symbols.node_starting, "yellow"),
        "leaving": (symbols.node_leaving, "dim"),
        "failed": (symbols.node_failed, "bold red"),
    }
    states = [(_kind(state), state, count) for state, count in seen.states.items() if count]
    states.sort(key=lambda item: (_ORDER.index(item[0]), item[1]))
    parts = [
        Part(*appearance[kind], node_state_text(state), count) for kind, state, count in states
    ]
    missing = seen.target - sum(count for _, _, count in states)
    if missing > 0:
        parts.append(Part(symbols.node_missing, "dim", "pending", missing))
    return parts


def _kind(state: str) -> str:
    return _KINDS.get(state.lower(), "leaving")


def task_parts(seen: TasksSeen, symbols: Symbols) -> list[Part]:
    """The tasks of a job by state; those not submitted yet are last, without a name."""
    known = seen.succeeded + seen.failed + seen.running + seen.active
    return [
        Part(symbols.succeeded, "green", "succeeded", seen.succeeded),
        Part(symbols.task_failed, "bold red", "failed", seen.failed),
        Part(symbols.running, "yellow", "running", seen.running),
        Part(symbols.active, "dim", "waiting", seen.active),
        Part(" ", "", "", max(seen.total - known, 0)),
    ]


def cut(text: Text, width: int, symbols: Symbols) -> Text:
    """The text, truncated with an ellipsis if it does not fit."""
    if text.cell_len > max(width, 0):
        text.truncate(max(width - 1, 0), overflow="crop")
        text.append(symbols.ellipsis if width > 0 else "")
    return text


def sides(left: Text, right: Text, width: int, symbols: Symbols) -> Text:
    """A text at the left, truncated if needed, and one at the right."""
    left = cut(left, width - right.cell_len - 1, symbols)
    gap = max(width - left.cell_len - right.cell_len, 0)
    return left.append(" " * gap).append_text(right)


def bar(done: int, whole: int, cells: int, symbols: Symbols) -> Text:
    """A progress bar; it is full only when ``done`` reaches ``whole``."""
    full = min(cells * done // whole, cells) if whole else cells
    head = symbols.head if 0 < full < cells else ""
    text = Text().append(symbols.full * (full - len(head)) + head, "cyan")
    return text.append(symbols.rest * (cells - full), "dim")
