"""Inserts values into texts: finds the context of a value, and escapes the value for it.

In a shell command, a value is inserted as one quoted argument, or between the user's quotes, which
it cannot close. In other places the shell would interpret it. The readers only locate values; they
evaluate nothing. Values in a file pattern, a URL or a JSON text are escaped, unless they are raw.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote

from batchspec.spec.values import (
    Argument,
    BlobUrl,
    Opaque,
    Quoted,
    Quoting,
    Raw,
    RefusalError,
    Target,
    Text,
    plain,
)

SINGLE = "inside single quotes"
DOUBLE = "inside double quotes"
SAFE = frozenset({"", SINGLE, DOUBLE})
"""The contexts in which any value can be inserted."""
NESTED_SINGLE = "inside single quotes, into a command for another shell"
NESTED_DOUBLE = "inside double quotes, into a command for another shell"
"""The contexts of a text that another shell reads: ``sh -c "..."``."""

_QUOTES = {"'": (SINGLE, NESTED_SINGLE), '"': (DOUBLE, NESTED_DOUBLE)}
_TEXTS = {"<": "in a here-document", "#": "in a comment"}

_ANOTHER_SHELL = re.compile(
    r"(?:\A|[\s;&|(/])(?:(?:ba|da|z|k|mk|a)?sh|su)(?:\s+[^\s;&|'\"]+)*?\s+-\w*c\s*\Z"
    r"|(?:\A|[\s;&|(])eval(?:\s[^;&|\n]*)?\Z"
    r"|(?:\A|[\s;&|(])ssh\s[^;&|\n]*\Z"
)
"""The text before a quote whose content another shell reads."""
_LOOK_BEHIND = 200

_HEREDOC = re.compile(
    r"<<(-?)[ \t]*(?:'([^'\n]+)'|\"([^\"\\$`\n]+)\"|\\?([^\s'\"\\$`;&|<>()]+))(?=[\s;&|<>()]|\Z)"
)
"""The start of a here-document. Other delimiters, such as ``E"O"F``, are not read."""
_SHIFT = re.compile(r"<<=?[ \t]*[0-9]")
_CASE = re.compile(r"case\s")
UNREAD = "after a here-document, quotes or `case` that shells read differently"
"""The context of values after a construct that only a whole parser of one shell could read."""


class Reader(Protocol):
    """Reads a command line in pieces; a value is between two pieces."""

    def read(self, text: str) -> None:
        """Read the next part of the user's text."""
        ...

    def value(self, following: str) -> str:
        """Skip a value, and return its context in words; empty outside of quotes.

        Values are safe only in the contexts of :data:`SAFE`.
        """
        ...


def reader(quoting: Quoting) -> Reader:
    """A reader for the command line of a shell."""
    if quoting is Quoting.POSIX:
        return _Posix()
    return _Windows(cmd=quoting is Quoting.WINDOWS)


@dataclass(slots=True)
class _Posix:
    """Finds the quotes and other constructs in which a value would be.

    ``_open`` lists the open constructs, innermost last: ``'``, ``"``, a backtick, ``(`` of a
    substitution or group, ``((`` of arithmetic, ``{`` of an expansion, ``#`` of a comment, ``<`` of
    a here-document. ``_count`` is the number of each: to search ``_open`` for each character would
    take time that grows with the square of the length. ``_ends`` are the delimiters of the
    here-documents that follow the line, each with the number of constructs around it. ``_other`` is
    the depth of the quotes whose content another shell reads; 0 if there are none.

    Some constructs are read differently by different shells, or only by a whole parser. No place
    after such a construct is safe (``_unread``).
    """

    _open: list[str] = field(default_factory=list)
    _count: Counter[str] = field(default_factory=Counter)
    _ends: list[tuple[str, bool, int]] = field(default_factory=list)
    _unread: bool = False
    _line: str = ""
    _word: bool = False
    _last: str = ""
    _seen: str = ""
    _other: int = 0

    def value(self, following: str) -> str:
        _ = following
        self._word = True
        self._line += "\0"
        self._seen += "\0"
        last, self._last = self._last, ""
        top = self._open[-1] if self._open else ""
        if self._unread:
            return UNREAD
        if top == "{" and self._count['"']:
            return "in an expansion inside double quotes"
        if top in _TEXTS:
            return _TEXTS[top]
        if last:
            return f"right after `{last}`"
        inside, nested = _QUOTES.get(top, ("", ""))
        return nested if len(self._open) == self._other else inside

    def read(self, text: str) -> None:
        before, self._seen = self._seen, (self._seen + text)[-_LOOK_BEHIND:]
        at = 0
        while at < len(text) and not self._unread:
            self._last = ""
            if len(self._open) < self._other:
                self._other = 0
            if self._count["`"] and self._ends_or_escapes(text, at):
                self._unread = True
                return
            match self._open[-1] if self._open else "":
                case "<":
                    at = self._in_document(text, at)
                case "'":
                    if text[at] == "'":
                        self._pop()
                    at += 1
                case "#":
                    end = text.find("\n", at)
                    if end >= 0:
                        self._pop()
                    at = end if end >= 0 else len(text)
                case '"':
                    at = self._in_double(text, at)
                case _:
                    depth = len(self._open)
                    quotes = text[at] in "'\"" and not self._other
                    seen = (before + text[max(0, at - _LOOK_BEHIND) : at]) if quotes else ""
                    at = self._in_code(text, at)
                    if (
                        quotes
                        and len(self._open) > depth
                        and _ANOTHER_SHELL.search(seen[-_LOOK_BEHIND:])
                    ):
                        self._other = len(self._open)

    def _push(self, construct: str) -> None:
        self._open.append(construct)
        self._count[construct] += 1

    def _pop(self) -> str:
        construct = self._open.pop()
        self._count[construct] -= 1
        return construct

    def _ends_or_escapes(self, text: str, at: int) -> bool:
        """Whether a character inside backticks means something else than outside of them.

        A backtick ends them also in quotes and in a comment, and a backslash is read twice.
        """
        if self._open[-1] == "#":
            end = text.find("\n", at)
            return "`" in text[at : end if end >= 0 else len(text)]
        return text[at] == "\\" or (self._open[-1] == "'" and text[at] == "`")

    def _in_document(self, text: str, at: int) -> int:
        """Read one line of a here-document, or the part of it that is available."""
        end = text.find("\n", at)
        self._line += text[at : end if end >= 0 else len(text)]
        if end < 0:
            return len(text)
        mark, tabs, _ = self._ends[0]
        if (self._line.lstrip("\t") if tabs else self._line) == mark:
            self._ends.pop(0)
            if not self._ends:
                self._pop()
        self._line = ""
        return end + 1

    def _in_double(self, text: str, at: int) -> int:
        character = text[at]
        if character == '"':
            self._pop()
        elif opened := self._opened(text, at):
            return opened
        return at + 1

    def _in_code(self, text: str, at: int) -> int:
        """One step in plain text, in a substitution or in an expansion."""
        character = text[at]
        top = self._open[-1] if self._open else ""
        if character == "#" and not self._word and top != "{":
            self._push("#")
            return at
        if text.startswith("<<<", at):
            return at + 3
        if top != "{" and text.startswith("<<", at):
            return self._here_document(text, at)
        if self._count["("] and not self._word and _CASE.match(text, at):
            # The parentheses of its patterns close nothing.
            self._unread = True
            return at
        if opened := self._opened(text, at):
            return opened
        self._word = character not in " \t\n;&|()`"
        literal = character == "'" and top == "{" and self._count['"']
        if character == "(" and top == "(" and text.endswith("(", 0, at):
            self._push("((")
        elif character in "'\"(" and not literal:
            self._push(character)
        elif (character == ")" and top in ("(", "((")) or (character == "}" and top == "{"):
            self._pop()
            self._word = True
        elif character == "\n" and self._ends and top != "{":
            # A document that begins inside or outside of another construct than its operator.
            self._unread = any(depth != len(self._open) for _, _, depth in self._ends)
            self._push("<")
            self._line = ""
        return at + 1

    def _here_document(self, text: str, at: int) -> int:
        """Read ``<<`` and the delimiter of a here-document, or a shift in arithmetic."""
        if self._count["(("] and _SHIFT.match(text, at):
            return at + 2
        found = _HEREDOC.match(text, at)
        if found is None or self._count["(("] or self._count["`"]:
            self._unread = True
            return at
        tabs, *marks = found.groups()
        self._ends.append((next(mark for mark in marks if mark), bool(tabs), len(self._open)))
        # A value next to the delimiter would be a part of it.
        self._last = "<<" if found.end() == len(text) else ""
        return found.end()

    def _opened(self, text: str, at: int) -> int:
        """Read a construct that is valid inside and outside double quotes; 0 if there is none."""
        match text[at]:
            case "\\":
                self._word = True
                self._last = "\\" if at + 1 == len(text) else ""
                return at + 2
            case "$":
                self._word = True
                self._last = "$" if at + 1 == len(text) else ""
                if text.startswith("$", at + 1):
                    return at + 2
                if text.startswith("'", at + 1) and self._open[-1:] != ['"']:
                    # Bash reads escapes in it, other shells do not.
                    self._unread = True
                if text.startswith(("(", "{"), at + 1):
                    self._push(text[at + 1])
                    self._word = text[at + 1] == "{"
                    return at + 2
            case "`":
                if self._count["`"]:
                    while self._pop() != "`":
                        pass
                    self._word = True
                else:
                    self._push("`")
                    self._word = False
            case _:
                return 0
        return at + 1


@dataclass(slots=True)
class _Windows:
    """Counts quotes as ``cmd`` does and as the program does; a value must be outside or in both.

    A quote next to the quote of a value would become a quote character.
    """

    cmd: bool
    _cmd_open: bool = False
    _program_open: bool = False
    _backslashes: int = 0
    _last: str = ""

    def value(self, following: str) -> str:
        last, self._last, self._backslashes = self._last, "", 0
        if self._program_open and self._cmd_open == self.cmd:
            return DOUBLE
        if self._cmd_open or self._program_open:
            return "inside quotes that cmd and the program read differently"
        if last == '"' or following.startswith('"'):
            return "next to a double quote"
        return "right after `^`" if last == "^" and self.cmd else ""

    def read(self, text: str) -> None:
        for character in text:
            escaped = self._last == "^" and self.cmd and not self._cmd_open
            if character == '"':
                if not escaped and self.cmd:
                    self._cmd_open = not self._cmd_open
                if self._backslashes % 2 == 0:
                    self._program_open = not self._program_open
            self._backslashes = self._backslashes + 1 if character == "\\" else 0
            self._last = "" if escaped and character == "^" else character


_SPECIAL = re.compile(r"[*?\[$]")
_SPECIAL_ON_WINDOWS = re.compile(r"[*?\[%]")
_ESCAPED = re.compile(r"\[([*?\[$%])\]")
_WILDCARD = re.compile(r"[*?\[]")
_IN_PATH = "/:@!$&'()*+,;=~-._"
"""Characters that a path of a URL contains without encoding (RFC 3986)."""
_AUTHORITY = re.compile(r"://[^/?#]*/|\0[^?#]*/")
"""The part of a URL before its path; one NUL character represents a URL of the spec."""


def escaped(
    source: str, parts: Iterable[object], target: Target | None, *, windows: bool
) -> Iterable[object]:
    """The parts of a template, with values escaped.

    Parts are literal text, and 1-tuples with a value. ``source`` is the text of the template.
    """
    if target is Target.PATTERN:
        special = _SPECIAL_ON_WINDOWS if windows else _SPECIAL
        return _each(parts, lambda value: special.sub(r"[\g<0>]", plain(value)))
    if target is Target.URL:
        return _in_url(parts)
    if source.lstrip()[:1] in ("{", "[") and (in_strings := _json_strings(source)):
        return _in_json(parts, in_strings)
    return parts


def _each(parts: Iterable[object], escape: object) -> Iterator[object]:
    for part in parts:
        value = part[0] if type(part) is tuple else None
        if type(part) is str or isinstance(value, Raw | Argument | Opaque):
            yield part
        else:
            yield (escape(value),)  # type: ignore[operator]


def literal_name(pattern: str) -> str | None:
    """The name in a pattern whose wildcards are all escaped.

    ``None`` for a pattern without escaped characters, or with wildcards.
    """
    if not _ESCAPED.search(pattern) or _WILDCARD.search(_ESCAPED.sub("", pattern)):
        return None
    return _ESCAPED.sub(r"\1", pattern)


def _in_url(parts: Iterable[object]) -> Iterator[object]:
    """Percent-encodes values in the path of a URL; the host and the query are unchanged."""
    before = ""
    for part in parts:
        if type(part) is str:
            before += part
            yield part
            continue
        value: object = part[0]  # type: ignore[index]
        if isinstance(value, Opaque):
            before += "\0" if isinstance(value.value, BlobUrl) else ""
            yield part
        elif isinstance(value, Raw | Argument) or not _is_in_path(before):
            before += str(value) if isinstance(value, str) else ""
            yield part
        else:
            yield (_percent_encoded(plain(value)),)


def _percent_encoded(text: str) -> str:
    try:
        return quote(text, safe=_IN_PATH)
    except UnicodeEncodeError:
        # A string in a row can have the escape of one half of a character.
        raise RefusalError("the value is not valid Unicode") from None


def _is_in_path(before: str) -> bool:
    return _AUTHORITY.search(before) is not None and "?" not in before and "#" not in before


@lru_cache(maxsize=1024)
def _json_strings(source: str) -> tuple[bool, ...]:
    """Whether each expression of a JSON text is inside a string; empty for another text."""
    from batchspec.spec.template import EXPRESSION  # noqa: PLC0415 - template imports this module

    found: list[bool] = []
    skeleton: list[str] = []
    in_string, end = False, 0
    for match in EXPRESSION.finditer(source):
        literal = source[end : match.start()]
        end = match.end()
        in_string ^= len(_JSON_QUOTE.findall(literal)) % 2 == 1
        found.append(in_string)
        skeleton += (literal, "x" if in_string else "0")
    try:
        value = json.loads("".join(skeleton) + source[end:])
    except (ValueError, RecursionError):
        return ()
    return tuple(found) if isinstance(value, dict | list) else ()


_JSON_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*"')
"""A quote that begins or ends a string."""


def _in_json(parts: Iterable[object], in_strings: tuple[bool, ...]) -> Iterator[object]:
    modes = iter(in_strings)
    for part in parts:
        if type(part) is str:
            yield part
            continue
        value: object = part[0]  # type: ignore[index]
        in_string = next(modes, True)
        if isinstance(value, Raw | Argument):
            yield part
        elif isinstance(value, Opaque):
            pieces = value.value.pieces if isinstance(value.value, Text) else (value.value,)
            text = Text((Quoted(Text(pieces), Quoting.IN_JSON),))
            yield part if not in_string else (Opaque(text),)
        elif in_string:
            yield (json.dumps(plain(value), ensure_ascii=False)[1:-1],)
        else:
            yield (_json_value(value),)


def _json_value(value: object) -> str:
    """A value outside of a string; a text that is JSON (a number of a row) is unchanged."""
    from batchspec.spec.sandbox import to_json  # noqa: PLC0415 - imports Jinja

    if isinstance(value, str):
        try:
            json.loads(value)
        except (ValueError, RecursionError):
            return json.dumps(value, ensure_ascii=False)
        return value
    return to_json(value)
