"""Draws the steps: a sign, what it is, a bar while it moves, what came of it, how long it took."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.text import Text

from batchspec.apply import events
from batchspec.plan.plan import Verb
from batchspec.render import units
from batchspec.render.glyphs import Glyphs
from batchspec.render.progress import lines
from batchspec.render.progress.live.board import Board, Row
from batchspec.render.progress.live.fit import bar, cut, sides
from batchspec.render.report import StepState
from batchspec.render.sink import flat
from batchspec.render.words import phrase

_MOVING = frozenset({Verb.UPLOAD, Verb.DOWNLOAD, Verb.SUBMIT})
"""What shows a bar from its beginning; other steps do when they tell how far they are."""
_ELAPSED = 8
_LEAST_BAR = 12
"""Cells of a bar at least; where there is less beside the figures, those go below it."""


class Rows:
    """The steps at a moment, in lines of a width."""

    def __init__(self, board: Board, now: datetime, width: int, glyphs: Glyphs) -> None:
        self._board, self._now, self._width, self._glyphs = board, now, width, glyphs
        self._column = max(min(width * 2 // 5, 44), 12)

    def lines(self, room: int | None) -> Iterator[Text]:
        """All steps; where there is no room, the first that have ended are told in one line."""
        rows = list(self._board.rows.values())
        drawn = {row.step: self._row(row) for row in rows}
        todo = (self._board.run.steps if self._board.run else 0) - len(rows)
        last = [Text(f"  {units.counted(todo, 'step')} to come", "dim")]
        if todo <= 0 or self._board.over:
            last = []
        folded = [] if room is None else self._folded(rows, drawn, room - len(last))
        if folded:
            good = sum(row.state is StepState.DONE for row in folded)
            bad = len(folded) - good
            words = f"{good} done" + (f", {bad} not" if bad else "")
            yield Text(f"{self._glyphs.done} {words}", "dim")
        for row in rows:
            if row not in folded:
                yield from drawn[row.step]
        yield from last

    @staticmethod
    def _folded(rows: list[Row], drawn: dict[str, list[Text]], room: int) -> list[Row]:
        """The steps that are left out so that the others fit into ``room`` lines."""
        needed = sum(len(text) for text in drawn.values())
        folded: list[Row] = []
        for row in rows:
            # The line that tells of those left out takes room itself.
            if needed + bool(folded) <= room:
                break
            if row.state is not StepState.RUNNING:
                folded.append(row)
                needed -= len(drawn[row.step])
        return folded

    def _row(self, row: Row) -> list[Text]:
        """A step; where there is little room, the figures of one that moves have their own line."""
        text = self._name(row)
        room = self._width - text.cell_len - _ELAPSED
        if row.state is StepState.SKIPPED:
            return [text.append_text(self._came_of_it(row, self._width - text.cell_len))]
        took = (self._now - row.began).total_seconds()
        right = Text(units.duration(took if row.state is StepState.RUNNING else row.seconds), "dim")
        below: list[Text] = []
        if row.state is not StepState.RUNNING:
            text.append_text(self._came_of_it(row, room))
        elif self._moves(row):
            facts = self._glyphs.dot.join(self._figures(row))
            cells = min(room - len(facts) - 3, 40)
            own_line = cells < _LEAST_BAR
            cells = max(room - 1, 0) if own_line else cells
            text.append_text(bar(*lines.share_of(self._progress(row)), cells, self._glyphs))
            if own_line:
                below = [cut(Text(f"    {facts}", "dim"), self._width, self._glyphs)]
            else:
                text.append(f"  {facts}")
        return [sides(text, right, self._width, self._glyphs), *below]

    def _name(self, row: Row) -> Text:
        glyphs = self._glyphs
        since = (self._now - (self._board.began or self._now)).total_seconds()
        sign, style = {
            StepState.RUNNING: (glyphs.spinner[int(since * 8) % len(glyphs.spinner)], "cyan"),
            StepState.DONE: (glyphs.done, "green"),
            StepState.FAILED: (glyphs.failed, "bold red"),
            StepState.SKIPPED: (glyphs.skipped, "dim"),
        }[row.state]
        if row.state is StepState.RUNNING and self._board.over:
            sign, style = glyphs.skipped, "yellow"
        loud = row.state in {StepState.FAILED, StepState.SKIPPED}
        name = Text(phrase(row.verb, row.subject), style if loud else "")
        name = cut(name, self._column, glyphs)
        name.pad_right(self._column - name.cell_len)
        return Text().append(f"{sign} ", style).append_text(name).append("  ")

    def _came_of_it(self, row: Row, room: int) -> Text:
        if row.state is StepState.FAILED:
            return cut(Text(flat(row.note), "red"), room, self._glyphs)
        if row.state is StepState.DONE:
            return cut(Text(", ".join(_facts(row)), "dim"), room, self._glyphs)
        names = {r.step: phrase(r.verb, r.subject) for r in self._board.rows.values()}
        return cut(Text(lines.skipped_words(row.note, names), "dim"), room, self._glyphs)

    @staticmethod
    def _progress(row: Row) -> events.StepProgress:
        return events.StepProgress(row.step, row.done, row.items, row.moved, row.size)

    def _moves(self, row: Row) -> bool:
        if self._board.over:
            return False
        return bool(row.size) or (row.items > 1 and (row.verb in _MOVING or row.done > 0))

    def _figures(self, row: Row) -> Iterator[str]:
        """How far it is, how fast, how long still."""
        what = lines.noun(row.verb, row.subject)
        if row.size:
            yield units.amount(row.moved, row.size)
        if row.items > 1:
            yield f"{row.done:,}/{units.counted(row.items, what)}"
        speed = row.pace.rate(self._now)
        if speed is not None:
            yield units.byte_rate(speed) if row.size else units.rate(speed, f"{what}s")
            left = row.pace.left(self._now, lines.share_of(self._progress(row))[1])
            yield f"{units.duration(left or 0)} left"


def _facts(row: Row) -> Iterator[str]:
    if row.items > 1:
        yield units.counted(row.items, lines.noun(row.verb, row.subject))
    if row.size:
        yield units.size(row.size)
    if row.note:
        yield flat(row.note)
