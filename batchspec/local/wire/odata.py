"""``$filter`` and ``$select``: parsing, binding to the fields of a resource, evaluation, SQL.

The fields of each resource are in ``api.resources``.

A filter has two truth values, as OData defines: a missing field equals only ``null``, differs from
each value, and is neither less nor greater than a value. Comparison of strings ignores the case of
ASCII letters, as the service compares ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from operator import eq, ge, gt, le, lt, ne
from typing import Any

Literal = str | int | float | bool | datetime | None
Record = Mapping[str, Any]

OPERATORS = {"eq": eq, "ne": ne, "gt": gt, "ge": ge, "lt": lt, "le": le}


class QueryError(Exception):
    """The query option is not valid; ``reason`` is the ``Reason`` of the fault."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FieldType(Enum):
    """The type of a field. ``WORD`` is lower-case text, such as a state or the key of an id."""

    TEXT = "text"
    WORD = "word"
    NUMBER = "number"
    BOOL = "bool"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Comparison:
    """``field operator value``."""

    field: str
    operator: str
    value: Literal


@dataclass(frozen=True, slots=True)
class StartsWith:
    """``startswith(field,'prefix')``."""

    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Not:
    """``not term``."""

    term: Filter


@dataclass(frozen=True, slots=True)
class And:
    """True if all terms are true."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """True if at least one term is true."""

    terms: tuple[Filter, ...]


Filter = Comparison | StartsWith | Not | And | Or


TIME = r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d)?)?"
"""A time in a filter: a date, optionally with a time of day, a fraction and an offset."""


def read_time(text: str) -> datetime:
    """Parse a time in a filter or a record to UTC, truncated to microseconds.

    Raises:
        QueryError: ``text`` is not an ISO 8601 time.
    """
    try:
        time = datetime.fromisoformat(text if re.fullmatch(TIME, text) else "")
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise QueryError(f"'{text}' is not a time.") from None


def bind_fields(tree: Filter, kinds: Mapping[str, FieldType]) -> Filter:
    """Convert the literals of ``tree`` to the types of their fields.

    Quoted times become times; words become lower case.

    Raises:
        QueryError: a field is not in ``kinds``, or a literal has the wrong type for its field.
    """
    match tree:
        case And(terms):
            return And(tuple(bind_fields(term, kinds) for term in terms))
        case Or(terms):
            return Or(tuple(bind_fields(term, kinds) for term in terms))
        case Not(term):
            return Not(bind_fields(term, kinds))
    kind = kinds.get(tree.field)
    if kind is None:
        raise QueryError(f"The property '{tree.field}' cannot be used in a filter.")
    if isinstance(tree, StartsWith):
        if kind not in {FieldType.TEXT, FieldType.WORD}:
            raise QueryError(f"startswith does not apply to the property '{tree.field}'.")
        return tree
    return replace(tree, value=_fit(tree, kind))


def _fit(term: Comparison, kind: FieldType) -> Literal:
    value = term.value
    if value is None:
        if term.operator in {"eq", "ne"}:
            return None
    elif kind is FieldType.WORD and isinstance(value, str):
        return fold(value)
    elif kind is FieldType.TIME and isinstance(value, str):
        return read_time(value)
    elif kind is FieldType.BOOL or isinstance(value, bool):
        if kind is FieldType.BOOL and isinstance(value, bool) and term.operator in {"eq", "ne"}:
            return value
    elif isinstance(value, _FITTING[kind]):
        return value
    raise QueryError(
        f"'{term.operator}' cannot compare the property '{term.field}' with the value given."
    )


_FITTING: Mapping[FieldType, type | tuple[type, ...]] = {
    FieldType.TEXT: str,
    FieldType.WORD: str,
    FieldType.NUMBER: (int, float),
    FieldType.TIME: datetime,
}
_FOLD = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


def fold(text: str) -> str:
    """``text`` with its ASCII letters in lower case, for comparison."""
    return text.translate(_FOLD)


def matches_filter(tree: Filter, record: Record) -> bool:
    """Whether ``record`` (JSON data) matches ``tree``, a result of :func:`bind_fields`."""
    match tree:
        case And(terms):
            return all(matches_filter(term, record) for term in terms)
        case Or(terms):
            return any(matches_filter(term, record) for term in terms)
        case Not(term):
            return not matches_filter(term, record)
        case StartsWith(field, prefix):
            value = _field(record, field)
            return isinstance(value, str) and fold(value).startswith(fold(prefix))
        case Comparison(field, operator, literal):
            return _compare(_field(record, field), operator, literal)


def _field(record: Record, path: str) -> Any:
    value: Any = record
    for name in path.split("/"):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _compare(value: Any, operator: str, literal: Literal) -> bool:
    if literal is None or value is None:
        return (value is literal) == (operator == "eq") and operator in {"eq", "ne"}
    if isinstance(literal, datetime):
        value = read_time(value)
    elif isinstance(literal, str):
        literal, value = fold(literal), fold(value)
    return bool(OPERATORS[operator](value, literal))


MAX_DEPTH = 50
"""Maximum nesting of parentheses and ``not``."""

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


def parse_filter(text: str) -> Filter:
    """Parse the text of a ``$filter``.

    Raises:
        QueryError: the syntax is wrong; the reason names the position.
    """
    if "\0" in text:
        raise QueryError("A filter cannot contain the character U+0000.")
    parser = _Parser(text, list(_tokens(text)))
    tree = parser.either(0)
    if parser.peek() is not None:
        raise parser.error()
    return tree


class _Parser:
    """A recursive descent parser; precedence: or < and < not < comparison."""

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
            return QueryError(f"The expression '{self.text}' is incomplete.")
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
            raise QueryError("startswith takes a field and a string in single quotes.")
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


def parse_select(text: str) -> frozenset[str]:
    """The top-level property names of a ``$select`` or ``$expand``; a path counts as its root.

    Raises:
        QueryError: an entry is empty or not a name.
    """
    names = [entry.strip() for entry in text.split(",")]
    for name in names:
        if not re.fullmatch(r"[A-Za-z_][\w.]*(/[A-Za-z_][\w.]*)*", name, re.ASCII):
            raise QueryError(f"'{name}' is not the name of a property.")
    return frozenset(name.partition("/")[0] for name in names)


# The SQL condition selects exactly the records for which `matches_filter` is true. Text of a filter
# becomes a parameter, never SQL text.


Parameter = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """The SQL expression and the type of a field.

    ``BOOL`` is stored as 0 or 1, ``TIME`` in the form that the ``time`` argument of :func:`to_sql`
    writes, which sorts chronologically.
    """

    sql: str
    kind: FieldType


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A condition for ``WHERE``, with a ``?`` for each of ``parameters``, in order."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


_LAST = "\U0010ffff"
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def to_sql(
    tree: Filter, columns: Mapping[str, Column], time: Callable[[datetime], str | int | float]
) -> SqlCondition:
    """Translate ``tree``; ``time`` converts a UTC time to the form of ``TIME`` columns.

    Raises:
        QueryError: a field has no column, or a literal has the wrong type for its field.
    """
    fitted = bind_fields(tree, {name: column.kind for name, column in columns.items()})
    return _condition(fitted, columns, time, holds=True)


def _condition(
    tree: Filter,
    columns: Mapping[str, Column],
    time: Callable[[datetime], str | int | float],
    *,
    holds: bool,
) -> SqlCondition:
    # Move a negation to the leaves, where NULL gets its two-valued meaning. Common filters stay
    # plain comparisons, which can use an index.
    if isinstance(tree, Not):
        return _condition(tree.term, columns, time, holds=not holds)
    if isinstance(tree, And | Or):
        parts = [_condition(term, columns, time, holds=holds) for term in tree.terms]
        word = " AND " if isinstance(tree, And) == holds else " OR "
        return SqlCondition(
            _balanced([part.sql for part in parts], word),
            tuple(value for part in parts for value in part.parameters),
        )
    column = columns[tree.field]
    collate = " COLLATE NOCASE" if column.kind is FieldType.TEXT else ""
    if isinstance(tree, StartsWith):
        found = _begins(column, tree.prefix)
        return found if holds else SqlCondition(f"({found.sql}) IS NOT TRUE", found.parameters)
    value = _parameter(tree.value, time)
    if tree.operator in {"eq", "ne"}:
        if (tree.operator == "eq") != holds:
            return SqlCondition(f"{column.sql} IS NOT ?{collate}", (value,))
        # NULL equals only NULL. SQLite does not use a partial index without NULLs for ``IS``.
        return SqlCondition(f"{column.sql} {'IS' if value is None else '='} ?{collate}", (value,))
    sql = f"{column.sql} {_SIGNS[tree.operator]} ?{collate}"
    return SqlCondition(sql if holds else f"({sql}) IS NOT TRUE", (value,))


def _balanced(parts: list[str], word: str) -> str:
    """The conditions joined by ``word``; SQLite limits the depth of a chain to 1,000."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return f"({_balanced(parts[:middle], word)}{word}{_balanced(parts[middle:], word)})"


def _begins(column: Column, prefix: str) -> SqlCondition:
    if column.kind is not FieldType.WORD:
        sql = f"substr({column.sql}, 1, {len(prefix)}) = ? COLLATE NOCASE"
        return SqlCondition(sql, (prefix,))
    # Words are stored in lower case; words with a common prefix are a range of the index.
    first = fold(prefix)
    behind = first.rstrip(_LAST)
    if not behind:
        return SqlCondition(f"{column.sql} >= ?", (first,))
    # U+D800 to U+DFFF are not characters.
    following = 0xE000 if behind[-1] == "\ud7ff" else ord(behind[-1]) + 1
    sql = f"({column.sql} >= ? AND {column.sql} < ?)"
    return SqlCondition(sql, (first, behind[:-1] + chr(following)))


def _parameter(value: Literal, time: Callable[[datetime], str | int | float]) -> Parameter:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return time(value)
    return value
