"""Finds the files on this disk that a spec uploads. Sends no requests.

All problems of these files are collected: a pattern without a match, an unreadable file, two files
for one blob, an invalid blob name, a damaged archive.
"""

from __future__ import annotations

import glob
import hashlib
import os
import re
import stat
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from errno import ELOOP, ENOENT
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from batchspec.diagnostics import Diagnostic, Diagnostics
from batchspec.observe.file_cache import FileCache
from batchspec.observe.spool import FileRow, Spool, Working, silent
from batchspec.plan.observed import LocalFile
from batchspec.spec import Container, Spec, UploadGlob

_CHUNK = 1 << 20
_SMALL = 64 << 10
"""In bytes. Reading a file of up to this size takes less time than starting a thread for it."""
_HASHERS = 4
_AHEAD = 64
_BATCH = 1000
_LONGEST_NAME = 1024
"""Azure refuses blob names over 1,024 characters (Naming and referencing containers, blobs)."""
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SUSPECT = re.compile("[\x00-\x1f\x7f\\\\\ud800-\udfff]|(?:^|/)[.][.](?:/|$)")

_Facts: TypeAlias = os.stat_result | OSError | None
"""The facts of a file or why they cannot be read; ``None`` for a regular file before it is opened.

Facts are for the cache. Without a cache, those of the open file are enough.
"""
_Read: TypeAlias = tuple[FileRow, os.stat_result | None] | Diagnostic
"""A file, with its facts if it was opened; or the reason why it cannot be uploaded."""


_REPORTED = 64
"""After how many files their number is reported."""


def scan(
    containers: Iterable[Container],
    spool: Spool,
    problems: Diagnostics,
    *,
    contents: bool = True,
    cache: FileCache | None = None,
    working: Working = silent,
) -> None:
    """Add every file to upload to these containers to the spool, and problems to ``problems``.

    Files that the cache contains are not read. Without ``contents``, files are opened to check
    them, but not hashed. ``working`` receives the number of files that were read.
    """
    with ThreadPoolExecutor(_HASHERS, thread_name_prefix="hash") as threads:
        reader = _Reader(threads, contents, cache, working)
        for container in containers:
            for entry in container.upload:
                _scan_entry(container, entry, spool, problems, reader)


def _scan_entry(
    container: Container,
    entry: UploadGlob,
    spool: Spool,
    problems: Diagnostics,
    reader: _Reader,
) -> None:
    reader.working(f"reading files of {container.id}")
    found = 0
    batch: list[FileRow] = []

    def write() -> None:
        for row, other in spool.add_files(container.key, batch):
            problems.add(_same_name(container, entry, row, other))
        batch.clear()

    for result in reader.read_all(entry):
        found += 1
        if isinstance(result, Diagnostic):
            write()
            problems.add(result)
            continue
        batch.append(result)
        if found % _REPORTED == 0:
            reader.working(f"reading files of {container.id}", f"{found:,}")
        if len(batch) == _BATCH:
            write()
    write()
    if not found:
        problems.add(_no_match(entry))


class _Reader:
    """Reads the files of an entry: small ones at once, large ones in threads."""

    def __init__(
        self, threads: Executor, contents: bool, cache: FileCache | None, working: Working
    ) -> None:
        self.working = working
        self._threads = threads
        self._contents = contents
        self._cache = cache if contents else None

    def read_all(self, entry: UploadGlob) -> Iterator[FileRow | Diagnostic]:
        """The files that match an entry, in the order of the glob."""
        waiting: deque[_Read | Future[_Read]] = deque()
        read: _Read | Future[_Read]
        cache = self._cache
        known = cache.get if cache is not None and cache.exists else None
        for path, blob, facts in _matches(entry, with_facts=known is not None):
            problem = _problem(entry, path, blob, facts)
            if problem is not None:
                read = problem
            elif known is None:
                read = self._start(entry, path, blob)
            else:
                assert isinstance(facts, os.stat_result)
                md5 = known(path, facts)
                if md5 is None:
                    read = self._start(entry, path, blob)
                else:
                    row = blob, path, facts.st_size, md5, entry.content_type
                    if not waiting:
                        yield row
                        continue
                    read = row, None
            if not waiting and not isinstance(read, Future):
                yield self._finish(read)
                continue
            waiting.append(read)
            while waiting and (len(waiting) > _AHEAD or not isinstance(waiting[0], Future)):
                yield self._finish(waiting.popleft())
        for last in waiting:
            yield self._finish(last)

    def _start(self, entry: UploadGlob, path: str, blob: str) -> _Read | Future[_Read]:
        read = _read(entry, path, blob, _SMALL if self._contents else None)
        if read is not None:
            return read
        return self._threads.submit(_read_all, entry, path, blob)

    def _finish(self, read: _Read | Future[_Read]) -> FileRow | Diagnostic:
        result = read.result() if isinstance(read, Future) else read
        if isinstance(result, Diagnostic):
            return result
        row, facts = result
        if self._cache is not None and facts is not None:
            self._cache.add(facts, row[3])
        return row


def _problem(entry: UploadGlob, path: str, blob: str, facts: _Facts) -> Diagnostic | None:
    """Why a file cannot be uploaded, judged by its name and its facts."""
    # Nearly all names pass these tests, which take less time than the pattern.
    if len(blob) > _LONGEST_NAME or (
        not (blob.isprintable() and "\\" not in blob and ".." not in blob) and _SUSPECT.search(blob)
    ):
        return _name_problem(entry, Path(path), blob)
    if facts is None:
        return None
    if isinstance(facts, OSError):
        return _unreadable(entry, Path(path), facts)
    if not stat.S_ISREG(facts.st_mode):
        return _not_a_file(entry, Path(path))
    return None


def _read(entry: UploadGlob, path: str, blob: str, longest: int | None) -> _Read | None:
    """A file, or ``None`` if it is longer than ``longest`` bytes.

    If ``longest`` is ``None``, the content is not read, and the MD5 is empty.
    """
    try:
        descriptor = os.open(path, _READ)
        try:
            # The facts are read before the content: if the file changes meanwhile, the new facts
            # differ, and the cache has no entry for them.
            facts = os.fstat(descriptor)
            size = facts.st_size
            if longest is None:
                md5 = b""
            elif size > longest:
                return None
            else:
                size, md5 = _hashed(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        return _unreadable(entry, Path(path), error)
    return (blob, path, size, md5, entry.content_type), facts


def _read_all(entry: UploadGlob, path: str, blob: str) -> _Read:
    read = _read(entry, path, blob, sys.maxsize)
    assert read is not None
    return read


def _hashed(descriptor: int, expected: int) -> tuple[int, bytes]:
    """The size and MD5 of an open file, which probably has the ``expected`` size."""
    chunk = os.read(descriptor, min(_CHUNK, expected + 1))
    digest = hashlib.md5(chunk, usedforsecurity=False)
    size = len(chunk)
    # One byte more was requested, so there is none: the file is not longer than its facts say.
    if size == expected < _CHUNK:
        return size, digest.digest()
    while chunk := os.read(descriptor, min(_CHUNK, expected + 1)):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.digest()


def _matches(entry: UploadGlob, *, with_facts: bool) -> Iterator[tuple[str, str, _Facts]]:
    """The files of an entry, with their blob names, which keep the folders below the fixed part."""
    fixed = fixed_part(entry.pattern)
    # Concatenation is much faster than `os.path.join` for each file.
    above = "" if os.path.isabs(entry.pattern) else os.path.join(entry.root, "")  # noqa: PTH117, PTH118
    start = f"{fixed}/" if fixed else ""
    # Without such parts, the rest of the path after the fixed part is the blob's name.
    plain = os.sep == "/" and not {"", ".", ".."} & set(entry.pattern[len(start) :].split("/"))
    for match, facts in _files(entry.root, entry.pattern, above, with_facts=with_facts):
        exact = plain and match.startswith(start)
        below = match[len(start) :] if exact else _relative(match, fixed)
        if entry.exclude:
            name = below.rpartition("/")[2]
            if any(fnmatchcase(name, x) or fnmatchcase(below, x) for x in entry.exclude):
                continue
        yield above + match, entry.prefix + below, facts


def _files(
    root: Path, pattern: str, above: str, *, with_facts: bool
) -> Iterator[tuple[str, _Facts]]:
    """The matches of a pattern, except folders, with their facts; ``above`` begins their paths."""
    head, recursive, tail = pattern.partition("**")
    if recursive and tail in {"", "/*"} and (not head or head.endswith("/")):
        for folder in _starts(root, head):
            yield from _tree(root, folder, frozenset(), with_facts)
        return
    for match in glob_matches(root, pattern):
        facts: _Facts
        try:
            facts = os.stat(above + match)  # noqa: PTH116
        except OSError as error:
            facts = error
        else:
            if stat.S_ISDIR(facts.st_mode):
                continue
        yield match, facts


def _tree(
    root: Path, folder: str, above: frozenset[tuple[int, int]], with_facts: bool
) -> Iterator[tuple[str, _Facts]]:
    """The files in a folder and its subfolders, as :func:`glob_matches` finds them.

    Each folder is read once, and no name is compared with a pattern.
    """
    path = root / folder
    start = os.path.join(folder, "")  # noqa: PTH118  (as `glob` does)
    below = []
    facts: _Facts
    try:
        of_folder = path.stat()
        key = (of_folder.st_dev, of_folder.st_ino)
        if key in above:
            return
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if _is_folder(entry):
                    below.append(name)
                    continue
                try:
                    # The folder records which entries are regular files: no request to the disk.
                    facts = None if not with_facts and entry.is_file() else entry.stat()
                except OSError as error:
                    facts = error
                yield start + name, facts
    except OSError:
        # Like `glob`, ignore a folder that cannot be read.
        return
    for name in sorted(below):
        yield from _tree(root, start + name, above | {key}, with_facts)


def _relative(match: str, fixed: str) -> str:
    """A match relative to the fixed part of its pattern, as a blob's name."""
    relative = os.path.relpath(match, fixed or os.curdir).replace(os.sep, "/")
    return str(PurePosixPath(relative))


def fixed_part(pattern: str) -> str:
    """The folders of a pattern before its first wildcard; for a plain path, its folder."""
    parts = pattern.split("/")
    fixed = []
    for part in parts[:-1]:
        if glob.has_magic(part):
            break
        fixed.append(part)
    return "/".join(fixed) or ("/" if pattern.startswith("/") else "")


def _not_a_file(entry: UploadGlob, path: Path) -> Diagnostic:
    return Diagnostic(
        "not-a-file",
        f"{path} is not a regular file",
        where=entry.where,
        fix="Exclude it with `exclude`, or narrow the pattern.",
    )


def _unreadable(entry: UploadGlob, path: Path, error: OSError) -> Diagnostic:
    link = error.errno in {ENOENT, ELOOP} and path.is_symlink()
    fix = "Fix the link" if link else "Grant yourself read access"
    return Diagnostic(
        "unreadable-file",
        f"{path} cannot be read: {error.strerror}",
        detail=f"It is a link to {path.readlink()}." if link else "",
        where=entry.where,
        fix=f"{fix}, or exclude it with `exclude`.",
    )


def _name_problem(entry: UploadGlob, path: Path, blob: str) -> Diagnostic:
    try:
        blob.encode()
    except UnicodeEncodeError:
        return Diagnostic(
            "bad-blob-name",
            f"{str(path)!r} has a name that is not valid UTF-8",
            where=entry.where,
            fix="Rename the file; a blob's name is Unicode text.",
        )
    if _CONTROL.search(blob):
        return Diagnostic(
            "bad-blob-name",
            f"{blob!r} has a control character in its name",
            detail="With such a blob, its container cannot be listed.",
            where=entry.where,
            fix="Rename the file, or exclude it with `exclude`.",
        )
    return Diagnostic(
        "bad-blob-name",
        f"{blob!r} cannot be the name of a blob",
        detail="At most 1,024 characters, no backslash, and no part `..`.",
        where=entry.where,
        fix="Rename the file, or set another `path`.",
    )


def _same_name(
    container: Container, entry: UploadGlob, file: FileRow, other: LocalFile
) -> Diagnostic:
    blob, path = file[:2]
    return Diagnostic(
        "same-blob-name",
        f"two files would become the blob {blob!r} of container {container.key!r}",
        detail=f"{other.path} and {Path(path)}",
        where=entry.where,
        fix="Give one of the entries a `path` (a prefix in the container), or exclude one file.",
    )


def _no_match(entry: UploadGlob) -> Diagnostic:
    whole = entry.root / entry.pattern
    if not glob.has_magic(entry.pattern) and os.path.isdir(whole):  # noqa: PTH112
        return Diagnostic(
            "no-match",
            f"{entry.pattern!r} is a folder",
            where=entry.where,
            fix=f"Write `{entry.pattern.rstrip('/')}/**` for every file below it.",
        )
    if not glob.has_magic(entry.pattern):
        return Diagnostic(
            "missing-file",
            f"the file {entry.pattern!r} does not exist",
            detail=f"Looked for {whole}; paths are relative to the spec.",
            where=entry.where,
            fix=_nearest(whole),
        )
    folder = entry.root / fixed_part(entry.pattern)
    try:
        # A glob ignores folders that it cannot read.
        os.scandir(folder).close()
    except PermissionError as error:
        return Diagnostic(
            "unreadable-file",
            f"the folder {folder} cannot be read: {error.strerror}",
            where=entry.where,
            fix="Grant yourself read access, or remove the entry.",
        )
    except OSError:
        # The folder does not exist, so the pattern matches nothing: see below.
        pass
    return Diagnostic(
        "no-match",
        f"{entry.pattern!r} matches no file",
        detail=f"Looked in {folder}; paths are relative to the spec.",
        where=entry.where,
        fix="Correct the pattern; `**` is recursive, and hidden files must be named.",
    )


def _nearest(path: Path) -> str:
    """A hint: the nearest folder of the path that exists."""
    for parent in path.parents:
        if os.path.isdir(parent):  # noqa: PTH112
            return f"The nearest folder that exists is {parent}."
    return ""


def glob_matches(root: Path, pattern: str) -> Iterator[str]:
    """The paths below a folder that match a pattern, relative to it; hidden files must be named.

    Like :func:`glob.iglob`, except that ``**`` does not follow a link to a folder that contains
    the link: the matches would never end.
    """
    while "/**/**/" in f"/{pattern}/":
        pattern = pattern.replace("**/**", "**", 1)  # the same as one
    parts = pattern.split("/")
    if "**" not in parts:
        yield from glob.iglob(pattern, root_dir=root)  # noqa: PTH207  (`..` and `root_dir`)
        return
    at = parts.index("**")
    head, tail = "".join(f"{part}/" for part in parts[:at]), "/".join(parts[at + 1 :]) or "*"
    for start in _starts(root, head):
        for folder in _folders(root, start, frozenset()):
            above = os.path.join(folder, "")  # noqa: PTH118  (as `glob` does)
            for match in glob_matches(root / folder, tail):
                yield above + match


def _starts(root: Path, head: str) -> Iterable[str]:
    """The folders that match the part of a pattern before ``**``."""
    return glob.iglob(head, root_dir=root) if head else [""]  # noqa: PTH207


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself. A link to a missing file raises no error here.
        return False


def _folders(root: Path, folder: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
    """A folder and its subfolders; ``above`` are the folders that contain it."""
    path = root / folder
    try:
        facts = path.stat()
        with os.scandir(path) as entries:
            below = sorted(
                entry.name
                for entry in entries
                if not entry.name.startswith(".") and _is_folder(entry)
            )
    except OSError:
        # Like `glob`, ignore a folder that cannot be read.
        return
    key = (facts.st_dev, facts.st_ino)
    if key in above:
        return
    yield folder
    for name in below:
        yield from _folders(root, os.path.join(folder, name), above | {key})  # noqa: PTH118


def bad_archives(spec: Spec, spool: Spool) -> Iterator[Diagnostic]:
    """Archives that nodes cannot unpack, though the service accepts them. Reads only their end."""
    import zipfile  # noqa: PLC0415 - few specs have archives

    for package in spec.packages.values():
        for file in spool.files(package.source.key) if package.is_archive else ():
            if not zipfile.is_zipfile(file.path):
                yield Diagnostic(
                    "bad-package",
                    f"the file {str(file.path)!r} of the package `{package.name}` is not a zip"
                    " archive",
                    where=package.where,
                    fix="Create it again, or let batchspec build the archive: `files: [PATTERN]`.",
                )
