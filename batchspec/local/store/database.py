"""One SQLite database, its transactions, and the forms that values take in it.

What lives here: the connection, ``transaction``, time and JSON to and from columns. What may not:
the SQL of any one table.
"""

# ruff: noqa: S608 - only names and conditions of our own are joined in; values are bound
from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from batchspec.local.store.schema import migrate


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, by key: rows after ``after``, at most ``limit``.

    ``where`` is an SQL condition over the columns of the table, with ``?`` for ``values``; it is
    made by the service from a parsed filter, never by joining in text of a request.
    """

    limit: int
    after: str = ""
    where: str = "1"
    values: tuple[Any, ...] = ()


ALL_ROWS = Page(limit=-1)
"""All rows; only for tables that are small by nature."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_column(moment: datetime) -> int:
    """Microseconds since 1970 of an aware ``moment``."""
    return (moment - _EPOCH) // _MICROSECOND


def from_column(value: int) -> datetime:
    """The UTC moment of a column made by :func:`to_column`."""
    return _EPOCH + timedelta(microseconds=value)


def from_optional(value: int | None) -> datetime | None:
    """As :func:`from_column`; NULL is ``None``."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def to_optional(moment: datetime | None) -> int | None:
    """As :func:`to_column`; ``None`` is NULL."""
    return None if moment is None else to_column(moment)


def to_microseconds(span: timedelta) -> int:
    """Whole microseconds."""
    return span // _MICROSECOND


def to_json(value: Any) -> str:
    """Compact JSON text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def from_json(text: str | None) -> Any:
    """The value of JSON text; NULL is ``None``."""
    return None if text is None else json.loads(text)


def fold(identifier: str) -> str:
    """The key of an id: ids are case-insensitive."""
    return identifier.lower()


class Database:
    """A connection that writes in short transactions and says so when one is committed.

    Used from one thread. WAL with ``synchronous=NORMAL``: a commit is in the operating system's
    hands when it returns, so it outlives a SIGKILL of this process (not a power cut).
    """

    def __init__(self, path: Path | str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        self._connection.row_factory = sqlite3.Row
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            "recursive_triggers = OFF",
            "temp_store = MEMORY",
            "cache_size = -16384",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        migrate(self._connection)
        self._depth = 0
        self._wrote = False
        self.version = 0
        """Grows with each committed change."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each committed change; the engine sets it to be woken."""

    def close(self) -> None:
        """Close the connection; the write-ahead log is folded into the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. Nested transactions are part of the outer one."""
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        self._wrote = False
        try:
            yield
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        else:
            self._connection.execute("COMMIT")
            committed = self._wrote
        finally:
            self._depth = 0
        if committed:
            self.version += 1
            self.changed()

    def write(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Cursor:
        """Run one statement that changes something, in its own transaction if there is none."""
        if self._depth:
            self._wrote = True
            return self._connection.execute(sql, values)
        with self.transaction():
            self._wrote = True
            return self._connection.execute(sql, values)

    def insert(self, table: str, row: Mapping[str, Any]) -> int:
        """Insert ``row`` (column: value) and return its ``seq``."""
        names = ", ".join(row)
        marks = ", ".join("?" * len(row))
        cursor = self.write(
            f"INSERT INTO {table} ({names}) VALUES ({marks})",
            tuple(row.values()),
        )
        return cursor.lastrowid or 0

    def update(self, table: str, row: Mapping[str, Any], where: str, values: Sequence[Any]) -> int:
        """Set the columns of ``row`` where ``where`` holds; return how many rows that was."""
        sets = ", ".join(f"{name} = ?" for name in row)
        cursor = self.write(
            f"UPDATE {table} SET {sets} WHERE {where}",
            (*row.values(), *values),
        )
        return cursor.rowcount

    def one(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Row | None:
        """The first row of a query."""
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query that is bounded by its own LIMIT or by nature."""
        return self._connection.execute(sql, values).fetchall()


def next_modified(previous: datetime, now: datetime) -> datetime:
    """``now``, but later than ``previous``: the next ``lastModified``.

    The ETag is made of it, so two changes in one tick of the clock must still differ.
    """
    return max(now, previous + _MICROSECOND)
