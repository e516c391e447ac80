"""Temporary storage for millions of files, blobs and tasks: an SQLite file.

Rows can be read in order any number of times, so that a plan has only the current row in memory.
The file has no name, and is removed when the process ends.
"""

from __future__ import annotations

import sqlite3
import struct
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import chain, repeat
from operator import attrgetter, itemgetter
from types import TracebackType
from typing import Any, Protocol, Self, TypeAlias

from batchspec.frozen import frozen
from batchspec.plan.observed import Blob, LocalFile, Marks, TaskFacts

_TABLES = """
CREATE TABLE files (number INTEGER PRIMARY KEY, blobs BLOB, paths BLOB, sizes BLOB, md5s BLOB,
    type TEXT);
CREATE TABLE blob (container TEXT, name TEXT, size INTEGER, md5 BLOB, modified TEXT, work TEXT,
    PRIMARY KEY (container, name)) WITHOUT ROWID;
CREATE TABLE task (id TEXT COLLATE NOCASE, job TEXT, age INTEGER, state TEXT, succeeded INTEGER,
    exit_code INTEGER, code TEXT, message TEXT, node TEXT, retries INTEGER,
    item TEXT, content TEXT, work TEXT, stage TEXT, created REAL, started INTEGER,
    PRIMARY KEY (id, age)) WITHOUT ROWID;
CREATE INDEX item ON task (item) WHERE item <> '';
"""
_BATCH = 1000
_TOGETHER = 500
"""How many files are one row: they take a tenth of the time of 500 rows."""
_SEPARATOR = "\0"
_MD5 = struct.Struct("16s")

FileRow: TypeAlias = tuple[str, str, int, bytes, str | None]
"""A file to upload: its blob name, path, size in bytes, MD5 and content type."""

# `LocalFile._make` is written in Python, and would be called for each of a million files.
_make_file: Callable[[tuple[object, ...]], LocalFile] = partial(tuple.__new__, LocalFile)


@frozen
class _Part:
    """Up to ``_TOGETHER`` files that are stored together, in order of their blob names."""

    number: int
    count: int
    first: str
    last: str
    source: object


class Working(Protocol):
    """Receives the progress of reading: the subject, and how much has been read."""

    def __call__(self, subject: str, detail: str = "") -> None: ...


def silent(subject: str, detail: str = "") -> None:
    """Report nothing."""


class Spool:
    """Temporary storage of facts; a context manager that frees the space at the end."""

    def __init__(self) -> None:
        # SQLite's own temporary file (https://sqlite.org/inmemorydb.html, "temporary databases"):
        # deleted while it is open, so that a process that is killed leaves nothing behind.
        self._db = sqlite3.connect("")
        # The file does not outlive the process, so durability would only cost time.
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _TABLES)
        self._files: dict[str, list[_Part]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._db.close()

    def add_files(
        self, container: str, files: Sequence[FileRow], source: object = None
    ) -> Sequence[tuple[FileRow, LocalFile]]:
        """Add files of one content type.

        Files of the same ``source`` have different blob names, unless it is ``None``.

        Returns:
            The files whose blob name another file has, each with this other file. A file that was
            added before is ignored.
        """
        stored = self._files.setdefault(container, [])
        distinct = dict[str, FileRow]()
        same: list[tuple[FileRow, LocalFile]] = []
        for file in sorted(files):
            first = distinct.setdefault(file[0], file)
            if first is not file and first[1] != file[1]:
                same.append((file, LocalFile(*first)))
        rows = list(distinct.values())
        for start in range(0, len(rows), _TOGETHER):
            some = rows[start : start + _TOGETHER]
            others = self._others(stored, some, source)
            same += ((file, others[file[0]]) for file in some if file[0] in others)
            if others:
                some = [file for file in some if file[0] not in others]
            if some:
                stored.append(self._write(some, source))
        return [(file, other) for file, other in same if file[1] != other.location]

    def _others(
        self, stored: Iterable[_Part], files: Sequence[FileRow], source: object
    ) -> Mapping[str, LocalFile]:
        """The stored files that have the blob names of other files, which are sorted."""
        first, last = files[0][0], files[-1][0]
        overlapping = [
            part
            for part in stored
            if part.first <= last
            and part.last >= first
            and (source is None or part.source is not source)
        ]
        names = {file[0] for file in files} if overlapping else set[str]()
        found = (file for part in overlapping for file in self.part(part.number))
        return {file.blob: file for file in found if file.blob in names}

    def _write(self, files: Sequence[FileRow], source: object) -> _Part:
        blobs, paths, sizes, md5s, types = zip(*files, strict=True)
        cursor = self._db.execute(
            "INSERT INTO files VALUES (NULL,?,?,?,?,?)",
            (
                _SEPARATOR.join(blobs).encode(),
                # A path can be invalid Unicode.
                _SEPARATOR.join(paths).encode("utf-8", "surrogatepass"),
                array("q", sizes).tobytes(),
                b"".join(md5s),
                types[0],
            ),
        )
        assert cursor.lastrowid is not None
        return _Part(cursor.lastrowid, len(files), blobs[0], blobs[-1], source)

    def part(self, number: int) -> list[LocalFile]:
        """Files that were stored together, in order of their blob names."""
        query = "SELECT blobs, paths, sizes, md5s, type FROM files WHERE number=?"
        blobs, paths, sizes, md5s, content_type = self._db.execute(query, (number,)).fetchone()
        columns = zip(
            blobs.decode().split(_SEPARATOR),
            paths.decode("utf-8", "surrogatepass").split(_SEPARATOR),
            array("q", sizes),
            map(itemgetter(0), _MD5.iter_unpack(md5s)) if md5s else repeat(b""),
            repeat(content_type),
        )
        return list(map(_make_file, columns))

    def parts(self, container: str) -> Sequence[_Part]:
        """The parts of the files of a container, as they were added."""
        return self._files.get(container, ())

    def add_blobs(self, container: str, blobs: Sequence[Blob]) -> None:
        """Add blobs."""
        rows = [
            (
                container,
                blob.name,
                blob.size,
                blob.md5,
                blob.modified.isoformat() if blob.modified else None,
                blob.work,
            )
            for blob in blobs
        ]
        self._db.executemany("INSERT OR REPLACE INTO blob VALUES (?,?,?,?,?,?)", rows)

    def has_blob(self, container: str, name: str) -> bool:
        """Whether a blob of that name was added."""
        query = "SELECT 1 FROM blob WHERE container=? AND name=?"
        return self._db.execute(query, (container, name)).fetchone() is not None

    def add_task(self, job: str, age: int, task: TaskFacts) -> None:
        """Add a task; ``age`` orders the jobs, and the newest job has the highest."""
        self._db.execute(
            "INSERT OR REPLACE INTO task VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                task.id,
                job,
                age,
                task.state,
                task.succeeded,
                task.exit_code,
                task.code,
                task.message,
                task.node,
                task.retries,
                task.marks.item,
                task.marks.content,
                task.marks.work,
                task.marks.stage,
                task.created.timestamp() if task.created else None,
                task.started,
            ),
        )

    def files(self, container: str) -> Files:
        """The files of a container, in order of their blob names."""
        return Files(self, container)

    def blobs(self, container: str) -> Blobs:
        """The blobs of a container, in order of their names."""
        return Blobs(self, container)

    def tasks(self) -> Tasks:
        """The tasks, by id."""
        return Tasks(self)

    def rows(self, query: str, values: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
        """The rows of a query, read a thousand at a time.

        Each call has a separate cursor, so that several streams can be read at the same time.
        """
        cursor = self._db.cursor()
        cursor.execute(query, values)
        return chain.from_iterable(iter(partial(cursor.fetchmany, _BATCH), []))

    def count(self, table: str, container: str) -> int:
        """How many rows of a container a table has."""
        query = f"SELECT count(*) FROM {table} WHERE container=?"  # noqa: S608 - our own names
        return int(self._db.execute(query, (container,)).fetchone()[0])

    def task_count(self) -> int:
        """How many task ids there are."""
        return int(self._db.execute("SELECT count(DISTINCT id) FROM task").fetchone()[0])


@frozen
class Files:
    """A stream of the files of a container."""

    spool: Spool
    container: str

    def __iter__(self) -> Iterator[LocalFile]:
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[LocalFile]]:
        """The files in order. A part is read when the first of its files is the next one."""
        rest = sorted(self.spool.parts(self.container), key=attrgetter("first"))
        started: list[list[LocalFile]] = []
        for index, part in enumerate(rest):
            started.append(self.spool.part(part.number))
            end = rest[index + 1].first if index + 1 < len(rest) else None
            ready: list[LocalFile] = []
            waiting: list[list[LocalFile]] = []
            for files in started:
                if end is None or files[-1].blob < end:
                    ready += files
                else:
                    until = bisect_left(files, end, key=itemgetter(0))
                    ready += files[:until]
                    waiting.append(files[until:])
            if len(started) > 1:
                ready.sort()
            yield ready
            started = waiting

    def __len__(self) -> int:
        return sum(part.count for part in self.spool.parts(self.container))


@frozen
class Blobs:
    """A stream of the blobs of a container."""

    spool: Spool
    container: str

    def __iter__(self) -> Iterator[Blob]:
        query = "SELECT name, size, md5, modified, work FROM blob WHERE container=? ORDER BY name"
        for name, size, md5, modified, work in self.spool.rows(query, (self.container,)):
            assert isinstance(name, str) and isinstance(size, int)
            assert md5 is None or isinstance(md5, bytes)
            when = datetime.fromisoformat(modified) if isinstance(modified, str) else None
            yield Blob(name, size, md5, when, str(work))

    def __len__(self) -> int:
        return self.spool.count("blob", self.container)


@frozen
class Tasks:
    """The tasks of every job of a run."""

    spool: Spool

    def __len__(self) -> int:
        return self.spool.task_count()

    def versions(self, task_id: str, item: str = "") -> Sequence[tuple[str, TaskFacts]]:
        """The tasks with this id or item, each with its job, the newest first."""
        found = (
            self.spool.rows(_VERSIONS, (task_id, item))
            if item
            else self.spool.rows(_OF_ID, (task_id,))
        )
        return [_task(row) for row in found]

    def states(self, job: str, stage: str = "") -> Mapping[str, int]:
        """How many tasks with marks a job (or a stage of it) has, by state (see ``TaskIndex``)."""
        counts: Counter[str] = Counter()
        for state, succeeded, number in self.spool.rows(_STATES, (job, stage, stage)):
            counts[_counted_state(state, succeeded)] += int(str(number))
        return counts

    def ends(self) -> Iterator[tuple[str, str, bool | None]]:
        """Each task in order of the ids: its id, its job, and whether it succeeded."""
        # With max(), the other columns are those of the same row, as SQLite documents.
        query = "SELECT id, job, succeeded, max(age) FROM task GROUP BY id ORDER BY id"
        for name, job, succeeded, _ in self.spool.rows(query, ()):
            yield str(name), str(job), None if succeeded is None else bool(succeeded)

    def works(self) -> Works:
        """The digest of the work of the newest task of each item."""
        return Works(self.spool)


@frozen
class Works:
    """The digests of the work of the newest task of each item: a stream."""

    spool: Spool

    def __iter__(self) -> Iterator[str]:
        return (str(work) for _, work in self.spool.rows(_WORKS, ()))

    def __len__(self) -> int:
        (row,) = self.spool.rows("SELECT count(DISTINCT item) FROM task WHERE item <> ''", ())
        return int(str(row[0]))


_WORKS = """\
SELECT item, work FROM (
    SELECT item, work, row_number() OVER (PARTITION BY item ORDER BY age DESC, created DESC) AS n
    FROM task WHERE item <> ''
) WHERE n = 1"""
_COLUMNS = (
    "job, id, state, succeeded, exit_code, code, message, node, retries,"
    " item, content, work, stage, created, started"
)
_OF_ID = f"SELECT {_COLUMNS} FROM task WHERE id=? ORDER BY age DESC"  # noqa: S608 - our own names
_VERSIONS = (
    f"SELECT {_COLUMNS} FROM task WHERE id=? OR (item=? AND item <> '')"  # noqa: S608
    " ORDER BY age DESC, created DESC"
)
_STATES = (
    "SELECT state, succeeded, count(*) FROM task"
    " WHERE job=? AND item <> '' AND (stage=? OR ?='') GROUP BY 1, 2"
)


def _counted_state(state: object, succeeded: object) -> str:
    """The state under which a task is counted; ``preparing`` counts as running."""
    if succeeded is not None:
        return "succeeded" if succeeded else "failed"
    return "active" if state == "active" else "running"


def _task(row: tuple[Any, ...]) -> tuple[str, TaskFacts]:
    job, name, state, succeeded, exit_code, code, message, node, retries = row[:9]
    item, content, work, stage, created, started = row[9:]
    return job, TaskFacts(
        id=name,
        state=state,
        succeeded=None if succeeded is None else bool(succeeded),
        exit_code=exit_code,
        code=code,
        message=message,
        node=node,
        retries=retries,
        marks=Marks(item, content, work, stage),
        created=None if created is None else datetime.fromtimestamp(created, UTC),
        started=bool(started),
    )
