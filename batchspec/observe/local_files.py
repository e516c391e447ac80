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
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from errno import ELOOP, ENOENT
from itertools import compress, islice, repeat
from operator import attrgetter
from pathlib import Path, PurePosixPath
from typing import TypeAlias, cast

from batchspec.diagnostics import Diagnostic, Diagnostics, nearest
from batchspec.frozen import frozen
from batchspec.observe.file_cache import FileCache
from batchspec.observe.globs import Facts, files_of
from batchspec.observe.spool import FileRow, Spool, Working, silent
from batchspec.plan.observed import LocalFile
from batchspec.spec import Container, Spec, UploadGlob

_CHUNK = 1 << 20
_SMALL = 64 << 10
"""In bytes. Reading a file of up to this size takes less time than starting a thread for it."""
_HASHERS = 4
_BATCH = 1000
_LONGEST_NAME = 1024
"""Azure refuses blob names over 1,024 characters (Naming and referencing containers, blobs)."""
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0)
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SUSPECT = re.compile("[\x00-\x1f\x7f\\\\\ud800-\udfff]|(?:^|/)[.][.](?:/|$)")

_MODE, _SIZE = attrgetter("st_mode"), attrgetter("st_size")

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
        reader = _Reader(threads, contents, cache, problems, working)
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
    reader.start(f"reading files of {container.id}")
    plain = _is_plain(entry)
    # Other patterns can match a file several times.
    source = entry if plain and entry.pattern.count("**") < 2 else None
    for batch in _batches(entry, plain, with_facts=reader.needs_facts):
        files = reader.read(entry, batch)
        for row, other in spool.add_files(container.key, files, source):
            problems.add(_same_name(container, entry, row, other))
    if not reader.found:
        problems.add(_no_match(entry))


@frozen
class _Batch:
    """Files of an entry in three columns: their blob names, their paths and their facts."""

    blobs: list[str]
    paths: list[str]
    facts: list[Facts]


class _Reader:
    """Reads the files of an entry: small ones at once, large ones in threads."""

    def __init__(
        self,
        threads: Executor,
        contents: bool,
        cache: FileCache | None,
        problems: Diagnostics,
        working: Working,
    ) -> None:
        self._threads = threads
        self._contents = contents
        self._cache = cache if contents else None
        self._problems = problems
        self._working = working
        self._subject = ""
        self.needs_facts = False
        """Whether the cache can contain files of the entry."""
        self.found = 0
        """The number of files of the entry, with those that cannot be uploaded."""

    def start(self, subject: str) -> None:
        """Start an entry; ``subject`` is shown with the number of its files."""
        self._subject, self.found = subject, 0
        # A cache that is created while an entry is read does not contain its files.
        self.needs_facts = self._cache is not None and self._cache.exists
        self._working(subject)

    def read(self, entry: UploadGlob, batch: _Batch) -> list[FileRow]:
        """The files of a batch that can be uploaded, in its order."""
        paths, facts = batch.paths, batch.facts
        clean = _are_names(batch.blobs) and _are_regular(facts)
        known: Sequence[bytes | None] = ()
        if clean and self._cache is not None and self.needs_facts:
            states = cast("list[os.stat_result]", facts)
            known = self._cache.get(paths, states)
            if None not in known:
                self._report(len(paths))
                sizes = map(_SIZE, states)
                md5s = cast("Sequence[bytes]", known)
                return list(zip(batch.blobs, paths, sizes, md5s, repeat(entry.content_type)))
        reads = self._reads(entry, batch, known, clean)
        return self._finished(reads)

    def _reads(
        self, entry: UploadGlob, batch: _Batch, known: Sequence[bytes | None], clean: bool
    ) -> list[_Read | Future[_Read]]:
        """Each file of a batch, or a future if a thread reads it."""
        longest = _SMALL if self._contents else None
        reads: list[_Read | Future[_Read]] = []
        md5s = known or repeat(None, len(batch.blobs))
        columns = zip(batch.blobs, batch.paths, batch.facts, md5s, strict=True)
        for blob, path, facts, md5 in columns:
            read: _Read | None = None if clean else _problem(entry, path, blob, facts)
            if read is None and md5 is not None:
                assert isinstance(facts, os.stat_result)
                read = (blob, path, facts.st_size, md5, entry.content_type), None
            if read is None:
                read = _read(entry, path, blob, longest)
            if read is None:
                reads.append(self._threads.submit(_read_all, entry, path, blob))
            else:
                reads.append(read)
        return reads

    def _finished(self, reads: Iterable[_Read | Future[_Read]]) -> list[FileRow]:
        """Wait for the files; adds those that were opened to the cache."""
        rows: list[FileRow] = []
        new: list[os.stat_result] = []
        md5s: list[bytes] = []
        for read in reads:
            result = read.result() if isinstance(read, Future) else read
            self._report(1)
            if isinstance(result, Diagnostic):
                self._problems.add(result)
                continue
            row, facts = result
            rows.append(row)
            if facts is not None:
                new.append(facts)
                md5s.append(row[3])
        if self._cache is not None:
            self._cache.add(new, md5s)
        return rows

    def _report(self, number: int) -> None:
        """Report progress after some files have been read."""
        before, self.found = self.found, self.found + number
        if before // _REPORTED != self.found // _REPORTED:
            self._working(self._subject, f"{self.found:,}")


def _are_names(blobs: Sequence[str]) -> bool:
    """Whether these names of blobs are valid; ``False`` also if a closer look is necessary.

    One look at all names takes less time than one at each.
    """
    text = " ".join(blobs)
    return (
        text.isprintable()
        and "\\" not in text
        and ".." not in text
        and (len(text) <= _LONGEST_NAME or max(map(len, blobs)) <= _LONGEST_NAME)
    )


def _are_regular(facts: Sequence[Facts]) -> bool:
    """Whether these are the facts of regular files; ``False`` also as :func:`_are_names`."""
    try:
        return all(map(stat.S_ISREG, map(_MODE, facts)))
    except AttributeError:
        # Not all of them are known.
        return not any(facts)


def _problem(entry: UploadGlob, path: str, blob: str, facts: Facts) -> Diagnostic | None:
    """Why a file cannot be uploaded, judged by its name and its facts."""
    if len(blob) > _LONGEST_NAME or _SUSPECT.search(blob):
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


def _is_plain(entry: UploadGlob) -> bool:
    """Whether the rest of each path after the fixed part of the pattern is the blob's name."""
    fixed = entry.fixed
    rest = entry.pattern[len(fixed) + 1 if fixed else 0 :]
    return os.sep == "/" and not {"", ".", ".."} & set(rest.split("/"))


def _batches(entry: UploadGlob, plain: bool, *, with_facts: bool) -> Iterator[_Batch]:
    """The files of an entry, with their blob names, which keep the folders below the fixed part."""
    fixed = entry.fixed
    # Concatenation is much faster than `os.path.join` for each file.
    above = "" if os.path.isabs(entry.pattern) else os.path.join(entry.root, "")  # noqa: PTH117, PTH118
    start = f"{fixed}/" if fixed else ""
    batch = _Batch([], [], [])
    for folder, names, facts in files_of(entry.root, entry.pattern, above, with_facts=with_facts):
        if plain and folder.startswith(start):
            below = folder[len(start) :]
            blobs = [below + name for name in names]
        else:
            blobs = [_blob(folder + name, fixed, start, plain) for name in names]
        lead = above + folder
        columns: tuple[Iterable[str], Iterable[str], Iterable[Facts]]
        columns = [entry.prefix + blob for blob in blobs], [lead + name for name in names], facts
        if entry.exclude:
            kept = [not entry.excludes(blob) for blob in blobs]
            columns = compress(columns[0], kept), compress(columns[1], kept), compress(facts, kept)
        batch.blobs.extend(columns[0])
        batch.paths.extend(columns[1])
        batch.facts.extend(columns[2])
        if len(batch.blobs) >= _BATCH:
            yield batch
            batch = _Batch([], [], [])
    if batch.blobs:
        yield batch


def _blob(match: str, fixed: str, start: str, plain: bool) -> str:
    """The name of the blob for a match, without the prefix of its entry."""
    return match[len(start) :] if plain and match.startswith(start) else _relative(match, fixed)


def _relative(match: str, fixed: str) -> str:
    """A match relative to the fixed part of its pattern, as a blob's name."""
    relative = os.path.relpath(match, fixed or os.curdir).replace(os.sep, "/")
    return str(PurePosixPath(relative))


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
            fix=_nearest(entry.pattern, whole),
        )
    folder = entry.root / entry.fixed
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


_COMPARED = 2_000
"""The number of files of a folder whose names are compared with that of a missing file."""


def _nearest(pattern: str, path: Path) -> str:
    """A hint: a file with a similar name, or the nearest folder of the path that exists."""
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _COMPARED)]
    except OSError:
        # The folder does not exist or cannot be read; the folders above it are the hint.
        names = []
    if (near := nearest(path.name, sorted(names))) is not None:
        return f"Did you mean `{PurePosixPath(pattern).parent / near}`?"
    for parent in path.parents:
        if os.path.isdir(parent):  # noqa: PTH112
            return f"The nearest folder that exists is `{parent}`."
    return ""


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
