"""The live screen at a moment: a header, the steps, the gauges, as lines that fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from batchspec.apply import events
from batchspec.plan.observed import Account
from batchspec.plan.plan import Verb
from batchspec.render import event_text, units
from batchspec.render.event_text import elapsed_text
from batchspec.render.output import flat
from batchspec.render.progress.live_bars import (
    Part,
    bar,
    cut,
    node_parts,
    shares,
    sides,
    strip,
    task_parts,
)
from batchspec.render.progress.live_state import LiveState, StepRow
from batchspec.render.report import StepState
from batchspec.render.step_text import account_line, phrase
from batchspec.render.symbols import Symbols


@dataclass(frozen=True, slots=True)
class Size:
    """The room on the screen; ``height`` is ``None`` where all is to be shown."""

    width: int
    height: int | None = None


def frame(board: LiveState, now: datetime, size: Size, symbols: Symbols) -> list[Text]:
    """The screen at ``now``; no line is longer than the width, and one line stays free."""
    if board.began is None:
        return []
    below = list(gauges(board, now, size.width, symbols))
    height = size.height
    if height is not None and (board.failed_tasks or board.failed_nodes):
        # What failed is told above the region, and should stay in sight for a while.
        height = max(height * 3 // 4, 1)
    room = None if height is None else max(height - len(below) - 3, 1)
    parts = [_header(board, now, size.width, symbols)]
    parts += Rows(board, now, size.width, symbols).lines(room)
    parts += [Text(), *below] if below else []
    if size.height is not None:
        parts = parts[: max(size.height - 1, 1)]
    for line in parts:
        line.truncate(size.width, overflow="crop")
    return parts


def _header(board: LiveState, now: datetime, width: int, symbols: Symbols) -> Text:
    """What runs where, and for how long."""
    text = Text()
    if board.run is not None:
        run = board.run
        account = Account(run.target, _bare(run.batch), _bare(run.storage))
        text.append(flat(run.name), "bold").append(f" on {account_line(account)}", "dim")
    began = board.began or now
    took = board.end.seconds if board.end else (now - began).total_seconds()
    return sides(text, Text(units.duration(took), "bold"), width, symbols)


def _bare(address: str) -> str:
    """An address without its scheme: the header has little room, and the plan has said it all."""
    return address.removeprefix("https://").removeprefix("http://").rstrip("/")


_MOVING = frozenset({Verb.UPLOAD, Verb.DOWNLOAD, Verb.SUBMIT})
"""What shows a bar from its beginning; other steps do when they tell how far they are."""
_ELAPSED = 8
_LEAST_BAR = 12
"""Cells of a bar at least; where there is less beside the figures, those go below it."""


class Rows:
    """The steps at a moment, in lines of a width."""

    def __init__(self, board: LiveState, now: datetime, width: int, symbols: Symbols) -> None:
        self._state, self._now, self._width, self._symbols = board, now, width, symbols
        self._column = max(min(width * 2 // 5, 44), 12)

    def lines(self, room: int | None) -> Iterator[Text]:
        """All steps; where there is no room, the first that have ended are told in one line."""
        rows = list(self._state.rows.values())
        drawn = {row.step: self._row(row) for row in rows}
        todo = (self._state.run.steps if self._state.run else 0) - len(rows)
        last = [Text(f"  {units.counted(todo, 'step')} to come", "dim")]
        if todo <= 0 or self._state.over:
            last = []
        folded = [] if room is None else self._folded(rows, drawn, room - len(last))
        if folded:
            good = sum(row.state is StepState.DONE for row in folded)
            bad = len(folded) - good
            words = f"{good} done" + (f", {bad} not" if bad else "")
            yield Text(f"{self._symbols.done} {words}", "dim")
        for row in rows:
            if row not in folded:
                yield from drawn[row.step]
        yield from last

    @staticmethod
    def _folded(rows: list[StepRow], drawn: dict[str, list[Text]], room: int) -> list[StepRow]:
        """The steps that are left out so that the others fit into ``room`` lines."""
        needed = sum(len(text) for text in drawn.values())
        folded: list[StepRow] = []
        for row in rows:
            # The line that tells of those left out takes room itself.
            if needed + bool(folded) <= room:
                break
            if row.state is not StepState.RUNNING:
                folded.append(row)
                needed -= len(drawn[row.step])
        return folded

    def _row(self, row: StepRow) -> list[Text]:
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
            facts = self._symbols.dot.join(self._figures(row))
            cells = min(room - len(facts) - 3, 40)
            own_line = cells < _LEAST_BAR
            cells = max(room - 1, 0) if own_line else cells
            text.append_text(bar(*event_text.share_of(self._progress(row)), cells, self._symbols))
            if own_line:
                below = [cut(Text(f"    {facts}", "dim"), self._width, self._symbols)]
            else:
                text.append(f"  {facts}")
        return [sides(text, right, self._width, self._symbols), *below]

    def _name(self, row: StepRow) -> Text:
        symbols = self._symbols
        since = (self._now - (self._state.began or self._now)).total_seconds()
        sign, style = {
            StepState.RUNNING: (symbols.spinner[int(since * 8) % len(symbols.spinner)], "cyan"),
            StepState.DONE: (symbols.done, "green"),
            StepState.FAILED: (symbols.failed, "bold red"),
            StepState.SKIPPED: (symbols.skipped, "dim"),
        }[row.state]
        if row.state is StepState.RUNNING and self._state.over:
            sign, style = symbols.skipped, "yellow"
        loud = row.state in {StepState.FAILED, StepState.SKIPPED}
        name = Text(phrase(row.verb, row.subject), style if loud else "")
        name = cut(name, self._column, symbols)
        name.pad_right(self._column - name.cell_len)
        return Text().append(f"{sign} ", style).append_text(name).append("  ")

    def _came_of_it(self, row: StepRow, room: int) -> Text:
        if row.state is StepState.FAILED:
            return cut(Text(flat(row.note), "red"), room, self._symbols)
        if row.state is StepState.DONE:
            return cut(Text(", ".join(_done_facts(row)), "dim"), room, self._symbols)
        names = {r.step: phrase(r.verb, r.subject) for r in self._state.rows.values()}
        return cut(Text(event_text.skipped_text(row.note, names), "dim"), room, self._symbols)

    @staticmethod
    def _progress(row: StepRow) -> events.StepProgress:
        return events.StepProgress(row.step, row.done, row.items, row.moved, row.size)

    def _moves(self, row: StepRow) -> bool:
        if self._state.over:
            return False
        return bool(row.size) or (row.items > 1 and (row.verb in _MOVING or row.done > 0))

    def _figures(self, row: StepRow) -> Iterator[str]:
        """How far it is, how fast, how long still."""
        what = event_text.noun(row.verb, row.subject)
        if row.size:
            yield units.amount(row.moved, row.size)
        if row.items > 1:
            yield f"{row.done:,}/{units.counted(row.items, what)}"
        speed = row.pace.rate(self._now)
        if speed is not None:
            yield units.byte_rate(speed) if row.size else units.rate(speed, f"{what}s")
            left = row.pace.left(self._now, event_text.share_of(self._progress(row))[1])
            yield f"{units.duration(left or 0)} left"


def _done_facts(row: StepRow) -> Iterator[str]:
    if row.items > 1:
        yield units.counted(row.items, event_text.noun(row.verb, row.subject))
    if row.size:
        yield units.size(row.size)
    if row.note:
        yield flat(row.note)


_LABEL = 7
"""Columns before the strip and the bar."""


def gauges(board: LiveState, now: datetime, width: int, symbols: Symbols) -> Iterator[Text]:
    """The nodes (while the run lasts), the tasks, and for what the run waits."""
    for pool in board.nodes.values() if not board.over else ():
        parts = node_parts(pool, symbols)
        yield _band("nodes", strip(parts, width - _LABEL))
        yield from _legend(parts, width)
    for job in board.tasks:
        parts = task_parts(board.tasks[job][1], symbols)
        cells = shares([part.count for part in parts], width - _LABEL)
        yield _band("tasks", list(zip(parts, cells, strict=True)))
        yield from _legend(parts, width)
        yield Text(" " * _LABEL + symbols.dot.join(_task_rate(board, job, now)))
    for first, wait in board.waits.values() if not board.over else ():
        words = f"{flat(wait.summary)}{elapsed_text(first, now)}"
        yield cut(
            Text().append(f"{'waits':<{_LABEL}}", "bold").append(words, "yellow"), width, symbols
        )
        if wait.action:
            yield cut(Text(" " * _LABEL + flat(wait.action), "dim"), width, symbols)


def _band(name: str, parts: list[tuple[Part, int]]) -> Text:
    line = Text().append(f"{name:<{_LABEL}}", "bold")
    for part, cells in parts:
        line.append(part.sign * cells, part.style)
    return line


def _task_rate(board: LiveState, job: str, now: datetime) -> Iterator[str]:
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
    line = Text(" " * _LABEL)
    for part in parts:
        if not part.count or not part.name:
            continue
        entry = Text().append(part.sign, part.style).append(f" {part.count:,} {part.name}")
        if line.cell_len > _LABEL:
            if line.cell_len + entry.cell_len + 2 > width:
                yield line
                line = Text(" " * _LABEL)
            else:
                line.append("  ")
        line.append_text(entry)
    yield line
