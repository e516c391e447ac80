"""Parts of the page: tables, folded parts, places for charts. All texts are escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from batchspec.frozen import frozen
from batchspec.render.output import clean
from batchspec.render.run_text import tail_lines


@frozen
class Cell:
    """A cell of a table: its text, a style class, and the full text of a shortened one."""

    text: str
    kind: str = ""
    title: str = ""


def table(
    caption: str, heads: Sequence[str], rows: Iterable[Sequence[str | Cell]]
) -> Iterator[str]:
    """A table that scrolls sideways where it is too wide; nothing without rows.

    Columns whose name starts with ``#`` contain numbers. The first column names the row.
    """
    lines = [_row(row, heads) for row in rows]
    if not lines:
        return
    label = escape(caption)
    yield f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><table>'
    yield f"<caption>{label}</caption>\n<thead><tr>"
    for head in heads:
        kind = ' class="number"' if head.startswith("#") else ""
        yield f'<th scope="col"{kind}>{escape(head.removeprefix("#"))}</th>'
    yield "</tr></thead>\n<tbody>"
    yield from lines
    yield "</tbody></table></div>"


def _row(row: Sequence[str | Cell], heads: Sequence[str]) -> str:
    cells = []
    for number, (value, head) in enumerate(zip(row, heads, strict=True)):
        cell = value if isinstance(value, Cell) else Cell(value)
        kinds = [*(["number"] if head.startswith("#") else []), *([cell.kind] if cell.kind else [])]
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        title = f' title="{escape(cell.title)}"' if cell.title else ""
        name = 'th scope="row"' if number == 0 else "td"
        cells.append(f"<{name}{kind}{title}>{escape(cell.text)}</{name[:2]}>")
    return f"<tr>{''.join(cells)}</tr>"


def folded(title: str, lines: Iterable[str], *, opened: bool = False) -> Iterator[str]:
    """A part that is shown on request; nothing if it is empty."""
    body = list(lines)
    if body:
        yield f"<details{' open' if opened else ''}><summary>{escape(title)}</summary>"
        yield from body
        yield "</details>"


def definitions(values: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Names with their texts; those without a text are left out."""
    yield "<dl>"
    for name, text in values:
        if text:
            yield f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>"
    yield "</dl>"


def command(text: str) -> str:
    """A command that can be copied."""
    return f'<code class="command">{escape(clean(text))}</code>'


def output(text: str) -> Iterator[str]:
    """The last lines of an output; nothing if it is empty."""
    lines = [line.removeprefix("  | ").removeprefix("  |") for line in tail_lines(text)]
    if lines:
        yield f'<pre class="output">{escape(chr(10).join(lines))}</pre>'


def listing(text: str) -> str:
    """A text with its lines as they are."""
    return f"<pre>{escape(clean(text).rstrip())}</pre>"


def chart(key: str, label: str) -> str:
    """The place of a chart, which the scripts draw; without scripts it is not shown."""
    return (
        f'<figure class="chart" id="{key}-chart" data-label="{escape(label)}" hidden></figure>'
        '<noscript><p class="dim">The chart needs scripts; the table below does not.</p></noscript>'
    )
