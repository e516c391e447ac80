"""``$filter`` and ``$select``: text in, a frozen value out.

What lives here: the grammar. What may not: what a tree means (``odata_tree``), SQL
(``odata_sql``), HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from batchspec.local.wire.odata_tree import (
    OPERATORS,
    TIME,
    And,
    Comparison,
    Filter,
    Literal,
    Not,
    Or,
    QueryError,
    StartsWith,
    read_time,
)

MAX_DEPTH = 50
"""How deep parentheses and ``not`` may nest."""

_TOKEN = re.compile(
    rf"""\s*(?:
      (?P<quoted>(?:datetime(?:offset)?|DateTime(?:Offset)?)'[^']*')
    | (?P<time>{TIME})(?![\w.])
    | (?P<number>[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])
    | (?P<text>'(?:[^']|'')*')
    | (?P<name>[A-Za-z_][A-Za-z0-9_.]*(?:/[A-Za-z_][A-Za-z0-9_.]*)*)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", *OPERATORS}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    end = len(text.rstrip())
    while at < end:
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise QueryError(f"Syntax error at position {at} in '{text}'.")
        kind, value = found.lastgroup, found[found.lastgroup]
        yield _Token(
            "word" if kind == "name" and value in _WORDS else kind, value, found.start(kind)
        )
        at = found.end()


def parse(text: str) -> Filter:
    """Parse the text of a ``$filter``.

    Raises:
        QueryError: the text is not a filter; the reason names the position.
    """
    if "\0" in text:
        raise QueryError("A filter cannot hold the character U+0000.")
    parser = _Parser(text, list(_tokens(text)))
    tree = parser.either(0)
    if parser.peek() is not None:
        raise parser.error()
    return tree


class _Parser:
    """Recursive descent: or < and < not < comparison."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self.text = text
        self.tokens = tokens
        self.at = 0

    def peek(self, *texts: str) -> _Token | None:
        if self.at >= len(self.tokens):
            return None
        token = self.tokens[self.at]
        return token if not texts or (token.text in texts and token.kind != "text") else None

    def take(self, *texts: str) -> _Token:
        token = self.peek(*texts)
        if token is None:
            raise self.error()
        self.at += 1
        return token

    def error(self) -> QueryError:
        if self.at >= len(self.tokens):
            return QueryError(f"The expression '{self.text}' ends too early.")
        token = self.tokens[self.at]
        place = f"position {token.at} in '{self.text}'"
        return QueryError(f"Syntax error: '{token.text}' was not expected at {place}.")

    def either(self, depth: int) -> Filter:
        terms = [self.all_of(depth)]
        while self.peek("or"):
            self.take()
            terms.append(self.all_of(depth))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))

    def all_of(self, depth: int) -> Filter:
        terms = [self.term(depth)]
        while self.peek("and"):
            self.take()
            terms.append(self.term(depth))
        return terms[0] if len(terms) == 1 else And(tuple(terms))

    def term(self, depth: int) -> Filter:
        if depth > MAX_DEPTH:
            raise QueryError(f"The expression nests more than {MAX_DEPTH} levels.")
        if self.peek("not"):
            self.take()
            return Not(self.term(depth + 1))
        if self.peek("("):
            self.take()
            inner = self.either(depth + 1)
            self.take(")")
            return inner
        name = self.take()
        if name.kind != "name":
            self.at -= 1
            raise self.error()
        if self.peek("("):
            return self.call(name)
        operator = self.take(*OPERATORS).text
        return Comparison(name.text, operator, self.literal())

    def call(self, name: _Token) -> Filter:
        if name.text != "startswith":
            raise QueryError(f"The function '{name.text}' is not supported.")
        self.take("(")
        field = self.take()
        self.take(",")
        prefix = self.literal()
        self.take(")")
        if field.kind != "name" or not isinstance(prefix, str):
            raise QueryError("startswith takes a field and a text in single quotes.")
        term = StartsWith(field.text, prefix)
        if self.peek("eq", "ne"):
            same = self.take().text == "eq"
            holds = self.take("true", "false").text == "true"
            return term if same == holds else Not(term)
        return term

    def literal(self) -> Literal:
        token = self.take()
        match token.kind:
            case "text":
                return token.text[1:-1].replace("''", "'")
            case "number":
                return _number(token.text)
            case "time":
                return read_time(token.text)
            case "quoted":
                return read_time(token.text.partition("'")[2][:-1])
            case "name" if token.text in _CONSTANTS:
                return _CONSTANTS[token.text]
        self.at -= 1
        raise self.error()


_CONSTANTS: Mapping[str, Literal] = {"true": True, "false": False, "null": None}


def _number(text: str) -> int | float:
    number = int(text) if re.fullmatch(r"[+-]?\d{1,19}", text) else float(text)
    if not -(2**63) <= number < 2**63:
        raise QueryError(f"The number {text} is out of range.")
    return number


def read_select(text: str) -> frozenset[str]:
    """The top-level names that a ``$select`` or ``$expand`` asks for; a nested path by its top.

    Raises:
        QueryError: an entry is empty or not a name.
    """
    names = [entry.strip() for entry in text.split(",")]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][\w.]*(/[A-Za-z_][\w.]*)*", name, re.ASCII):
            raise QueryError(f"'{name}' is not the name of a property.")
    return frozenset(name.partition("/")[0] for name in names)
