"""A formula as a tree of frozen values, each with its place in the text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Place:
    """A line and a column of the text, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"Line {self.line}, Col {self.column}"


class FormulaError(Exception):
    """A formula is wrong at a place: its text, or in the course of its evaluation."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class FormulaSyntaxError(FormulaError):
    """The text is not a formula."""


@dataclass(frozen=True, slots=True)
class Number:
    """A literal double."""

    at: Place
    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A literal string."""

    at: Place
    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """A variable or constant; ``dollar`` says that it was written with a ``$``."""

    at: Place
    name: str
    dollar: bool


@dataclass(frozen=True, slots=True)
class Unary:
    """``-x`` or ``!x``."""

    at: Place
    operator: str
    operand: Expression


@dataclass(frozen=True, slots=True)
class Binary:
    """Two operands; ``&&`` and ``||`` look at the second only if they must."""

    at: Place
    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Choice:
    """``test ? yes : no``; only one of the two is evaluated."""

    at: Place
    test: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True, slots=True)
class Call:
    """A function by name."""

    at: Place
    name: str
    arguments: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a value: of a timestamp (``.hour``), or a method of a metric with arguments."""

    at: Place
    owner: Expression
    name: str
    arguments: tuple[Expression, ...] | None


Expression: TypeAlias = Number | Text | Name | Unary | Binary | Choice | Call | Member


@dataclass(frozen=True, slots=True)
class Statement:
    """``target = value``, or a value for its effects (``stop()``)."""

    target: Name | None
    value: Expression


@dataclass(frozen=True, slots=True)
class Formula:
    """Statements, in the order of the text."""

    statements: tuple[Statement, ...]
