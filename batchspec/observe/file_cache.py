"""A cache of the MD5 of local files, so that an unchanged file is not read again.

An entry is valid while the file has the same device, inode, size, modification time and change
time. No program can set the change time of a file, so every change invalidates the entry. A file
that changed just before it is read has no entry, because its next change could have the same times.

Windows records no change time, so batchspec uses no cache there. A file system that stores no
change time (FAT, sshfs) hides a change that keeps the size and the modification time.

The cache is one SQLite file, which only its owner can read. A row contains the files of a block of
inodes: inodes of a folder are often consecutive, and are read and written together. After an error
of the disk or of SQLite, the cache is not used, and files are read again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from itertools import starmap
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import Self

_VERSION = 2
_TABLE = "CREATE TABLE block (number INTEGER PRIMARY KEY, files BLOB)"
_GET = "SELECT files FROM block WHERE number=?"
_PUT = "INSERT OR REPLACE INTO block VALUES (?,?)"
_KEY = struct.Struct("<Qqqq")
"""A state of a file: device, size in bytes, modification time and change time in nanoseconds."""
_RECORD = struct.Struct("<Q48s")
"""The inode of a file, its state, and its MD5."""
_BLOCK_BITS = 6
"""A block has 64 inodes. To read one takes about as long as two lookups of single files."""
_BLOCKS = 512
"""How many blocks are in memory at most, with up to 32,768 files: 8 MB."""
_EMPTY: Mapping[int, bytes] = {}
_NUMBER, _SIZE = attrgetter("st_ino"), attrgetter("st_size")
_STATE = attrgetter("st_dev", "st_size", "st_mtime_ns", "st_ctime_ns")
_YOUNG = 60_000_000_000
"""In nanoseconds. A file that changed less than this before the start has no entry.

Two changes within one tick of the file system's clock have the same times; the longest tick is 2 s
(FAT). When a program writes through a memory map, only the first write to a page sets the times,
until the system writes the page to the disk: on Linux after 30 s, checked every 5 s
(``dirty_expire_centisecs``).
"""
_BATCH = 1000
"""How many files are written together. Fewer files create no cache: reading is as fast."""
_LARGE = 64 << 20
"""In bytes. After this amount has been read, a cache is created also for fewer files."""
_MOST = 128 << 20
"""The maximum size in bytes, for about two million files; a larger cache is created again."""
_MD5 = 16
_GITIGNORE = "# Written by batchspec; do not commit.\n*\n"


def create_state_folder(folder: Path) -> None:
    """Create the folder ``.batchspec`` next to a spec, which version control ignores.

    Raises:
        OSError: the folder cannot be created.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ignore = folder / ".gitignore"
    if not ignore.exists():
        ignore.write_text(_GITIGNORE, encoding="utf-8")


class FileCache:
    """The MD5s of files that were read before; a context manager. It raises no errors."""

    def __init__(
        self,
        path: Path,
        now: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._path = path
        self._now = now
        self._monotonic = monotonic
        self._db: sqlite3.Connection | None = None
        self._usable = os.name != "nt"
        self._new: list[tuple[os.stat_result, bytes]] = []
        self._blocks: dict[int, dict[int, bytes]] = {}
        self._disks: set[int] = set()
        """The devices that are not network file systems; their files need not be opened.

        A client of a network file system may return facts that are up to a minute old, until it
        opens the file (close-to-open consistency, ``nfs(5)``). Linux gives such a file system, and
        some local ones, an unnamed device.
        """
        self._bytes = 0

    def __enter__(self) -> Self:
        self._started, self._started_at = self._now(), self._monotonic()
        # `Path.exists` raises if the folder belongs to another user.
        if self._usable and os.path.exists(self._path):  # noqa: PTH110
            self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._db is not None:
            self._write()
        self._close()

    @property
    def exists(self) -> bool:
        """Whether files were read before."""
        return self._db is not None

    def get(self, paths: Sequence[str], facts: Sequence[os.stat_result]) -> list[bytes | None]:
        """The MD5s of files with these facts; ``None`` for a file that was not read before."""
        found: list[bytes | None] = []
        for start in range(0, len(facts), _BLOCKS):
            end = start + _BLOCKS
            found += self._find(paths[start:end], facts[start:end])
        return found

    def _find(self, paths: Sequence[str], facts: Sequence[os.stat_result]) -> list[bytes | None]:
        """The MD5s of at most ``_BLOCKS`` files."""
        inodes = list(map(_NUMBER, facts))
        numbers = [inode >> _BLOCK_BITS for inode in inodes]
        try:
            blocks = self._load(set(numbers))
        except (sqlite3.Error, struct.error) as error:
            self._give_up(error)
            return [None] * len(facts)
        records = [blocks[number].get(inode) for number, inode in zip(numbers, inodes, strict=True)]
        found = [
            record[-_MD5:] if record is not None and record.startswith(key) else None
            for record, key in zip(records, starmap(_KEY.pack, map(_STATE, facts)), strict=True)
        ]
        for device in {state.st_dev for state in facts} - self._disks:
            if sys.platform == "linux" and os.major(device):
                self._disks.add(device)
                continue
            for index, state in enumerate(facts):
                known = state.st_dev == device and found[index] is not None
                if known and not _is_current(paths[index], state):
                    found[index] = None
        return found

    def _load(self, numbers: Set[int]) -> Mapping[int, Mapping[int, bytes]]:
        """The blocks with these numbers. If the memory is full, the other blocks leave it."""
        if self._db is None:
            return dict.fromkeys(numbers, _EMPTY)
        missing = numbers - self._blocks.keys()
        if len(self._blocks) + len(missing) > _BLOCKS:
            self._blocks = {n: block for n, block in self._blocks.items() if n in numbers}
        for number in missing:
            self._blocks[number] = self._read(number)
        return self._blocks

    def _read(self, number: int) -> dict[int, bytes]:
        """The files of a block, by inode.

        Raises:
            struct.error: the block has another form.
        """
        assert self._db is not None
        row = self._db.execute(_GET, (number,)).fetchone()
        return dict(_RECORD.iter_unpack(row[0])) if row is not None else {}

    def add(self, facts: Sequence[os.stat_result], md5s: Sequence[bytes]) -> None:
        """Add files; ``facts`` were read before their contents."""
        if self._usable:
            self._new += zip(facts, md5s, strict=True)
            self._bytes += sum(map(_SIZE, facts))
            if len(self._new) >= _BATCH or self._bytes >= _LARGE:
                self._write()

    def _write(self) -> None:
        """Write the new files that are old enough."""
        if self._db is None:
            self._open()
        if self._db is not None and self._new:
            try:
                oldest = min(self._started, self._file_system_start()) - _YOUNG
                new = [
                    (facts, md5)
                    for facts, md5 in self._new
                    if max(facts.st_mtime_ns, facts.st_ctime_ns) < oldest
                ]
                if new:
                    self._db.execute("COMMIT")
                    self._db.execute("BEGIN IMMEDIATE")
                    # Another process may have written them since they were read.
                    self._blocks.clear()
                    self._put(new)
                    self._db.execute("COMMIT")
                    self._db.execute("BEGIN")
            except (OSError, sqlite3.Error, struct.error) as error:
                self._give_up(error)
        self._new.clear()
        self._bytes = 0

    def _put(self, new: Iterable[tuple[os.stat_result, bytes]]) -> None:
        """Add files to their blocks."""
        assert self._db is not None
        changed: dict[int, dict[int, bytes]] = {}
        for facts, md5 in new:
            inode = facts.st_ino
            number = inode >> _BLOCK_BITS
            block = changed.get(number)
            if block is None:
                block = changed[number] = self._read(number)
            block[inode] = _key(facts) + md5
        rows = ((number, b"".join(_records(files))) for number, files in changed.items())
        self._db.executemany(_PUT, rows)

    def _file_system_start(self) -> int:
        """When this object was opened, in nanoseconds on the clock of the file system.

        The clock of a file server may be slow: then a file that has just changed looks old.
        """
        os.utime(self._path)
        return self._path.stat().st_mtime_ns - (self._monotonic() - self._started_at)

    def _open(self) -> None:
        """Open the cache and start a transaction, so that lookups need no further locks."""
        try:
            create_state_folder(self._path.parent)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(self._path, flags, 0o600)
            try:
                facts = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            if facts.st_uid != os.getuid() or facts.st_mode & 0o077:
                # Another user could have written the file.
                self._usable = False
                return
            self._db = sqlite3.connect(self._path, timeout=0.2, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._db.execute("BEGIN")
            if not self._is_valid():
                self._create_table()
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def _create_table(self) -> None:
        assert self._db is not None
        self._db.execute("COMMIT")
        self._db.execute("BEGIN IMMEDIATE")
        # Another process may have created the table since.
        if not self._is_valid():
            for table in ("file", "block"):  # of the first version, and of this one
                self._db.execute(f"DROP TABLE IF EXISTS {table}")
            self._db.execute(_TABLE)
            self._db.execute(f"PRAGMA user_version={_VERSION}")
        self._db.execute("COMMIT")
        self._db.execute("BEGIN")

    def _is_valid(self) -> bool:
        """Whether the cache has this version and is not too large."""
        assert self._db is not None
        names = ("user_version", "page_count", "freelist_count", "page_size")
        version, pages, free, size = (
            int(self._db.execute(f"PRAGMA {name}").fetchone()[0]) for name in names
        )
        return version == _VERSION and (pages - free) * size <= _MOST

    def _give_up(self, error: Exception) -> None:
        """Stop using the cache; delete it if it is damaged."""
        self._usable = False
        self._new.clear()
        self._close()
        locked = isinstance(error, sqlite3.OperationalError)
        if isinstance(error, (sqlite3.DatabaseError, struct.error)) and not locked:
            for suffix in ("", "-wal", "-shm"):
                # The next start finds a file that cannot be deleted damaged again, which only takes
                # time.
                with contextlib.suppress(OSError):
                    os.unlink(f"{self._path}{suffix}")  # noqa: PTH108

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None


def _records(files: Mapping[int, bytes]) -> Iterator[bytes]:
    return starmap(_RECORD.pack, files.items())


def _is_current(path: str, facts: os.stat_result) -> bool:
    """Whether a file still has the facts that ``stat`` returned."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            found = os.fstat(descriptor)
            return found.st_ino == facts.st_ino and _key(found) == _key(facts)
        finally:
            os.close(descriptor)
    except OSError:
        # Reading the file fails, too, and reports why.
        return False


def _key(facts: os.stat_result) -> bytes:
    return _KEY.pack(*_STATE(facts))
