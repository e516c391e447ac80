"""The live view at a moment, as lines: header, steps, tasks, nodes, failures and causes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from batchspec.apply import events
from batchspec.plan import Verb
from batchspec.plan.observed import AccountNames
from batchspec.render import run_text, units
from batchspec.render.output import flat
from batchspec.render.progress import live_tasks
from batchspec.render.progress.live_tasks import bar, cut, flowed, sides
from batchspec.render.progress.state import LiveState, StepRow
from batchspec.render.report import StepState
from batchspec.render.run_text import account_line, phrase
from batchspec.render.style import Symbols

_MOVING = frozenset({Verb.UPLOAD, Verb.DOWNLOAD, Verb.SUBMIT})
"""The verbs with a bar from the start; other steps get one with their first progress event."""
_ELAPSED = 8
_MIN_BAR = 12
"""The shortest bar; if less fits beside the figures, they are on the line below."""


class StepRows:
    """Formats the steps at a moment as lines of a width."""

    def __init__(self, state: LiveState, now: datetime, width: int, symbols: Symbols) -> None:
        self._state, self._now, self._width, self._symbols = state, now, width, symbols
        self._column = max(min(width * 2 // 5, 44), 12)

    def lines(self, height: int | None) -> Iterator[Text]:
        """All steps; to fit into ``height`` lines, the first finished ones are counted in one."""
        rows = list(self._state.rows.values())
        drawn = {row.step: self._row(row) for row in rows}
        pending = (self._state.run.steps if self._state.run else 0) - len(rows)
        last = [Text(f"  {units.counted(pending, 'step')} pending", "dim")]
        if pending <= 0 or self._state.over:
            last = []
        folded = [] if height is None else self._folded(rows, drawn, height - len(last))
        if folded:
            done = sum(row.state is StepState.DONE for row in folded)
            others = len(folded) - done
            text = f"{done:,} done" + (f", {others:,} not done" if others else "")
            yield Text(f"{self._symbols.done} {text}", "dim")
        counted = {row.step for row in folded}
        for row in rows:
            if row.step not in counted:
                yield from drawn[row.step]
        yield from last

    @staticmethod
    def _folded(rows: list[StepRow], drawn: dict[str, list[Text]], height: int) -> list[StepRow]:
        """The finished steps that are only counted, so that the others fit into the height."""
        needed = sum(len(text) for text in drawn.values())
        folded: list[StepRow] = []
        for row in rows:
            # The line with the count needs a line itself.
            if needed + bool(folded) <= height:
                break
            if row.state is not StepState.RUNNING:
                folded.append(row)
                needed -= len(drawn[row.step])
        return folded

    def _row(self, row: StepRow) -> list[Text]:
        """A step; on a narrow terminal its figures are on a second line."""
        text = self._name(row)
        room = self._width - text.cell_len - _ELAPSED
        if row.state is StepState.SKIPPED:
            return [text.append_text(self._result(row, self._width - text.cell_len))]
        took = (self._now - row.began).total_seconds()
        right = Text(units.duration(took if row.state is StepState.RUNNING else row.seconds), "dim")
        below: list[Text] = []
        if row.state is not StepState.RUNNING:
            text.append_text(self._result(row, room))
        elif self._moves(row):
            figures = [*self._figures(row)]
            facts = self._symbols.dot.join(figures)
            cells = min(room - len(facts) - 3, 40)
            own_line = cells < _MIN_BAR
            cells = max(room - 1, 0) if own_line else cells
            if not row.growing:
                share = run_text.progress_share(self._progress(row))
                text.append_text(bar(*share, cells, self._symbols))
            if own_line:
                entries = (Text(figure, "dim") for figure in figures)
                below = [*flowed(entries, self._symbols.dot, self._width, 4)]
            else:
                text.append(f"  {facts}")
        return [sides(text, right, self._width, self._symbols), *below]

    def _name(self, row: StepRow) -> Text:
        symbols = self._symbols
        since = (self._now - (self._state.began or self._now)).total_seconds()
        symbol, style = {
            StepState.RUNNING: (symbols.spinner[int(since * 8) % len(symbols.spinner)], "cyan"),
            StepState.DONE: (symbols.done, "green"),
            StepState.FAILED: (symbols.failed, "bold red"),
            StepState.SKIPPED: (symbols.skipped, "dim"),
        }[row.state]
        if row.state is StepState.RUNNING and self._state.over:
            symbol, style = symbols.skipped, "yellow"
        colored = row.state in {StepState.FAILED, StepState.SKIPPED}
        name = Text(phrase(row.verb, row.subject), style if colored else "")
        name = cut(name, self._column, symbols)
        name.pad_right(self._column - name.cell_len)
        return Text().append(f"{symbol} ", style).append_text(name).append("  ")

    def _result(self, row: StepRow, room: int) -> Text:
        if row.state is StepState.FAILED:
            return cut(Text(flat(row.note), "red"), room, self._symbols)
        if row.state is StepState.DONE:
            return cut(Text(", ".join(_done_facts(row)), "dim"), room, self._symbols)
        names = {r.step: phrase(r.verb, r.subject) for r in self._state.rows.values()}
        return cut(Text(run_text.skipped_text(row.note, names), "dim"), room, self._symbols)

    @staticmethod
    def _progress(row: StepRow) -> events.StepProgress:
        return events.StepProgress(row.step, row.done, row.items, row.moved, row.size)

    def _moves(self, row: StepRow) -> bool:
        if self._state.over:
            return False
        return bool(row.size) or (row.items > 1 and (row.verb in _MOVING or row.done > 0))

    def _figures(self, row: StepRow) -> Iterator[str]:
        """Progress, rate and time left."""
        item = run_text.item_noun(row.verb, row.subject)
        if row.growing:
            yield f"{units.counted(row.done, item)} so far"
            yield units.size(row.moved)
            return
        if row.size:
            yield units.amount(row.moved, row.size)
        if row.items > 1:
            yield f"{row.done:,}/{units.counted(row.items, item)}"
        speed = row.rate.per_second(self._now)
        if speed is not None:
            yield units.byte_rate(speed) if row.size else units.rate(speed, f"{item}s")
            _, total = run_text.progress_share(self._progress(row))
            left = row.rate.seconds_left(self._now, total)
            yield f"time left {units.estimate(left or None)}"


def _done_facts(row: StepRow) -> Iterator[str]:
    if row.items > 1:
        yield units.counted(row.items, run_text.item_noun(row.verb, row.subject))
    if row.size:
        yield units.size(row.size)
    if row.note:
        yield flat(row.note)


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
