"""Translation of a ``$filter`` to a parameterised SQL condition for SQLite.

The condition selects exactly the records for which :func:`odata.matches_filter` is true. Text of a
filter never becomes SQL text. Table names and connections do not belong here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from batchspec.local.wire.odata import (
    And,
    FieldType,
    Filter,
    Literal,
    Not,
    Or,
    StartsWith,
    bind_fields,
    fold,
)

Parameter = str | int | float | None


@dataclass(frozen=True, slots=True)
class Column:
    """Where a field is stored: an SQL expression and its type.

    ``BOOL`` is stored as 0 or 1, ``TIME`` in a form that sorts chronologically: the one that the
    ``time`` argument of :func:`to_sql` writes.
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
    # A negation moves to the leaves, where NULL gets its two-valued meaning. Common filters thus
    # stay plain comparisons that can use an index.
    if isinstance(tree, Not):
        return _condition(tree.term, columns, time, holds=not holds)
    if isinstance(tree, And | Or):
        parts = [_condition(term, columns, time, holds=holds) for term in tree.terms]
        word = " AND " if isinstance(tree, And) == holds else " OR "
        return SqlCondition(
            "(" + word.join(part.sql for part in parts) + ")",
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
        # NULL equals only NULL, and a partial index without NULLs is not used for ``IS``.
        return SqlCondition(f"{column.sql} {'IS' if value is None else '='} ?{collate}", (value,))
    sql = f"{column.sql} {_SIGNS[tree.operator]} ?{collate}"
    return SqlCondition(sql if holds else f"({sql}) IS NOT TRUE", (value,))


def _begins(column: Column, prefix: str) -> SqlCondition:
    if column.kind is not FieldType.WORD:
        sql = f"substr({column.sql}, 1, {len(prefix)}) = ? COLLATE NOCASE"
        return SqlCondition(sql, (prefix,))
    # Words are stored in lower case, so those with a common prefix are a range of the index.
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
