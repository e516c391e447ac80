"""The live view at a moment, as lines: header, steps, bars of nodes and tasks, and causes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.text import Text

from batchspec.apply import events
from batchspec.apply.events import NodesSeen, TasksSeen
from batchspec.plan import Verb
from batchspec.plan.observed import AccountNames
from batchspec.render import run_text, units
from batchspec.render.output import flat, wrap
from batchspec.render.progress.state import LiveState, StepRow
from batchspec.render.report import StepState
from batchspec.render.run_text import account_line, elapsed_text, node_state_text, phrase
from batchspec.render.style import Symbols


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


@dataclass(frozen=True, slots=True)
class Size:
    """Columns and lines of the terminal; a ``height`` of ``None`` shows every step."""

    width: int
    height: int | None = None


def frame(state: LiveState, now: datetime, size: Size, symbols: Symbols) -> list[Text]:
    """The view at ``now``; no line exceeds the width, and one line of the terminal stays free."""
    if state.began is None:
        return []
    below = list(gauges(state, now, size.width, symbols))
    height = size.height
    if height is not None and (state.failed_tasks or state.failed_nodes):
        # Failures are printed above the region; leave lines for them.
        height = max(height * 3 // 4, 1)
    step_lines = None if height is None else max(height - len(below) - 3, 1)
    parts = [_header(state, now, size.width, symbols)]
    parts += StepRows(state, now, size.width, symbols).lines(step_lines)
    parts += [Text(), *below] if below else []
    if size.height is not None:
        parts = parts[: max(size.height - 1, 1)]
    for line in parts:
        line.truncate(size.width, overflow="crop")
    return parts


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
        for row in rows:
            if row not in folded:
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
            facts = self._symbols.dot.join(self._figures(row))
            cells = min(room - len(facts) - 3, 40)
            own_line = cells < _MIN_BAR
            cells = max(room - 1, 0) if own_line else cells
            share = run_text.progress_share(self._progress(row))
            text.append_text(bar(*share, cells, self._symbols))
            if own_line:
                below = [cut(Text(f"    {facts}", "dim"), self._width, self._symbols)]
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
        if row.size:
            yield units.amount(row.moved, row.size)
        if row.items > 1:
            yield f"{row.done:,}/{units.counted(row.items, item)}"
        speed = row.rate.per_second(self._now)
        if speed is not None:
            yield units.byte_rate(speed) if row.size else units.rate(speed, f"{item}s")
            _, total = run_text.progress_share(self._progress(row))
            left = row.rate.seconds_left(self._now, total)
            yield f"{units.duration(left or 0)} left"


def _done_facts(row: StepRow) -> Iterator[str]:
    if row.items > 1:
        yield units.counted(row.items, run_text.item_noun(row.verb, row.subject))
    if row.size:
        yield units.size(row.size)
    if row.note:
        yield flat(row.note)


_LABEL = 7
"""Columns before the bars."""


def gauges(state: LiveState, now: datetime, width: int, symbols: Symbols) -> Iterator[Text]:
    """The nodes and the causes of waiting (during the run) and the tasks, with their legends."""
    for pool in state.nodes.values() if not state.over else ():
        parts = node_parts(pool, symbols)
        yield _band("nodes", strip(parts, width - _LABEL))
        yield from _legend(parts, width)
    for job in state.tasks:
        parts = task_parts(state.tasks[job][1], symbols)
        cells = shares([part.count for part in parts], width - _LABEL)
        yield _band("tasks", list(zip(parts, cells, strict=True)))
        yield from _legend(parts, width)
        yield Text(" " * _LABEL + symbols.dot.join(_task_rate(state, job, now)))
    for first, wait in state.waits.values() if not state.over else ():
        label = "waits"
        for line in wrap(f"{flat(wait.summary)}{elapsed_text(first, now)}", width - _LABEL):
            yield Text().append(f"{label:<{_LABEL}}", "bold").append(line, "yellow")
            label = ""
        for line in wrap(flat(wait.action), width - _LABEL):
            yield Text(" " * _LABEL + line, "dim")


def _band(name: str, parts: list[tuple[Part, int]]) -> Text:
    line = Text().append(f"{name:<{_LABEL}}", "bold")
    for part, cells in parts:
        line.append(part.symbol * cells, part.style)
    return line


def _task_rate(state: LiveState, job: str, now: datetime) -> Iterator[str]:
    """The finished part, the rate, the time left, and the time until the limit of the job."""
    at, seen = state.tasks[job]
    done = seen.succeeded + seen.failed
    yield f"{units.percent(done, seen.total)}% of {units.counted(seen.total, 'task')}"
    if state.over or done >= seen.total:
        return
    rate = state.rates[job]
    speed, left = rate.per_second(now), rate.seconds_left(now, seen.total)
    if seen.running and speed is not None and left is not None:
        yield units.rate(speed, "tasks")
        yield f"{units.duration(left)} left"
    if seen.left is not None:
        yield f"limit in {units.duration(seen.left - (now - at).total_seconds())}"


def _legend(parts: list[Part], width: int) -> Iterator[Text]:
    """The meaning and the number of each symbol, on as few lines as possible."""
    line = Text(" " * _LABEL)
    for part in parts:
        if not part.count or not part.name:
            continue
        entry = Text().append(part.symbol, part.style).append(f" {part.count:,} {part.name}")
        if line.cell_len > _LABEL:
            if line.cell_len + entry.cell_len + 2 > width:
                yield line
                line = Text(" " * _LABEL)
            else:
                line.append("  ")
        line.append_text(entry)
    yield line
