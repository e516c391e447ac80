"""Draws a pool's nodes as a strip and a job's tasks as a bar, each with its legend."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.text import Text

from batchspec.render import units
from batchspec.render.glyphs import Glyphs
from batchspec.render.progress.lines import lasting_words
from batchspec.render.progress.live.bars import Part, node_parts, shares, strip, task_parts
from batchspec.render.progress.live.board import Board
from batchspec.render.progress.live.fit import cut
from batchspec.render.sink import flat

_HEAD = 7
"""Columns before the strip and the bar."""


def gauges(board: Board, now: datetime, width: int, glyphs: Glyphs) -> Iterator[Text]:
    """The nodes (while the run lasts), the tasks, and for what the run waits."""
    for pool in board.nodes.values() if not board.over else ():
        parts = node_parts(pool, glyphs)
        yield _band("nodes", strip(parts, width - _HEAD))
        yield from _legend(parts, width)
    for job in board.tasks:
        parts = task_parts(board.tasks[job][1], glyphs)
        cells = shares([part.count for part in parts], width - _HEAD)
        yield _band("tasks", list(zip(parts, cells, strict=True)))
        yield from _legend(parts, width)
        yield Text(" " * _HEAD + glyphs.dot.join(_pace(board, job, now)))
    for first, wait in board.waits.values() if not board.over else ():
        words = f"{flat(wait.summary)}{lasting_words(first, now)}"
        yield cut(
            Text().append(f"{'waits':<{_HEAD}}", "bold").append(words, "yellow"), width, glyphs
        )
        if wait.action:
            yield cut(Text(" " * _HEAD + flat(wait.action), "dim"), width, glyphs)


def _band(name: str, parts: list[tuple[Part, int]]) -> Text:
    line = Text().append(f"{name:<{_HEAD}}", "bold")
    for part, cells in parts:
        line.append(part.sign * cells, part.style)
    return line


def _pace(board: Board, job: str, now: datetime) -> Iterator[str]:
    """How much is done, how fast it goes, how long still, and when the job's time is over."""
    at, seen = board.tasks[job]
    done = seen.succeeded + seen.failed
    yield f"{units.percent(done, seen.total)} % of {units.counted(seen.total, 'task')}"
    if board.over or done >= seen.total:
        return
    speed, left = board.paces[job].rate(now), board.paces[job].left(now, seen.total)
    if seen.running and speed is not None and left is not None:
        yield units.rate(speed, "tasks")
        yield f"{units.duration(left)} left"
    if seen.left is not None:
        yield f"limit in {units.duration(seen.left - (now - at).total_seconds())}"


def _legend(parts: list[Part], width: int) -> Iterator[Text]:
    """What the signs stand for, and how many there are, on as few lines as hold it."""
    line = Text(" " * _HEAD)
    for part in parts:
        if not part.count or not part.name:
            continue
        entry = Text().append(part.sign, part.style).append(f" {part.count:,} {part.name}")
        if line.cell_len > _HEAD:
            if line.cell_len + entry.cell_len + 2 > width:
                yield line
                line = Text(" " * _HEAD)
            else:
                line.append("  ")
        line.append_text(entry)
    yield line
