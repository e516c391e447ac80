"""Bars and strips of cells, and texts that fit beside each other on a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.text import Text

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
