"""What is wrong with a text that is not YAML, in words that name the usual slip.

The parser says what it could not go on with; the line itself mostly says why.
"""

from __future__ import annotations

import re

import yaml

from batchspec.problems import Place, Problem
from batchspec.spec.source import Source

_TEMPLATE = re.compile(r"\{\{.*?\}\}[^#,\]}]*")
_FLOW_TEMPLATE = re.compile(r"(?:[:\[,]\s+|\[)([^\s,:\[\]{}\"'][^,:\[\]{}]*\{\{.*?\}\}[^,\]}]*)")
_BARE_TEMPLATE = re.compile(r"(?:^|[:\-\[,])\s*(\{\{.*)$")


def faulty(source: Source, error: yaml.MarkedYAMLError) -> Problem:
    """The problem that a parser's error stands for."""
    mark = error.problem_mark or error.context_mark
    if "end of stream" in (error.problem or "") and error.context_mark is not None:
        # The end of the file says nothing; the quote that was opened does.
        mark = error.context_mark
    if mark is None:
        return Problem("not-yaml", f"{source.file} is not YAML: {error.problem}")
    line = min(mark.line + 1, len(source.starts))
    place = source.place(line, mark.column + 1)
    for near in (line, line - 1):
        if bare := _BARE_TEMPLATE.search(source.line(near)):
            start = source.place(near, bare.start(1) + 1, len(bare[1].rstrip()))
            return _unquoted(start, bare[1].rstrip())
    said = error.problem or ""
    if said.startswith("expected ',' or") and (bare := _in_flow(source.line(line))):
        written = bare[1].strip()
        return _unquoted(source.place(line, bare.start(1) + 1, len(written)), written)
    if "'\\t'" in said or place.text[: place.column].strip(" ").startswith("\t"):
        return Problem("tab", "a tab cannot indent a line", where=place, hint="Use spaces.")
    for fragment, code, summary, hint in _KNOWN:
        if fragment in said:
            return Problem(code, summary, where=place, hint=hint)
    context = f" ({error.context})" if error.context else ""
    return Problem("not-yaml", f"this is not YAML: {said}{context}", where=place)


def _in_flow(text: str) -> re.Match[str] | None:
    """A value with a template and no quotes between braces or brackets."""
    for bare in _FLOW_TEMPLATE.finditer(text):
        before = text[: bare.start(1)]
        if before.count('"') % 2 == 0 and before.count("'") % 2 == 0:
            return bare
    return None


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
        "mapping values are not allowed",
        "bad-colon",
        "a `:` cannot be here",
        "Put a text that holds `: ` in quotes, and indent the line as its neighbours are.",
    ),
    (
        "could not find expected ':'",
        "no-colon",
        "there is no `:` after this key",
        "Write `key: value`.",
    ),
    (
        "expected <block end>",
        "bad-indent",
        "this line does not fit the ones above it",
        "Indent it as its neighbours are, and put values with special characters in quotes.",
    ),
    ("expected ',' or ']'", "unclosed", "a `,` or the closing `]` is missing", ""),
    ("expected ',' or '}'", "unclosed", "a `,` or the closing `}` is missing", ""),
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
