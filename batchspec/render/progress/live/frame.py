"""Draws the board as lines of rich text that fit a width and a height. Time is handed in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from batchspec.apply import events
from batchspec.plan.observed import Account
from batchspec.plan.plan import Verb
from batchspec.render import units
from batchspec.render.glyphs import Glyphs
from batchspec.render.progress import lines
from batchspec.render.progress.live.bars import Part, node_parts, shares, strip, task_parts
from batchspec.render.progress.live.board import Board, Row
from batchspec.render.report import StepState
from batchspec.render.sink import flat
from batchspec.render.words import account_line, phrase

_ELAPSED = 8
_HEAD = 7
"""Columns before the strip of nodes and the bar of tasks."""


@dataclass(frozen=True, slots=True)
class Size:
    """The room on the screen; ``height`` is ``None`` where all is to be shown."""

    width: int
    height: int | None = None


def frame(board: Board, now: datetime, size: Size, glyphs: Glyphs) -> list[Text]:
    """The screen at a moment: a header, the steps, the nodes, the tasks; no line is too long."""
    if board.began is None:
        return []
    painter = _Painter(board, now, size.width, glyphs)
    below = painter.below()
    room = None if size.height is None else max(size.height - len(below) - 3, 1)
    parts = [painter.header(), *painter.steps(room)]
    parts += [Text(), *below] if below else []
    if size.height is not None:
        parts = parts[: max(size.height - 1, 1)]
    for line in parts:
        line.truncate(size.width, overflow="crop")
    return parts


class _Painter:
    def __init__(self, board: Board, now: datetime, width: int, glyphs: Glyphs) -> None:
        self._board, self._now, self._width, self._glyphs = board, now, width, glyphs
        names = [len(phrase(row.verb, row.subject)) for row in board.rows.values()]
        self._names = min(max(names, default=0), max(width * 2 // 5, 12))

    def header(self) -> Text:
        """What runs where, and for how long."""
        board, run = self._board, self._board.run
        text = Text()
        if run is not None:
            account = Account(run.target, run.batch, run.storage)
            text.append(flat(run.name), "bold")
            text.append(f" on {account_line(account)}", "dim")
        took = board.end.seconds if board.end else self._since(board.began)
        return self._sides(text, Text(units.duration(took), "bold"))

    def steps(self, room: int | None) -> Iterator[Text]:
        """The steps; where there is no room, those that are done are told in one line."""
        rows = list(self._board.rows.values())
        todo = (self._board.run.steps if self._board.run else 0) - len(rows)
        more = 1 if todo > 0 and self._board.end is None else 0
        if room is not None and len(rows) + more > room:
            over = len(rows) + more - room + 1
            folded = [row for row in rows if row.state is not StepState.RUNNING][:over]
            good = sum(row.state is StepState.DONE for row in folded)
            rows = [row for row in rows if row not in folded][-max(room - more - 1, 0) :]
            words = f"{good} done" + (
                f", {len(folded) - good} not done" if good < len(folded) else ""
            )
            yield Text(f"{self._glyphs.done} {words}", "dim")
        yield from (self._step(row) for row in rows)
        if more:
            yield Text(f"  {units.counted(todo, 'step')} to come", "dim")

    def below(self) -> list[Text]:
        """The pools' nodes and the jobs' tasks."""
        out: list[Text] = []
        for pool in self._board.nodes.values():
            out += self._nodes(pool)
        for at, job in self._board.tasks.values():
            out += self._tasks(at, job)
        return out

    def _step(self, row: Row) -> Text:
        glyphs = self._glyphs
        running = row.state is StepState.RUNNING
        turn = int(self._since(self._board.began) * 8) % len(glyphs.spinner)
        sign, style = {
            StepState.RUNNING: (glyphs.spinner[turn], "cyan"),
            StepState.DONE: (glyphs.done, "green"),
            StepState.FAILED: (glyphs.failed, "bold red"),
            StepState.SKIPPED: (glyphs.skipped, "dim"),
        }[row.state]
        if running and self._board.end is not None:
            sign, style = glyphs.skipped, "yellow"
        text = Text(f"{sign} ", style)
        name = Text(phrase(row.verb, row.subject), "" if running else style)
        name.truncate(self._names, overflow="ellipsis", pad=True)
        text.append_text(name).append("  ")
        took = self._since(row.began) if running else row.seconds
        room = self._width - text.cell_len - _ELAPSED
        text.append_text(self._middle(row, room))
        if row.state is StepState.SKIPPED:
            return text
        return self._sides(text, Text(units.duration(took), "dim"))

    def _middle(self, row: Row, room: int) -> Text:
        """A bar with rate and time left while it moves; what it was when it is done."""
        match row.state:
            case StepState.FAILED:
                text = Text(flat(row.note), "red")
            case StepState.SKIPPED:
                skipped = events.StepSkipped(row.step, row.verb, row.subject, row.note)
                names = {r.step: phrase(r.verb, r.subject) for r in self._board.rows.values()}
                text = Text(lines.skipped_words(skipped, names), "dim")
            case StepState.DONE:
                text = Text(", ".join(_facts(row)), "dim")
            case StepState.RUNNING:
                return self._moving(row, room)
        text.truncate(max(room, 0), overflow="ellipsis")
        return text

    def _moving(self, row: Row, room: int) -> Text:
        progress = events.StepProgress(row.step, row.done, row.items, row.moved, row.size)
        done, whole = lines.share_of(progress)
        if row.verb == Verb.WAIT or (row.items < 2 and not row.size):
            return Text()
        what = lines.noun(row.verb, row.subject)
        facts = [units.amount(row.moved, row.size) if row.size else f"{row.done:,}/{row.items:,}"]
        if row.size and row.items > 1:
            facts.append(f"{row.done:,}/{units.counted(row.items, what)}")
        speed = row.pace.rate(self._now)
        if speed is not None:
            facts.append(units.byte_rate(speed) if row.size else units.rate(speed, f"{what}s"))
            left = row.pace.left(self._now, whole)
            facts.append(f"{units.duration(left or 0)} left")
        cells = min(max(room - 34, 8), 40)
        # The count of files is the first to go where there is no room, then the rate.
        while len(facts) > 1 and len(_joined(facts)) > room - cells - 1:
            facts.pop(1)
        bar = self._bar(done, whole, cells)
        return bar.append(f" {_joined(facts)}") if cells + 2 < room else bar

    def _bar(self, done: int, whole: int, cells: int) -> Text:
        full = min(cells * done // whole, cells) if whole else cells
        head = self._glyphs.head if 0 < full < cells else ""
        text = Text(self._glyphs.full * (full - len(head)) + head, "cyan")
        return text.append(self._glyphs.rest * (cells - full), "dim")

    def _nodes(self, seen: events.NodesSeen) -> Iterator[Text]:
        parts = node_parts(seen, self._glyphs)
        line = Text("nodes  ", "bold")
        for part, cells in strip(parts, self._width - _HEAD):
            line.append(part.sign * cells, part.style)
        yield line
        yield self._legend(parts)

    def _tasks(self, at: datetime, seen: events.TasksSeen) -> Iterator[Text]:
        parts = task_parts(seen, self._glyphs)
        line = Text("tasks  ", "bold")
        cells = shares([part.count for part in parts], self._width - _HEAD)
        for part, width in zip(parts, cells, strict=True):
            line.append(part.sign * width, part.style)
        yield line
        yield self._legend(parts)
        done = seen.succeeded + seen.failed
        facts = [f"{done:,} of {seen.total:,} done ({units.percent(done, seen.total)} %)"]
        pace = self._board.paces[seen.job]
        if self._board.end is None and done < seen.total:
            speed, left = pace.rate(self._now), pace.left(self._now, seen.total)
            facts += [] if speed is None else [units.rate(speed, "tasks")]
            facts += [] if left is None else [f"{units.duration(left)} left"]
            if seen.left is not None:
                limit = seen.left - (self._now - at).total_seconds()
                facts.append(f"limit in {units.duration(limit)}")
        yield Text(" " * _HEAD + _joined(facts, self._glyphs))

    def _legend(self, parts: list[Part]) -> Text:
        line = Text(" " * _HEAD)
        for part in parts:
            if part.count:
                line.append(f"{part.sign} ", part.style) if part.sign.strip() else None
                line.append(f"{part.count:,} {part.name}  ")
        line.rstrip()
        return line

    def _sides(self, left: Text, right: Text) -> Text:
        """Something at the left and something at the right; the left gives way."""
        left.truncate(max(self._width - right.cell_len - 1, 0), overflow="ellipsis")
        gap = self._width - left.cell_len - right.cell_len
        return left.append(" " * gap).append_text(right)

    def _since(self, began: datetime | None) -> float:
        return (self._now - began).total_seconds() if began else 0.0


def _facts(row: Row) -> Iterator[str]:
    if row.items > 1:
        yield units.counted(row.items, lines.noun(row.verb, row.subject))
    if row.size:
        yield units.size(row.size)
    if row.note:
        yield flat(row.note)


def _joined(facts: list[str], glyphs: Glyphs | None = None) -> str:
    return (glyphs.dot if glyphs else "  ").join(facts)
