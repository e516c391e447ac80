"""Bars and strips: how many cells each part of a whole gets, and the parts of a pool and a job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from batchspec.apply.events import NodesSeen, TasksSeen
from batchspec.render.glyphs import Glyphs
from batchspec.render.progress.lines import state_words


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar: its sign, its colour, what it is called, how many it stands for."""

    sign: str
    style: str
    name: str
    count: int


def shares(counts: Sequence[int], width: int) -> list[int]:
    """The cells of each part of a bar that is ``width`` cells wide.

    They are in proportion and fill the bar, and whatever is there at all has a cell: one failed
    task of a million is seen. Where there are more parts than cells, the last go without.
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
    """A cell for each one where they fit, otherwise in proportion."""
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
"""The states of a node (BatchNodeState), in the few kinds that matter; others are leaving."""

_ORDER = ("running", "idle", "starting", "leaving", "failed")


def node_parts(seen: NodesSeen, glyphs: Glyphs) -> list[Part]:
    """The nodes of a pool by state, the useful ones first; what is still to come is last."""
    looks = {
        "running": (glyphs.node_running, "green"),
        "idle": (glyphs.node_idle, "cyan"),
        "starting": (glyphs.node_starting, "yellow"),
        "leaving": (glyphs.node_leaving, "dim"),
        "failed": (glyphs.node_failed, "bold red"),
    }
    states = [(state, count) for state, count in seen.states.items() if count]
    states.sort(key=lambda item: (_ORDER.index(_kind(item[0])), item[0]))
    parts = [Part(*looks[_kind(state)], state_words(state), count) for state, count in states]
    missing = seen.target - sum(count for _, count in states)
    if missing > 0:
        parts.append(Part(glyphs.node_missing, "dim", "to come", missing))
    return parts


def _kind(state: str) -> str:
    return _KINDS.get(state.lower(), "leaving")


def task_parts(seen: TasksSeen, glyphs: Glyphs) -> list[Part]:
    """The tasks of a job by state; those that are not in it yet are last, nameless."""
    known = seen.succeeded + seen.failed + seen.running + seen.active
    return [
        Part(glyphs.succeeded, "green", "succeeded", seen.succeeded),
        Part(glyphs.task_failed, "bold red", "failed", seen.failed),
        Part(glyphs.running, "yellow", "running", seen.running),
        Part(glyphs.active, "dim", "waiting", seen.active),
        Part(" ", "", "", max(seen.total - known, 0)),
    ]
