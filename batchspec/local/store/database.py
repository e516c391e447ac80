"""One SQLite database: transactions, conversions of values, and pages of lists.

The SQL of single tables does not belong here.
"""

# ruff: noqa: S608 - only names and conditions of this package are joined in; values are bound
from __future__ import annotations

import errno
import json
import re
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from batchspec.local.model import Job, Schedule, Task
from batchspec.local.store.schema import DamagedStateError, check_schema, migrate


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list by key: at most ``limit`` rows after the key ``after``.

    ``where`` is an SQL condition over the columns of the table, with ``?`` for ``values``. The
    service creates it from a parsed filter; it never contains text of a request.
    """

    limit: int
    after: str = ""
    where: str = "1"
    values: tuple[Any, ...] = ()


ALL_ROWS = Page(limit=-1)
"""All rows; only for tables that are always small."""

_MAX_CHECK = 1 << 24
"""Maximum size in bytes of a database that is checked when it is opened."""
_INDEX = re.compile(r"(missing from|entries in|entry in|differ from) index ")
"""A line of the check about an index that does not match its table; ``REINDEX`` repairs it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def to_column(moment: datetime) -> int:
    """The microseconds since 1970 of ``moment``, a timezone-aware time."""
    return (moment - _EPOCH) // _MICROSECOND


def from_column(value: int) -> datetime:
    """The UTC time of a value of :func:`to_column`."""
    return _EPOCH + timedelta(microseconds=value)


def from_optional(value: int | None) -> datetime | None:
    """As :func:`from_column`; ``None`` for NULL."""
    return None if value is None else _EPOCH + timedelta(microseconds=value)


def to_optional(moment: datetime | None) -> int | None:
    """As :func:`to_column`; NULL for ``None``."""
    return None if moment is None else to_column(moment)


def to_microseconds(span: timedelta) -> int:
    """A duration in whole microseconds."""
    return span // _MICROSECOND


def to_json(value: Any) -> str:
    """Compact JSON text."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def from_json(text: str | None) -> Any:
    """The value of JSON text; ``None`` for NULL."""
    return None if text is None else json.loads(text)


def fold(identifier: str) -> str:
    """The key of an id; ids are case-insensitive."""
    return identifier.lower()


T = TypeVar("T")
R = TypeVar("R")


def conversions(kind: type) -> list[tuple[str, Callable[[Any], Any] | None]]:
    """The columns of a record, in the order of its fields, and how their values are converted.

    A column has the name of its field. Times, JSON and enumerations are converted by the type of
    the field; ``None`` leaves other values unchanged.
    """
    hints = get_type_hints(kind)
    return [(field.name, _conversion(hints[field.name])) for field in fields(kind)]


def _conversion(hint: Any) -> Callable[[Any], Any] | None:
    parts = [part for part in get_args(hint) if part is not type(None)]
    optional = type(None) in get_args(hint)
    kind = parts[0] if optional else hint
    if kind is datetime:
        return from_optional
    if get_origin(kind) is tuple:
        return lambda text: tuple(json.loads(text))
    if get_origin(kind) is Mapping:
        return from_json
    if kind is bool:
        return bool
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        states: dict[str | None, StrEnum | None] = {None: None, **{str(one): one for one in kind}}
        return states.__getitem__
    return None


def record_reader(kind: type[T]) -> Callable[[sqlite3.Row], T]:
    """A function that makes a record from a row with the columns of its fields."""
    columns = conversions(kind)

    def read(row: sqlite3.Row) -> T:
        return kind(
            *[row[name] if convert is None else convert(row[name]) for name, convert in columns]
        )

    return read


_MAX_KEPT = 1024
"""Maximum number of results in one :class:`Kept`."""
_WRITE = re.compile(r"(INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM) (\w+)")
_ADDED_BY_DELETION = {"task": "pending_deletion", "subtask": "pending_deletion"}
"""The tables to which a trigger adds rows when a row of the first table is deleted."""


@lru_cache(maxsize=1024)
def _tables_of(sql: str) -> tuple[str, ...]:
    """The table that a statement writes, and a table to which its triggers add rows."""
    found = _WRITE.match(sql.lstrip())
    if found is None:
        raise ValueError(f"the statement writes no table: {sql}")
    verb, table = found.groups()
    added = _ADDED_BY_DELETION.get(table) if verb == "DELETE FROM" else None
    return (table,) if added is None else (table, added)


class Kept:
    """Results of queries that stay the same until a write to the tables that they read.

    Get it from :meth:`Database.kept`. The engine reads the same few records in each round.
    """

    def __init__(self, refresh: Callable[[], None]) -> None:
        """``refresh`` calls :meth:`forget` if another connection has written."""
        self._refresh = refresh
        self._found: dict[Hashable, Any] = {}

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """The result of ``read``, which is called only if the result is not kept."""
        self._refresh()
        if key in self._found:
            found: T = self._found[key]
            return found
        if len(self._found) >= _MAX_KEPT:
            self._found.clear()
        found = self._found[key] = read()
        return found

    def rows(self, key: Hashable, read: Callable[[], list[R]]) -> list[R]:
        """The result of ``read``; only an empty list is kept.

        The rows may contain columns whose changes the caller does not follow.
        """
        self._refresh()
        if key in self._found:
            return []
        rows = read()
        if not rows:
            self._found[key] = True
        return rows

    def set(self, key: Hashable, value: object) -> None:
        """Replace a result, after a write that changes it in a known way."""
        self._found[key] = value

    def forget(self) -> None:
        """Forget all results."""
        self._found.clear()


class Database:
    """A connection that writes in short transactions and reports each commit.

    Use it from one thread. With WAL and ``synchronous=NORMAL`` a commit passes the data to the
    operating system before it returns: the data survives a SIGKILL of this process, but not a power
    failure.
    """

    def __init__(self, path: Path | str) -> None:
        """Open or create the database ``path``; migrate a database of an older version.

        Raises:
            NewerStateError: a newer version of the service has written the database.
            DamagedStateError: the database is damaged.
        """
        self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        self._connection.row_factory = sqlite3.Row
        try:
            self._open()
        except BaseException as error:
            self._connection.close()
            # The message about a damaged schema can contain bytes that are not UTF-8.
            if is_corrupt(error) or isinstance(error, UnicodeDecodeError):
                raise DamagedStateError(str(error)) from error
            raise
        self._depth = 0
        self._wrote = False
        self._kept: defaultdict[str, list[Kept]] = defaultdict(list)
        self._seen = 0
        self.version = 0
        """Increases with each committed change."""
        self.changed: Callable[[], None] = lambda: None
        """Called after each committed change; the engine sets it to wake up."""

    def notify(self) -> None:
        """Call :attr:`changed` without a change of the database."""
        self.changed()

    def rewrite(self) -> None:
        """Write a page with the same content."""
        with self.transaction():
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            self._connection.execute(f"PRAGMA user_version = {version}")

    def _open(self) -> None:
        for pragma in (
            "journal_mode = WAL",
            "synchronous = NORMAL",
            "foreign_keys = ON",
            "recursive_triggers = OFF",
            "temp_store = MEMORY",
            "cache_size = -16384",
            # A checkpoint waits for the disk twice. With fewer checkpoints, pages with several
            # writes are merged once.
            "wal_autocheckpoint = 4000",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        self._check()
        migrate(self._connection)
        check_schema(self._connection)

    def _check(self) -> None:
        """Check the structure of the file, unless it is larger than :data:`_MAX_CHECK`."""
        pages, size = (
            self._connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_count", "page_size")
        )
        if pages * size > _MAX_CHECK:
            return
        lines = [line for (line,) in self._connection.execute("PRAGMA integrity_check")]
        # A value of another type is damage of one record; see ``damage``.
        wrong = [line for line in lines if line != "ok" and " value in " not in line]
        if any(_INDEX.search(line) is None for line in wrong):
            raise DamagedStateError(wrong[0])
        if wrong:
            self._connection.execute("REINDEX")

    def close(self) -> None:
        """Close the connection; SQLite merges the write-ahead log into the database."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction: all writes inside take effect, or none.

        A nested transaction is part of the outer one.
        """
        if self._depth:
            yield
            return
        self._connection.execute("BEGIN IMMEDIATE")
        self._depth = 1
        self._wrote = False
        committed = False
        try:
            self._compare_version()
            yield
            self._connection.execute("COMMIT")
            committed = True
        except BaseException:
            if self.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        finally:
            self._depth = 0
            if not committed:
                self._forget_all()
        if self._wrote:
            self.version += 1
            self.changed()

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open; errors such as a full disk undo and end it."""
        return self._connection.in_transaction

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """A part of a transaction: an exception undoes only the writes of this part."""
        self._connection.execute("SAVEPOINT part")
        try:
            yield
        except BaseException:
            self._forget_all()
            if self.in_transaction:
                self._connection.execute("ROLLBACK TO part")
                self._connection.execute("RELEASE part")
            raise
        self._connection.execute("RELEASE part")

    def kept(self, *changes: str) -> Kept:
        """Results to keep until one of ``changes``: tables, or names given to :meth:`write`."""
        kept = Kept(self._refresh)
        for change in changes:
            self._kept[change].append(kept)
        return kept

    def _refresh(self) -> None:
        if not self._depth:  # in a transaction no other connection writes
            self._compare_version()

    def _compare_version(self) -> None:
        """Forget all kept results if another connection has written."""
        (seen,) = self._connection.execute("PRAGMA data_version").fetchone()
        if seen != self._seen:
            self._seen = seen
            self._forget_all()

    def _forget_all(self) -> None:
        for several in self._kept.values():
            for kept in several:
                kept.forget()

    def write(
        self,
        sql: str,
        values: Sequence[Any] | Mapping[str, Any] = (),
        *,
        change: str | None = None,
    ) -> sqlite3.Cursor:
        """Run one statement that writes; in a separate transaction if no transaction is open.

        ``change`` names the change for :meth:`kept`, instead of the table that is written.
        """
        if not self._depth:
            with self.transaction():
                return self.write(sql, values, change=change)
        self._wrote = True
        for name in _tables_of(sql) if change is None else (change,):
            for kept in self._kept.get(name, ()):
                kept.forget()
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
        """Set the columns of ``row`` in the rows that match ``where``; returns their number."""
        sets = ", ".join(f"{name} = ?" for name in row)
        cursor = self.write(
            f"UPDATE {table} SET {sets} WHERE {where}",
            (*row.values(), *values),
        )
        return cursor.rowcount

    def page(
        self, table: str, page: Page, where: str = "1", values: Sequence[Any] = (), key: str = "key"
    ) -> list[sqlite3.Row]:
        """The rows of a page of ``table`` that match ``where``, by ``key``."""
        return self.all(
            f"SELECT * FROM {table} WHERE {where} AND {key} > ? AND ({page.where}) "
            f"ORDER BY {key} LIMIT ?",
            (*values, page.after, *page.values, page.limit),
        )

    def row(self, table: str, seq: int) -> sqlite3.Row:
        """The row of ``table`` with this ``seq``.

        Raises:
            LookupError: it does not exist.
        """
        row = self.one(f"SELECT * FROM {table} WHERE seq = ?", (seq,))
        if row is None:
            raise LookupError(f"the {table} with seq {seq} does not exist")
        return row

    def one(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> sqlite3.Row | None:
        """The first row of a query."""
        row: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
        return row

    def all(self, sql: str, values: Sequence[Any] | Mapping[str, Any] = ()) -> list[sqlite3.Row]:
        """All rows of a query with a LIMIT, or of a table that is always small."""
        return self._connection.execute(sql, values).fetchall()

    def scan(self, sql: str) -> Iterator[sqlite3.Row]:
        """All rows of a query, one at a time; text that is not UTF-8 contains surrogates."""
        self._connection.text_factory = lambda raw: raw.decode(errors="surrogateescape")
        try:
            yield from self._connection.execute(sql)
        finally:
            self._connection.text_factory = str


def is_corrupt(error: BaseException) -> bool:
    """Whether an exception shows that the database file itself is damaged."""
    name = getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_refused_by_disk(error: BaseException) -> bool:
    """Whether the disk refuses to write: it is full, read-only or failing."""
    if isinstance(error, OSError):
        return error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO}
    name = getattr(error, "sqlite_errorname", "") if isinstance(error, sqlite3.Error) else ""
    return name.startswith(("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN"))


def next_modified(previous: datetime, now: datetime) -> datetime:
    """The next ``lastModified``: ``now``, or just after ``previous`` if that is later.

    The ETag is derived from it, so two changes within one tick of the clock must differ.
    """
    return max(now, previous + _MICROSECOND)


def state_columns(record: Job | Schedule | Task, state: StrEnum, now: datetime) -> dict[str, Any]:
    """The columns of a change of ``record`` to ``state``."""
    return {
        "state": state,
        "state_since": to_column(now),
        "previous_state": record.state,
        "previous_since": to_column(record.state_since),
    }
