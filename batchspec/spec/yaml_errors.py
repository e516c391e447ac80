"""Explains YAML syntax errors by the mistakes that usually cause them.

The parser reports the position at which it stopped; the cause is usually in that line or the line
above.
"""

from __future__ import annotations

import re
from dataclasses import replace

import yaml

from batchspec.diagnostics import Diagnostic, Place
from batchspec.spec.yaml_parser import Source

_TEMPLATE = re.compile(r"\{\{.*?\}\}[^#,\]}]*")
_FLOW_TEMPLATE = re.compile(r"(?:[:\[,]\s+|\[)([^\s,:\[\]{}\"'][^,:\[\]{}]*\{\{.*?\}\}[^,\]}]*)")
_BARE_TEMPLATE = re.compile(r"(?:^\s*|:\s+|(?<!\S)-\s+|[\[,]\s*)(\{\{.*)$")
_KEY = re.compile(r"\s*(?:- +)*[^\s#:\"'\[{][^:]*:(?=\s|$)")
_JOINED = re.compile(r"\s*(?:- +)*([A-Za-z_][\w-]*:)(?=[^\s/])")
_STARRED = re.compile(r"\*[^\s,\]}]*")


def explained(source: Source, error: yaml.MarkedYAMLError) -> Diagnostic:
    """The problem for an error of the parser."""
    mark = error.problem_mark or error.context_mark
    reported = error.problem or ""
    if any(part in reported for part in _LATE) and error.context_mark is not None:
        # The start of the construct is more useful than the position of the parser.
        mark = error.context_mark
    if mark is None:
        return Diagnostic("not-yaml", f"{source.file} is not valid YAML: {reported}")
    line = min(mark.line + 1, len(source.starts))
    place = source.place(line, mark.column + 1)
    bare = _bare_template(source, line, reported)
    return bare if bare is not None else _mistake(source, place, error)


_LATE = ("end of stream", "could not find expected ':'")
"""Errors that the parser notices several lines late: an open quote, a key without a colon."""


def _mistake(  # noqa: PLR0911 - one for each kind of mistake
    source: Source, place: Place, error: yaml.MarkedYAMLError
) -> Diagnostic:
    """The mistake that usually causes an error."""
    reported = error.problem or ""
    if "'\\t'" in reported or place.text[: place.column].strip(" ").startswith("\t"):
        return _tab(place)
    if "<scalar>" in reported and (opened := _opened(source, place)) is not None:
        return opened
    if reported.startswith("expected ',' or") and error.context_mark is not None:
        return _unclosed(source, place, error.context_mark, reported)
    if "mapping values" in reported:
        return _colon(source, place)
    if reported.startswith("expected <block end>"):
        return _misfit(place, reported)
    if error.context == "while scanning an alias":
        return _starred(source, place)
    for fragment, code, summary, fix in _KNOWN:
        if fragment in reported:
            return Diagnostic(code, summary, where=place, fix=fix)
    context = f" ({error.context})" if error.context else ""
    return Diagnostic("not-yaml", f"the YAML is not valid: {reported}{context}", where=place)


def _bare_template(source: Source, line: int, reported: str) -> Diagnostic | None:
    """An unquoted value with ``{{`` in the line of the error or the line above."""
    for near in (line, line - 1):
        bare = _BARE_TEMPLATE.search(source.line(near))
        if bare is not None and not _in_quotes(source.line(near), bare.start(1)):
            written = bare[1].rstrip()
            return _unquoted(source.place(near, bare.start(1) + 1, len(written)), written)
    if reported.startswith("expected ',' or"):
        text = source.line(line)
        for bare in _FLOW_TEMPLATE.finditer(text):
            if not _in_quotes(text, bare.start(1)):
                written = bare[1].strip()
                return _unquoted(source.place(line, bare.start(1) + 1, len(written)), written)
    return None


def _in_quotes(text: str, end: int) -> bool:
    """Whether quotes are open at an offset of a line, judged by the line alone."""
    return text.count('"', 0, end) % 2 == 1 or text.count("'", 0, end) % 2 == 1


def _tab(place: Place) -> Diagnostic:
    indents = not place.text[: place.column - 1].strip()
    words = "a tab cannot be used for indentation" if indents else "a tab is not allowed here"
    return Diagnostic("tab", words, where=place, fix="Use spaces.")


def _unclosed(source: Source, place: Place, start: yaml.Mark, reported: str) -> Diagnostic:
    """A ``[`` or ``{`` without its end."""
    end = "]" if "or ']'" in reported else "}"
    opened = source.place(start.line + 1, start.column + 1)
    if opened.line == place.line:
        return Diagnostic("unclosed", f"a `,` or the closing `{end}` is missing", where=place)
    comment = " #" in opened.text[opened.column :]
    return Diagnostic(
        "unclosed",
        f"the closing `{end}` is missing before line {place.line}",
        where=opened,
        fix="Put a string that contains ` #` in quotes; ` #` starts a comment." if comment else "",
    )


def _colon(source: Source, place: Place) -> Diagnostic:
    """A ``:`` in a plain scalar of this line, or of this line and the line above."""
    first = _KEY.match(place.text)
    if first is None or first.end() != place.column:
        return Diagnostic(
            "bad-colon",
            "a `:` is not allowed here",
            where=place,
            fix="Put a value that contains `: ` in quotes, and indent the line like those nearby.",
        )
    above = place.line - 1
    while above > 1 and not source.line(above).strip():
        above -= 1
    text = source.line(above)
    written = text.strip()
    if (key := _KEY.match(text)) is not None and text[key.end() :].strip():
        start = len(place.text) - len(place.text.lstrip())
        return Diagnostic(
            "bad-indent",
            "the line is indented more than the one above, which already has a value",
            where=source.place(place.line, start + 1, place.column - start),
            fix="Indent both lines equally.",
        )
    return Diagnostic(
        "no-colon",
        "the `: ` after the key is missing",
        where=source.place(above, len(text) - len(text.lstrip()) + 1, len(written)),
        fix="Write a space after the `:`." if ":" in written else "Write `key: value`.",
    )


def _misfit(place: Place, reported: str) -> Diagnostic:
    """Text after a value, or a line with the wrong indentation."""
    before = place.text[: place.column - 1].rstrip()
    if (joined := _JOINED.match(place.text)) is not None and _KEY.match(place.text) is None:
        start, end = joined.span(1)
        return Diagnostic(
            "no-colon",
            "the `: ` after the key is missing",
            where=replace(place, column=start + 1, length=end - start),
            fix="Write a space after the `:`.",
        )
    if place.text[place.column - 1 :].startswith(":") and not before.strip(" -"):
        return Diagnostic("no-key", "the key before the `:` is missing", where=place)
    if "<scalar>" in reported and before.endswith(("'", '"', "]", "}")):
        quote = before.endswith("'")
        return Diagnostic(
            "after-value",
            "unexpected text after the value",
            where=place,
            fix="Inside single quotes, write `'` twice."
            if quote
            else "Put the whole value in quotes.",
        )
    return Diagnostic(
        "bad-indent",
        "the indentation does not match the lines above",
        where=place,
        fix="Indent it like its neighbors, and put values with special characters in quotes.",
    )


def _opened(source: Source, place: Place) -> Diagnostic | None:
    """A quote that was opened in a line above and closed just before this position."""
    before = place.text[: place.column - 1].rstrip()
    quote = before[-1:]
    if quote not in ("'", '"') or before.count(quote) % 2 == 0:
        return None
    for above in range(place.line - 1, 0, -1):
        text = source.line(above)
        if text.count(quote) % 2 == 1:
            return Diagnostic(
                "unclosed",
                f"the quoted string that starts here continues to line {place.line}",
                where=source.place(above, text.rindex(quote) + 1),
                fix="Close the quotes.",
            )
    return None


def _starred(source: Source, place: Place) -> Diagnostic:
    """A glob pattern that YAML interprets as an alias."""
    start = place.text.rfind("*", 0, place.column)
    match = _STARRED.match(place.text, max(0, start))
    written = match.group() if match else "*"
    return Diagnostic(
        "unquoted-star",
        "a string that starts with `*` must be in quotes",
        where=source.place(place.line, start + 1, len(written)),
        fix=f'Write "{written}".',
    )


def unquoted_template(source: Source, where: Place) -> Diagnostic | None:
    """The problem for a ``{{ ... }}`` that YAML interprets as a mapping, if there is one."""
    text = source.line(where.line)
    start = text.rfind("{{", 0, where.column + 1)
    if start < 0 or where.column - 1 - start > 1:
        return None
    match = _TEMPLATE.match(text, start)
    written = (match.group() if match else text[start:]).rstrip()
    return _unquoted(source.place(where.line, start + 1, len(written)), written)


def _unquoted(where: Place, written: str) -> Diagnostic:
    mark = "'" if '"' in written else '"'
    return Diagnostic(
        "unquoted-template",
        "a value with `{{` must be in quotes here",
        where=where,
        fix=f"Write {mark}{written}{mark}.",
    )


_KNOWN = (
    (
        "could not find expected ':'",
        "no-colon",
        "the `:` after the key is missing",
        "Write `key: value`.",
    ),
    (
        "expected '<document start>', but found '<block mapping start>'",
        "bad-indent",
        "the line is indented less than the first line",
        "Start keys of the same level in the same column.",
    ),
    (
        "but found '<stream end>'",
        "unclosed",
        "the file ends inside `[ ]` or `{ }`",
        "Add the closing bracket.",
    ),
    ("node content, but found ':'", "no-key", "the key before the `:` is missing", ""),
    (
        "node content, but found",
        "no-value",
        "a value is missing here",
        "Write a value, or remove this character.",
    ),
    (
        "sequence entries are not allowed",
        "bad-list",
        "a list item cannot start here",
        "Start it on a new line, or write `[a, b]`.",
    ),
    (
        "expected a comment or a line break",
        "bad-block",
        "the text after `|` or `>` must start on the next line",
        "To start a string with `|` or `>`, put it in quotes.",
    ),
    (
        "expected chomping or indentation indicators",
        "bad-block",
        "the text after `|` or `>` must start on the next line",
        "To start a string with `|` or `>`, put it in quotes.",
    ),
    (
        "found unexpected end of stream",
        "unclosed",
        "the closing quote is missing",
        "Close the quotes.",
    ),
    (
        "found unknown escape character",
        "bad-escape",
        "the escape sequence is not valid; a backslash in double quotes starts one",
        "Write two backslashes, or use single quotes.",
    ),
    (
        "cannot start any token",
        "bad-start",
        "a value cannot start with this character",
        "Put the value in quotes.",
    ),
)
