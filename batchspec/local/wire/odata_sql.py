"""A typed filter as a parameterised SQL condition for SQLite.

What lives here: the translation. What may not: the grammar (``odata``), table names, a connection.
It selects exactly the records for which :func:`odata_tree.matches` holds; no text of a filter ever
becomes SQL text.
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
    """Where a field is stored: an SQL expression and what it holds.

    ``BOOL`` is kept as 0 or 1; ``TIME`` in a form that sorts as time does, the same that the
    ``time`` argument of :func:`where` writes.
    """

    sql: str
    kind: FieldType


@dataclass(frozen=True, slots=True)
class SqlCondition:
    """A condition for ``WHERE``, with a ``?`` for each of ``parameters`` in their order."""

    sql: str
    parameters: tuple[Parameter, ...] = ()


_LAST = "\U0010ffff"
_SIGNS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


def to_sql(
    tree: Filter, columns: Mapping[str, Column], time: Callable[[datetime], str | int | float]
) -> SqlCondition:
    """Translate ``tree``; ``time`` writes a UTC time as the columns of kind ``TIME`` hold it.

    Raises:
        QueryError: a field has no column, or a literal does not fit its field.
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
    # A negation is pushed to the leaves, where NULL can be given its two-valued meaning; so the
    # common filters stay plain comparisons, which an index serves.
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
        # NULL equals nothing but NULL; and an index without NULLs does not serve an ``IS``.
        return SqlCondition(f"{column.sql} {'IS' if value is None else '='} ?{collate}", (value,))
    sql = f"{column.sql} {_SIGNS[tree.operator]} ?{collate}"
    return SqlCondition(sql if holds else f"({sql}) IS NOT TRUE", (value,))


def _begins(column: Column, prefix: str) -> SqlCondition:
    if column.kind is not FieldType.WORD:
        sql = f"substr({column.sql}, 1, {len(prefix)}) = ? COLLATE NOCASE"
        return SqlCondition(sql, (prefix,))
    # Words are in lower case, so those with a prefix lie side by side, where an index finds them.
    first = fold(prefix)
    behind = first.rstrip(_LAST)
    if not behind:
        return SqlCondition(f"{column.sql} >= ?", (first,))
    # There are no characters from D800 to DFFF.
    following = 0xE000 if behind[-1] == "\ud7ff" else ord(behind[-1]) + 1
    sql = f"({column.sql} >= ? AND {column.sql} < ?)"
    return SqlCondition(sql, (first, behind[:-1] + chr(following)))


def _parameter(value: Literal, time: Callable[[datetime], str | int | float]) -> Parameter:
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, datetime):
        return time(value)
    return value
