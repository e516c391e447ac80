"""Lines that fit: cut with a sign that there was more, two ends pushed apart, bars."""

from __future__ import annotations

from rich.text import Text

from batchspec.render.glyphs import Glyphs


def cut(text: Text, width: int, glyphs: Glyphs) -> Text:
    """The text, or as much of it as fits."""
    if text.cell_len > max(width, 0):
        text.truncate(max(width - 1, 0), overflow="crop")
        text.append(glyphs.ellipsis if width > 0 else "")
    return text


def sides(left: Text, right: Text, width: int, glyphs: Glyphs) -> Text:
    """Something at the left and something at the right; the left gives way."""
    left = cut(left, width - right.cell_len - 1, glyphs)
    gap = max(width - left.cell_len - right.cell_len, 0)
    return left.append(" " * gap).append_text(right)


def bar(done: int, whole: int, cells: int, glyphs: Glyphs) -> Text:
    """How much is done of a whole; it is full only when all is."""
    full = min(cells * done // whole, cells) if whole else cells
    head = glyphs.head if 0 < full < cells else ""
    text = Text().append(glyphs.full * (full - len(head)) + head, "cyan")
    return text.append(glyphs.rest * (cells - full), "dim")
