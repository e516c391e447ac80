"""What is wrong with a text that is not YAML, in words that name the usual slip.

The parser says what it could not go on with; the line itself, or the one above, mostly says why.
"""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from batchspec.problems import Place, Problem
from batchspec.spec.source import Source

_TEMPLATE = re.compile(r"\{\{.*?\}\}[^#,\]}]*")
_FLOW_TEMPLATE = re.compile(r"(?:[:\[,]\s+|\[)([^\s,:\[\]{}\"'][^,:\[\]{}]*\{\{.*?\}\}[^,\]}]*)")
_BARE_TEMPLATE = re.compile(r"(?:^\s*|:\s+|(?<!\S)-\s+|[\[,]\s*)(\{\{.*)$")
_KEY = re.compile(r"\s*(?:- +)*[^\s#:\"'\[{][^:]*:(?=\s|$)")
_JOINED = re.compile(r"\s*(?:- +)*([A-Za-z_][\w-]*:)(?=[^\s/])")
_STARRED = re.compile(r"\*[^\s,\]}]*")


def faulty(source: Source, error: yaml.MarkedYAMLError) -> Problem:
    """The problem that a parser's error stands for."""
    mark = error.problem_mark or error.context_mark
    said = error.problem or ""
    if any(part in said for part in _LATE) and error.context_mark is not None:
        # Where it is noticed says nothing; where it began does.
        mark = error.context_mark
    if mark is None:
        return Problem("not-yaml", f"{source.file} is not YAML: {said}")
    line = min(mark.line + 1, len(source.starts))
    place = source.place(line, mark.column + 1)
    bare = _bare_template(source, line, said)
    return bare if bare is not None else _slip(source, place, error)


_LATE = ("end of stream", "could not find expected ':'")
"""What is noticed lines after it happened: an open quote, a key without its colon."""


def _slip(  # noqa: PLR0911 - one for each kind of slip
    source: Source, place: Place, error: yaml.MarkedYAMLError
) -> Problem:
    """The usual slip behind an error."""
    said = error.problem or ""
    if "'\\t'" in said or place.text[: place.column].strip(" ").startswith("\t"):
        return _tab(place)
    if "<scalar>" in said and (opened := _opened(source, place)) is not None:
        return opened
    if said.startswith("expected ',' or") and error.context_mark is not None:
        return _unclosed(source, place, error.context_mark, said)
    if "mapping values" in said:
        return _colon(source, place)
    if said.startswith("expected <block end>"):
        return _misfit(place, said)
    if error.context == "while scanning an alias":
        return _starred(source, place)
    for fragment, code, summary, hint in _KNOWN:
        if fragment in said:
            return Problem(code, summary, where=place, hint=hint)
    context = f" ({error.context})" if error.context else ""
    return Problem("not-yaml", f"this is not YAML: {said}{context}", where=place)


def _bare_template(source: Source, line: int, said: str) -> Problem | None:
    """A value with ``{{`` that is in no quotes, in the line of the error or just above it."""
    for near in (line, line - 1):
        bare = _BARE_TEMPLATE.search(source.line(near))
        if bare is not None and not _in_quotes(source.line(near), bare.start(1)):
            written = bare[1].rstrip()
            return _unquoted(source.place(near, bare.start(1) + 1, len(written)), written)
    if said.startswith("expected ',' or"):
        text = source.line(line)
        for bare in _FLOW_TEMPLATE.finditer(text):
            if not _in_quotes(text, bare.start(1)):
                written = bare[1].strip()
                return _unquoted(source.place(line, bare.start(1) + 1, len(written)), written)
    return None


def _in_quotes(text: str, end: int) -> bool:
    """Whether quotes are open at a place of a line, as well as one line tells."""
    return text.count('"', 0, end) % 2 == 1 or text.count("'", 0, end) % 2 == 1


def _tab(place: Place) -> Problem:
    indents = not place.text[: place.column - 1].strip()
    words = "a tab cannot indent a line" if indents else "a tab cannot stand here"
    return Problem("tab", words, where=place, hint="Use spaces.")


def _unclosed(source: Source, place: Place, start: yaml.Mark, said: str) -> Problem:
    """A ``[`` or ``{`` whose end is missing: where it went wrong, or where it began lines above."""
    end = "]" if "or ']'" in said else "}"
    opened = source.place(start.line + 1, start.column + 1)
    if opened.line == place.line:
        return Problem("unclosed", f"a `,` or the closing `{end}` is missing", where=place)
    comment = " #" in opened.text[opened.column :]
    return Problem(
        "unclosed",
        f"this is not closed before line {place.line}: `{end}` is missing",
        where=opened,
        hint="` #` starts a comment: put a text that has it in quotes." if comment else "",
    )


def _colon(source: Source, place: Place) -> Problem:
    """A ``:`` in what YAML takes for a text: of one line, or of this one and the one above."""
    first = _KEY.match(place.text)
    if first is None or first.end() != place.column:
        return Problem(
            "bad-colon",
            "a `:` cannot be here",
            where=place,
            hint="Put a text that holds `: ` in quotes, and indent the line as its neighbours are.",
        )
    above = place.line - 1
    while above > 1 and not source.line(above).strip():
        above -= 1
    text = source.line(above)
    written = text.strip()
    if (key := _KEY.match(text)) is not None and text[key.end() :].strip():
        start = len(place.text) - len(place.text.lstrip())
        return Problem(
            "bad-indent",
            "this line is indented more than the one above, which has a value",
            where=source.place(place.line, start + 1, place.column - start),
            hint="Indent the two alike.",
        )
    return Problem(
        "no-colon",
        "there is no `: ` in this line",
        where=source.place(above, len(text) - len(text.lstrip()) + 1, len(written)),
        hint="Write a space after the `:`." if ":" in written else "Write `key: value`.",
    )


def _misfit(place: Place, said: str) -> Problem:
    """Something that ends no block: a stray text after a value, or a line out of line."""
    before = place.text[: place.column - 1].rstrip()
    if (joined := _JOINED.match(place.text)) is not None and _KEY.match(place.text) is None:
        start, end = joined.span(1)
        return Problem(
            "no-colon",
            "there is no `: ` in this line",
            where=replace(place, column=start + 1, length=end - start),
            hint="Write a space after the `:`.",
        )
    if place.text[place.column - 1 :].startswith(":") and not before.strip(" -"):
        return Problem("no-key", "there is no key before the `:`", where=place)
    if "<scalar>" in said and before.endswith(("'", '"', "]", "}")):
        quote = before.endswith("'")
        return Problem(
            "after-value",
            "the value ends before this",
            where=place,
            hint="Within single quotes, `'` is written twice."
            if quote
            else "Put the whole value in quotes.",
        )
    return Problem(
        "bad-indent",
        "this line does not fit the ones above it",
        where=place,
        hint="Indent it as its neighbours are, and put values with special characters in quotes.",
    )


def _opened(source: Source, place: Place) -> Problem | None:
    """A quote that was opened lines above, and that the one before this place has closed."""
    before = place.text[: place.column - 1].rstrip()
    quote = before[-1:]
    if quote not in ("'", '"') or before.count(quote) % 2 == 0:
        return None
    for above in range(place.line - 1, 0, -1):
        text = source.line(above)
        if text.count(quote) % 2 == 1:
            return Problem(
                "unclosed",
                f"the text in quotes that starts here goes on to line {place.line}",
                where=source.place(above, text.rindex(quote) + 1),
                hint="Close the quotes.",
            )
    return None


def _starred(source: Source, place: Place) -> Problem:
    """A pattern that YAML takes for the name of an anchor."""
    start = place.text.rfind("*", 0, place.column)
    match = _STARRED.match(place.text, max(0, start))
    written = match.group() if match else "*"
    return Problem(
        "unquoted-star",
        "a text that starts with `*` must be in quotes",
        where=source.place(place.line, start + 1, len(written)),
        hint=f'Write "{written}".',
    )


def unquoted_template(source: Source, where: Place) -> Problem | None:
    """The problem of a ``{{ ... }}`` that YAML took for a mapping, if one stands there."""
    text = source.line(where.line)
    start = text.rfind("{{", 0, where.column + 1)
    if start < 0 or where.column - 1 - start > 1:
        return None
    match = _TEMPLATE.match(text, start)
    written = (match.group() if match else text[start:]).rstrip()
    return _unquoted(source.place(where.line, start + 1, len(written)), written)


def _unquoted(where: Place, written: str) -> Problem:
    mark = "'" if '"' in written else '"'
    return Problem(
        "unquoted-template",
        "a value with `{{` must be in quotes here",
        where=where,
        hint=f"Write {mark}{written}{mark}.",
    )


_KNOWN = (
    (
        "could not find expected ':'",
        "no-colon",
        "there is no `:` after this key",
        "Write `key: value`.",
    ),
    (
        "expected '<document start>', but found '<block mapping start>'",
        "bad-indent",
        "this line is indented less than the first one",
        "Keys of the same level start in the same column.",
    ),
    (
        "but found '<stream end>'",
        "unclosed",
        "the file ends within `[ ]` or `{ }`",
        "Close what is open.",
    ),
    ("node content, but found ':'", "no-key", "there is no key before the `:`", ""),
    (
        "node content, but found",
        "no-value",
        "a value is missing before this",
        "Write one, or take this out.",
    ),
    (
        "sequence entries are not allowed",
        "bad-list",
        "an item of a list cannot start here",
        "Start it on a line of its own, or write `[a, b]`.",
    ),
    (
        "expected a comment or a line break",
        "bad-block",
        "after `|` or `>` the text starts on the next line",
        "Put a text that is to start with such a character in quotes.",
    ),
    (
        "expected chomping or indentation indicators",
        "bad-block",
        "after `|` or `>` the text starts on the next line",
        "Put a text that is to start with such a character in quotes.",
    ),
    (
        "found unexpected end of stream",
        "unclosed",
        "the text ends inside quotes",
        "Close the quotes.",
    ),
    (
        "found unknown escape character",
        "bad-escape",
        "a backslash in double quotes starts an escape, and this is none",
        "Write two backslashes, or use single quotes.",
    ),
    (
        "cannot start any token",
        "bad-start",
        "a value cannot start with this character",
        "Put the value in quotes.",
    ),
)
