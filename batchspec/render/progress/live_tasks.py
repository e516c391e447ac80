"""Nodes, tasks, failures and causes of waiting as lines of the live view, and its bars."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime

from rich.text import Text

from batchspec.apply.events import NodesSeen
from batchspec.diagnostics import Severity
from batchspec.frozen import frozen
from batchspec.plan.failures import last_line
from batchspec.render import units
from batchspec.render.output import Symbols, flat, wrap
from batchspec.render.progress.state import LiveState, TaskLine
from batchspec.render.report import node_prices, spent
from batchspec.render.run_text import elapsed_text, node_state_text


@frozen
class Part:
    """A part of a bar: its symbol, colour and name, and its number."""

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


def flowed(entries: Iterable[Text], separator: str, width: int, indent: int) -> Iterator[Text]:
    """The entries beside each other on as few lines as possible."""
    line = Text(" " * indent)
    for entry in entries:
        if line.cell_len > indent:
            if line.cell_len + entry.cell_len + len(separator) > width:
                yield line
                line = Text(" " * indent)
            else:
                line.append(separator)
        line.append_text(entry)
    yield line


def bar(done: int, whole: int, cells: int, symbols: Symbols) -> Text:
    """A progress bar; it is full only when ``done`` reaches ``whole``."""
    full = min(cells * done // whole, cells) if whole else cells
    head = symbols.head if 0 < full < cells else ""
    text = Text().append(symbols.full * (full - len(head)) + head, "cyan")
    return text.append(symbols.rest * (cells - full), "dim")


LABEL = 9
"""Columns of the labels before nodes, tasks and failures."""

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
        "failed": ("!", "bold red"),
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


def nodes_lines(state: LiveState, now: datetime, width: int, symbols: Symbols) -> Iterator[Text]:
    """A strip of the nodes of each pool, its legend, and the node-hours so far."""
    for name, pool in state.nodes.items():
        parts = node_parts(pool, symbols)
        yield _band("nodes", strip(parts, width - LABEL))
        entries = [*_entries(parts), *map(Text, used(state, name, now))]
        yield from flowed(entries, "  ", width, LABEL)


def used(state: LiveState, pool: str, now: datetime) -> Iterator[str]:
    """The node-hours of a pool since the first event about it."""
    hours = state.node_time[pool].until(now)
    total = sum(hours.values())
    digits = 3 if total < 0.1 else 2 if total < 10 else 0
    yield f"{total:,.{digits}f} node-hours"
    if state.prices is not None:
        cost = spent(hours, node_prices(state.prices))
        yield "cost not known" if cost is None else units.money(cost, state.prices.currency)


def _band(name: str, parts: list[tuple[Part, int]]) -> Text:
    line = Text().append(f"{name:<{LABEL}}", "bold")
    for part, cells in parts:
        line.append(part.symbol * cells, part.style)
    return line


def _entries(parts: Sequence[Part]) -> Iterator[Text]:
    """The meaning and the number of each symbol."""
    for part in parts:
        if part.count and part.name:
            text = Text().append(part.symbol, part.style)
            yield text.append(f" {units.number(part.count)} {part.name}")


_MOST_STAGES = 6
"""The maximum number of stages with a line; further stages that are done or only wait are
counted."""
_SHORTEST_NAME, _LONGEST_NAME = 8, 24
_SHORTEST_BAR, _LONGEST_BAR = 8, 30
_TITLES = ("done", "", "running", "failed", "waiting", "rate", "time left")


def tasks_lines(state: LiveState, now: datetime, width: int, symbols: Symbols) -> Iterator[Text]:
    """A table of the stages of each job: done, running, failed, waiting, rate, time left."""
    for job in state.tasks:
        lines = state.task_lines(job, now)
        shown, counted = _shown(lines)
        titles = _TITLES[:5] if state.over else _TITLES
        yield from _Table(shown, width, symbols, titles).lines()
        yield from (Text(f"  {text}", "dim") for text in counted)
        at, seen = state.tasks[job]
        if seen.left is not None and lines[-1].done < seen.total and not state.over:
            limit = units.duration(seen.left - (now - at).total_seconds())
            yield Text(f"  limit in {limit}", "dim")


def _shown(lines: Sequence[TaskLine]) -> tuple[Sequence[TaskLine], list[str]]:
    """The lines to show, and the number of other stages."""
    if len(lines) <= _MOST_STAGES:
        return lines, []
    *stages, last = lines
    # First stages that run, then stages with failures.
    notable = [line for line in stages if line.running or (0 < line.done < line.total)]
    notable += [line for line in stages if line not in notable and line.failed]
    shown = notable[:_MOST_STAGES]
    others = Counter(_progress(line) for line in stages if line not in shown)
    counted = [
        f"{units.counted(others[text], 'more stage')} {text}"
        for text in ("done", "waiting", "running", "failed")
        if others[text]
    ]
    return [*(line for line in stages if line in shown), last], counted


def _progress(line: TaskLine) -> str:
    if not (line.done or line.running):
        return "waiting"
    if line.done < line.total:
        return "running"
    return "failed" if line.failed else "done"


class _Table:
    """A line for each stage; on a narrow terminal two, without titles."""

    def __init__(
        self, lines: Sequence[TaskLine], width: int, symbols: Symbols, titles: Sequence[str]
    ) -> None:
        self._lines, self._width, self._symbols, self._titles = lines, width, symbols, titles
        self._cells = [_cells(line)[: len(titles)] for line in lines]
        self._columns = [
            max(len(title), *(len(cells[at]) for cells in self._cells))
            for at, title in enumerate(titles)
        ]
        names = max(len(flat(line.name)) for line in lines)
        spare = width - sum(self._columns) - 2 * len(titles)
        self._narrow = spare < _SHORTEST_NAME
        self._name = min(names, width // 3 if self._narrow else spare, _LONGEST_NAME)
        bar = min(spare - self._name - 2, _LONGEST_BAR)
        self._bar = bar if bar >= _SHORTEST_BAR and not self._narrow else 0

    def lines(self) -> Iterator[Text]:
        """The titles and the stages."""
        if self._narrow:
            for line, cells in zip(self._lines, self._cells, strict=True):
                yield from self._two(line, cells)
            return
        title = "stage" if len(self._lines) > 1 else ""
        head = f"{title:<{self._name + (self._bar + 2 if self._bar else 0)}}"
        titles = "".join(f"  {t:>{w}}" for t, w in zip(self._titles, self._columns, strict=True))
        yield Text(head + titles, "bold")
        for line, values in zip(self._lines, self._cells, strict=True):
            text = self._named(line)
            if self._bar:
                text.append("  ").append_text(self._progress(line, self._bar))
            for at, (value, size) in enumerate(zip(values, self._columns, strict=True)):
                text.append("  " + " " * (size - len(value))).append(value, _style(at, line))
            yield text

    def _two(self, line: TaskLine, cells: Sequence[str]) -> Iterator[Text]:
        right = Text(f"  {cells[0]}  {cells[1]:>4}")
        text = self._named(line)
        room = self._width - text.cell_len - right.cell_len - 2
        text.append("  ").append_text(self._progress(line, max(room, 0)))
        yield text.append_text(right)
        facts = []
        for at, (title, cell) in enumerate(zip(self._titles, cells, strict=True)):
            if at >= 2 and cell:
                fact = f"{title} {cell}" if title == _TITLES[-1] else cell
                fact += f" {title}" if title not in _TITLES[-2:] else ""
                facts.append(Text(fact, _style(at, line)))
        if facts:
            yield from flowed(facts, self._symbols.dot, self._width, 2)

    def _named(self, line: TaskLine) -> Text:
        name = cut(Text(flat(line.name)), self._name, self._symbols)
        name.pad_right(self._name - name.cell_len)
        return name

    def _progress(self, line: TaskLine, cells: int) -> Text:
        parts = [
            Part(self._symbols.succeeded, "green", "succeeded", line.succeeded),
            Part(self._symbols.task_failed, "bold red", "failed", line.failed),
            Part(self._symbols.running, "yellow", "running", line.running),
            Part(self._symbols.active, "dim", "waiting", max(line.active, 0)),
        ]
        text = Text()
        sizes = shares([part.count for part in parts], cells)
        for part, size in zip(parts, sizes, strict=True):
            text.append(part.symbol * size, part.style)
        text.pad_right(max(cells - text.cell_len, 0))
        return text


def _cells(line: TaskLine) -> tuple[str, ...]:
    """The texts of the columns; zeros and unknown values are empty."""
    return (
        f"{line.done:,}/{line.total:,}",
        f"{units.percent(line.done, line.total)}%",
        *(f"{count:,}" if count > 0 else "" for count in (line.running, line.failed, line.active)),
        "" if line.rate is None else units.rate(line.rate, "").replace(" /", "/"),
        units.estimate(line.left) if line.running else "",
    )


def _style(column: int, line: TaskLine) -> str:
    if column == 3 and line.failed:
        return "bold red"
    return "green" if column <= 1 and line.total and line.succeeded >= line.total else ""


def longest_lines(state: LiveState, now: datetime, width: int, symbols: Symbols) -> Iterator[Text]:
    """The tasks that have run longest, each with its node and run time."""
    rows = [
        (
            flat(task.task),
            flat(task.node),
            units.duration(task.seconds + (now - at).total_seconds()),
        )
        for at, seen in state.longest.values()
        for task in seen.tasks
    ]
    if not rows:
        return
    ages = max(len(age) for _, _, age in rows)
    label = "longest"
    for task, node, age in rows:
        text = f"{task} on {node}" if node else task
        line = Text().append(f"{label:<{LABEL}}", "bold").append(f"{age:>{ages}}  ")
        yield cut(line.append(text), width, symbols)
        label = ""


_MOST_CAUSES = 5


def failures_lines(state: LiveState, width: int, symbols: Symbols) -> Iterator[Text]:
    """The failures by cause, the most frequent first, each with its number and an example."""
    groups = state.failures()
    numbers = max((len(f"{group.count:,}") for group in groups), default=0)
    label = "failed"
    for group in groups[:_MOST_CAUSES]:
        line = Text().append(f"{label:<{LABEL}}", "bold")
        noun = group.noun if group.count == 1 else f"{group.noun}s"
        line.append(f"{group.count:>{numbers},} {noun:<5}  ", "bold red").append(group.reason())
        if stderr := flat(last_line(group.stderr)):
            line.append(f"  {stderr}", "dim")
        yield cut(line, width, symbols)
        label = ""
    if more := groups[_MOST_CAUSES:]:
        count = sum(group.count for group in more)
        text = f"{count:,} for {units.counted(len(more), 'other cause')}"
        yield Text(" " * LABEL + text, "dim")


def waits_lines(state: LiveState, now: datetime, width: int) -> Iterator[Text]:
    """The causes for which the run or a part of it waits, with fixes."""
    for first, wait in state.waits.values():
        label = "waits"
        for line in wrap(f"{flat(wait.summary)}{elapsed_text(first, now)}", width - LABEL):
            # Yellow text is hardly legible on white.
            yield Text().append(f"{label:<{LABEL}}", "bold yellow").append(line, "bold")
            label = ""
        for line in wrap(flat(wait.action), width - LABEL):
            yield Text(" " * LABEL + line, "dim")


_MOST_NOTES = 3
_COLORS = {Severity.ERROR: "bold red", Severity.WARNING: "bold"}


def notes_lines(state: LiveState, width: int) -> Iterator[Text]:
    """The latest diagnostics in brief; they are printed in full when the screen is left."""
    label = "notes"
    for problem in list(state.notes)[-_MOST_NOTES:]:
        lines = wrap(f"{problem.severity}: {flat(problem.summary)}", width - LABEL)
        for line in lines[:2]:
            yield (
                Text()
                .append(f"{label:<{LABEL}}", "bold")
                .append(line, _COLORS.get(problem.severity, ""))
            )
            label = ""
