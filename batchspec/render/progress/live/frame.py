"""The live screen at a moment: a header, the steps, the gauges, as lines that fit."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from batchspec.plan.observed import Account
from batchspec.render import units
from batchspec.render.glyphs import Glyphs
from batchspec.render.progress.live.board import Board
from batchspec.render.progress.live.fit import sides
from batchspec.render.progress.live.gauges import gauges
from batchspec.render.progress.live.rows import Rows
from batchspec.render.sink import flat
from batchspec.render.words import account_line


@dataclass(frozen=True, slots=True)
class Size:
    """The room on the screen; ``height`` is ``None`` where all is to be shown."""

    width: int
    height: int | None = None


def frame(board: Board, now: datetime, size: Size, glyphs: Glyphs) -> list[Text]:
    """The screen at ``now``; no line is longer than the width, and one line stays free."""
    if board.began is None:
        return []
    below = list(gauges(board, now, size.width, glyphs))
    height = size.height
    if height is not None and (board.failed_tasks or board.failed_nodes):
        # What failed is told above the region, and should stay in sight for a while.
        height = max(height * 3 // 4, 1)
    room = None if height is None else max(height - len(below) - 3, 1)
    parts = [_header(board, now, size.width, glyphs)]
    parts += Rows(board, now, size.width, glyphs).lines(room)
    parts += [Text(), *below] if below else []
    if size.height is not None:
        parts = parts[: max(size.height - 1, 1)]
    for line in parts:
        line.truncate(size.width, overflow="crop")
    return parts


def _header(board: Board, now: datetime, width: int, glyphs: Glyphs) -> Text:
    """What runs where, and for how long."""
    text = Text()
    if board.run is not None:
        run = board.run
        account = Account(run.target, _bare(run.batch), _bare(run.storage))
        text.append(flat(run.name), "bold").append(f" on {account_line(account)}", "dim")
    began = board.began or now
    took = board.end.seconds if board.end else (now - began).total_seconds()
    return sides(text, Text(units.duration(took), "bold"), width, glyphs)


def _bare(address: str) -> str:
    """An address without its scheme: the header has little room, and the plan has said it all."""
    return address.removeprefix("https://").removeprefix("http://").rstrip("/")
