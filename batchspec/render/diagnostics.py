"""Diagnostics as text and as JSON: place, summary, source line, detail and fix."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import accumulate

from batchspec.diagnostics import Diagnostic, Place, Severity
from batchspec.render import units
from batchspec.render.output import NodeIds, Style, clean, flat

_TAB = 4
_ORDER = tuple(Severity)
MOST_SHOWN = 100
"""Diagnostics that are shown as text."""
MOST_IN_JSON = 1000
"""Diagnostics in a JSON object."""


def diagnostic_text(problem: Diagnostic, *, color: bool = False, width: int = 100) -> str:
    """A diagnostic on one or more lines.

    ``file:line:col: error: summary [code]``, the source line with a caret below it, the detail and
    ``fix: ...``; empty parts are omitted. A source line longer than ``width`` columns is cut to the
    part around the caret.
    """
    style = Style(color)
    where = problem.where
    head = style("bold", f"{flat(where.file)}:{where.line}:{where.column}: ") if where else ""
    head += style(problem.severity.value, f"{problem.severity.value}:")
    summary, _, more = clean(problem.summary).partition("\n")
    lines = [f"{head} {summary} {style('dim', f'[{problem.code}]')}"]
    if where and where.text.strip():
        lines += _source(where, style, problem.severity, width)
    lines += [f"  {line}".rstrip() for line in more.splitlines()]
    lines += [f"  {line}".rstrip() for line in clean(problem.detail).splitlines()]
    if problem.request_id:
        lines.append(style("dim", f"  request id: {flat(problem.request_id)}"))
    if problem.fix:
        first, *rest = clean(problem.fix).splitlines()
        lines.append(f"  {style('fix', 'fix:')} {first}")
        lines += [f"       {line}".rstrip() for line in rest]
    return "\n".join(lines)


def diagnostics_text(
    problems: Sequence[Diagnostic], *, color: bool = False, width: int = 100
) -> str:
    """Several diagnostics, followed by their number; a single one has no number."""
    shown = _first(problems, MOST_SHOWN)
    short = map(NodeIds().problem, shown)
    texts = [diagnostic_text(problem, color=color, width=width) for problem in short]
    if len(problems) > 1:
        more = len(problems) - len(shown)
        rest = f"; {more:,} more are not shown" if more else ""
        texts.append(severity_counts(problems) + rest)
    apart = "\n\n" if any("\n" in text for text in texts) else "\n"
    return apart.join(texts)


def diagnostics_json(problems: Sequence[Diagnostic]) -> dict[str, object]:
    """Several diagnostics as a JSON object; ``more`` is the number of omitted diagnostics."""
    shown = _first(problems, MOST_IN_JSON)
    more = len(problems) - len(shown)
    found: dict[str, object] = {
        "version": 1,
        "problems": [diagnostic_json(problem) for problem in shown],
    }
    return {**found, "more": more} if more else found


def _first(problems: Sequence[Diagnostic], most: int) -> Sequence[Diagnostic]:
    """The problems to show: all of them, or the ``most`` most severe in their order."""
    if len(problems) <= most:
        return problems
    kept = sorted(range(len(problems)), key=lambda n: (_ORDER.index(problems[n].severity), n))
    return [problems[number] for number in sorted(kept[:most])]


def severity_counts(problems: Sequence[Diagnostic]) -> str:
    """The number of diagnostics by severity: ``3 errors, 1 warning``."""
    numbers = [(sum(p.severity is severity for p in problems), severity) for severity in _ORDER]
    return ", ".join(units.counted(count, severity.value) for count, severity in numbers if count)


def diagnostic_json(problem: Diagnostic) -> dict[str, object]:
    """A diagnostic as a JSON object without empty fields; ``where`` is ``null`` if unknown."""
    where = problem.where
    found: dict[str, object] = {
        "code": problem.code,
        "severity": problem.severity.value,
        "message": problem.summary,
        "where": place_json(where) if where else None,
    }
    more = {"detail": problem.detail, "hint": problem.fix, "request_id": problem.request_id}
    return {**found, **{key: text for key, text in more.items() if text}}


def place_json(where: Place) -> dict[str, object]:
    """A place as a JSON object: lines and columns count from 1, ``length`` is in characters."""
    return {
        "file": where.file,
        "line": where.line,
        "column": where.column,
        "length": where.length,
    }


def _source(where: Place, style: Style, severity: Severity, width: int) -> list[str]:
    """The source line with its number, and the caret line."""
    text = where.text.rstrip()
    start = min(max(where.column - 1, 0), len(text))
    end = max(min(start + max(where.length, 1), len(text)), start + 1)
    cells = [_cell(character) for character in text] + [" "]
    gutter = f"{where.line:>4} | "
    cells, offset = _window(cells, start, end, width - len(gutter))
    before = "".join(cells[: start - offset])
    marked = "".join(cells[start - offset : end - offset])
    shown = "".join(cells).rstrip()
    # Redaction can shorten the line; then the caret would point to the wrong place.
    safe = clean(shown)
    lines = [style("dim", gutter) + safe]
    if safe == shown:
        caret = "^" * max(cell_width(marked), 1)
        margin = style("dim", "     | ") + " " * cell_width(before)
        lines.append(margin + style(severity.value, caret))
    return lines


def _window(cells: list[str], start: int, end: int, room: int) -> tuple[list[str], int]:
    """The part of a line around the marked text that fits into ``room`` columns, and its start."""
    if cell_width("".join(cells)) <= room + 1:
        return cells, 0
    first = max(start - room // 3, 0)
    if cell_width("".join(cells[: end + 1])) <= room - 3:
        first = 0
    part = cells[first:]
    if first:
        # The dots replace three characters.
        first -= 3
        part = [".", ".", ".", *part]
    widths = accumulate(map(cell_width, part))
    kept = [cell for cell, end_of_cell in zip(part, widths, strict=True) if end_of_cell <= room - 3]
    return [*kept, "..."], first


def _cell(character: str) -> str:
    """The text for one character: blanks for a tab, ``?`` for a control character."""
    if character == "\t":
        return " " * _TAB
    if unicodedata.category(character) in {"Cc", "Zl", "Zp"}:
        return "?"
    return character


def cell_width(text: str) -> int:
    """The columns of a text on a terminal: wide characters have two, combining ones none."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415  (imports rich, and most text is ASCII)

    return cell_len(text)
