"""Source text to syntax tree: the grammar of autoscale formulas.

    formula    = [ statement { ";" [ statement ] } ]
    statement  = [ name "=" ] conditional
    conditional = or [ "?" conditional ":" conditional ]
    or         = and { "||" and }            and   = equal { "&&" equal }
    equal      = order { ("==" | "!=") order }
    order      = sum { ("<" | "<=" | ">" | ">=") sum }
    sum        = product { ("+" | "-") product }
    product    = unary { ("*" | "/") unary }
    unary      = ("-" | "!") unary | member
    member     = primary { "." name [ arguments ] }
    primary    = number | string | name [ arguments ] | "(" conditional ")"

Comments are ``// to the end of the line`` and ``/* like this */``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from batchspec.frozen import frozen


@frozen
class Position:
    """A line and a column of the source, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"Line {self.line}, Col {self.column}"


class FormulaError(Exception):
    """A formula has an error at a position: in its syntax or during its evaluation."""

    def __init__(self, place: Position, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class FormulaSyntaxError(FormulaError):
    """The text is not a formula.

    ``token`` is the text at the position; it is empty at the end of the formula. ``expected`` is
    the missing mark before it, if only one is possible.
    """

    def __init__(self, place: Position, reason: str, token: str = "", expected: str = "") -> None:
        super().__init__(place, reason)
        self.token = token
        self.expected = expected


@frozen
class Number:
    """A literal double."""

    at: Position
    value: float


@frozen
class String:
    """A literal string."""

    at: Position
    value: str


@frozen
class Name:
    """A variable or constant; ``dollar`` means that it was written with a ``$``."""

    at: Position
    name: str
    dollar: bool


@frozen
class Unary:
    """``-x`` or ``!x``."""

    at: Position
    operator: str
    operand: Expression


@frozen
class Binary:
    """Two operands. ``&&`` and ``||`` evaluate the second operand only if necessary."""

    at: Position
    operator: str
    left: Expression
    right: Expression


@frozen
class Conditional:
    """``test ? yes : no``; only one of the two branches is evaluated."""

    at: Position
    test: Expression
    yes: Expression
    no: Expression


@frozen
class Call:
    """A function call."""

    at: Position
    name: str
    arguments: tuple[Expression, ...]


@frozen
class Member:
    """A member of a value: of a timestamp (``.hour``), or with arguments a method of a metric."""

    at: Position
    owner: Expression
    name: str
    arguments: tuple[Expression, ...] | None


Expression: TypeAlias = Number | String | Name | Unary | Binary | Conditional | Call | Member


@frozen
class Statement:
    """``target = value``, or a value for its effect (``stop()``)."""

    target: Name | None
    value: Expression


@frozen
class Formula:
    """A formula: statements in the order of the source."""

    statements: tuple[Statement, ...]


MAX_STATEMENTS = 100
MAX_DEPTH = 48
"""The maximum nesting of an expression. No limit is documented; real formulas nest less."""

_TOKEN = re.compile(
    r"""(?P<space>\s+|//[^\n]*|/\*.*?\*/)
    | (?P<number>(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>\$?[A-Za-z_]\w*)
    | (?P<text>"[^"\n]*"|'[^'\n]*')
    | (?P<mark>&&|\|\||==|!=|<=|>=|[-+*/!<>=?:;,.()])""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_LEVELS = (("||",), ("&&",), ("==", "!="), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/"))
"""Binary operators from the loosest to the tightest binding."""


@frozen
class _Token:
    kind: str
    text: str
    at: Position


def parse(text: str) -> Formula:
    """The syntax tree of a formula.

    Raises:
        FormulaSyntaxError: the text is not a formula, or has too many statements.
    """
    parser = _Parser(list(_tokens(text)))
    statements = []
    while parser.peek().kind != "end":
        if parser.take(";") is None:
            statements.append(parser.statement())
            if parser.peek().kind != "end" and parser.take(";") is None:
                raise parser.error(";" if parser.peek().kind == "name" else "")
    if len(statements) > MAX_STATEMENTS:
        at = Position(1, 1)
        raise FormulaSyntaxError(at, f"The formula has more than {MAX_STATEMENTS} statements")
    return Formula(tuple(statements))


def _tokens(text: str) -> Iterator[_Token]:
    position, line, start = 0, 1, 0
    while position < len(text):
        at = Position(line, position - start + 1)
        found = _TOKEN.match(text, position)
        if found is None or found.lastgroup is None:
            character = text[position]
            raise FormulaSyntaxError(at, f"Unexpected character '{character}'", character)
        if found.lastgroup != "space":
            yield _Token(found.lastgroup, found.group(), at)
        line += found.group().count("\n")
        if "\n" in found.group():
            start = position + found.group().rindex("\n") + 1
        position = found.end()
    yield _Token("end", "the end of the formula", Position(line, position - start + 1))


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._depth = 0

    def peek(self, ahead: int = 0) -> _Token:
        return self._tokens[min(self._next + ahead, len(self._tokens) - 1)]

    def take(self, *marks: str) -> _Token | None:
        token = self.peek()
        if token.kind != "mark" or token.text not in marks:
            return None
        self._next += 1
        return token

    def error(self, expected: str = "") -> FormulaSyntaxError:
        token = self.peek()
        written = "" if token.kind == "end" else token.text
        return FormulaSyntaxError(token.at, f"Unexpected '{token.text}'", written, expected)

    def statement(self) -> Statement:
        following = self.peek(1)
        if self.peek().kind == "name" and (following.kind, following.text) == ("mark", "="):
            target = self._name()
            self._next += 1
            return Statement(target, self.choice())
        return Statement(None, self.choice())

    def choice(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise FormulaSyntaxError(self.peek().at, "The expression is nested too deeply")
        test = self._binary(0)
        if (mark := self.take("?")) is not None:
            yes = self.choice()
            self._expect(":")
            test = Conditional(mark.at, test, yes, self.choice())
        self._depth -= 1
        return test

    def _binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while (mark := self.take(*_LEVELS[level])) is not None:
            left = Binary(mark.at, mark.text, left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        marks = []
        while (mark := self.take("-", "!")) is not None:
            marks.append(mark)
            if len(marks) > MAX_DEPTH:
                raise FormulaSyntaxError(mark.at, "The expression is nested too deeply")
        value = self._member()
        for mark in reversed(marks):
            value = Unary(mark.at, mark.text, value)
        return value

    def _member(self) -> Expression:
        value = self._primary()
        members = 0
        while (mark := self.take(".")) is not None:
            members += 1
            name_follows = self.peek().kind == "name" and not self.peek().text.startswith("$")
            if members > MAX_DEPTH or not name_follows:
                raise self.error()
            name = self._name().name
            arguments = self._arguments() if self.peek().text == "(" else None
            value = Member(mark.at, value, name, arguments)
        return value

    def _primary(self) -> Expression:
        token = self.peek()
        if token.kind == "number":
            self._next += 1
            return Number(token.at, float(token.text))
        if token.kind == "text":
            self._next += 1
            return String(token.at, token.text[1:-1])
        if token.kind == "name":
            name = self._name()
            if not name.dollar and self.peek().text == "(":
                return Call(name.at, name.name, self._arguments())
            return name
        if self.take("(") is None:
            raise self.error()
        value = self.choice()
        self._expect(")")
        return value

    def _arguments(self) -> tuple[Expression, ...]:
        self._expect("(")
        if self.take(")") is not None:
            return ()
        arguments = [self.choice()]
        while self.take(",") is not None:
            arguments.append(self.choice())
        self._expect(")")
        return tuple(arguments)

    def _name(self) -> Name:
        token = self.peek()
        self._next += 1
        return Name(token.at, token.text.removeprefix("$"), token.text.startswith("$"))

    def _expect(self, mark: str) -> None:
        if self.take(mark) is None:
            raise self.error(mark)
