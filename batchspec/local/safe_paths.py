"""Files below a directory, and nowhere else.

What lives here: opening and walking by directory descriptors, one component at a time, so that
neither ``..`` nor a symbolic link, not even one put there meanwhile, leads out of the directory.
What may not: HTTP, the store.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

MAX_DEPTH = 100
"""How deep a recursive listing looks; it holds a descriptor for each level."""

_MAX_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe that a task made would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutsideError(Exception):
    """The path leads out of the directory, or to what is neither a file nor a directory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or directory found; ``name`` is its path below the root, with ``/``."""

    name: str
    is_directory: bool
    size: int
    modified: datetime
    mode: int


def split(path: str) -> tuple[str, ...]:
    """The components of a path of a request.

    Raises:
        OutsideError: it is empty, absolute, or has a component ``..`` or a NUL.
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise OutsideError(path)
    return parts


@dataclass(frozen=True, slots=True)
class Root:
    """A directory ``below`` a ``base`` that is ours alone; what lies between may be swapped.

    A task may put a link in the place of its own directory, or of its node's: it is not followed.
    """

    base: Path
    below: tuple[str, ...]

    def open(self) -> int:
        """A descriptor of it.

        Raises:
            FileNotFoundError: there is none, or it cannot be opened.
        """
        descriptor = os.open(self.base, _DIRECTORY & ~os.O_NOFOLLOW)
        for part in self.below:
            try:
                found = os.open(part, _DIRECTORY, dir_fd=descriptor)
            except OSError as error:
                raise FileNotFoundError(error.errno, error.strerror, part) from error
            finally:
                os.close(descriptor)
            descriptor = found
        return descriptor


@contextmanager
def opened(root: Root, path: str) -> Iterator[tuple[int, Entry]]:
    """A descriptor of the file or directory ``path`` below ``root``, and what it is.

    Links are followed as long as they stay below ``root``.

    Raises:
        FileNotFoundError: there is none.
        OutsideError: it is elsewhere, or a pipe, socket or device.
    """
    parts = split(path)
    with _walked(root, parts) as (parent, name):
        descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        yield descriptor, _entry("/".join(parts), os.fstat(descriptor))
    finally:
        os.close(descriptor)


def read_chunks(file: FileIO, start: int, length: int, size: int) -> Iterator[bytes]:
    """``length`` bytes of a file from ``start`` on, ``size`` at a time; then it is closed.

    A file that shrinks while it is read gives fewer.
    """
    with file:
        while length > 0 and (chunk := os.pread(file.fileno(), min(size, length), start)):
            yield chunk
            start += len(chunk)
            length -= len(chunk)


def walk(root: Root, *, recursive: bool, after: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The entries below ``root`` in the order of their names, those behind ``after``.

    A directory comes before what is in it. Links are not followed: one that names a file is shown
    as that file, when it stays below ``root``; others are left out.

    Raises:
        FileNotFoundError: ``root`` is not there.
    """
    descriptor = root.open()
    try:
        yield from _walk(root, descriptor, (), after, recursive=recursive)
    finally:
        os.close(descriptor)


def remove(root: Root, path: str, *, recursive: bool) -> None:
    """Remove a file, or a directory: an empty one, or with all that is in it.

    Raises:
        FileNotFoundError: there is none.
        OutsideError: it is elsewhere.
        OSError: the directory is not empty.
    """
    parts = split(path)
    with _walked(root, parts, last=False) as (parent, name):
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.unlink(name, dir_fd=parent)
        elif recursive:
            shutil.rmtree(name, dir_fd=parent)
        else:
            os.rmdir(name, dir_fd=parent)


def _walk(
    root: Root, descriptor: int, above: tuple[str, ...], after: tuple[str, ...], *, recursive: bool
) -> Iterator[Entry]:
    first = after[0] if after else ""
    for name in sorted(os.listdir(descriptor)):
        if name < first:
            continue
        path = (*above, name)
        if name != first:
            entry = _look(root, descriptor, path)
            if entry is None:
                continue
            yield entry
        if not recursive or len(path) >= MAX_DEPTH:
            continue
        try:
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
        except OSError:  # a file, a link, closed to us, or gone meanwhile
            continue
        try:
            rest = after[1:] if name == first else ()
            yield from _walk(root, below, path, rest, recursive=True)
        finally:
            os.close(below)


def _look(root: Root, descriptor: int, path: tuple[str, ...]) -> Entry | None:
    """What one name of a listing is; ``None`` for what cannot be shown or is gone meanwhile."""
    name = "/".join(path)
    with suppress(FileNotFoundError, OutsideError, PermissionError):
        found = os.stat(path[-1], dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            return _entry(name, found)
        with opened(root, name) as (_, entry):
            return None if entry.is_directory else entry
    return None


@contextmanager
def _walked(root: Root, parts: tuple[str, ...], *, last: bool = True) -> Iterator[tuple[int, str]]:
    """The directory that holds the last of ``parts``, and its name there, links resolved.

    ``last`` says whether a link at the end is resolved too.
    """
    todo = list(reversed(parts))
    trail = [root.open()]
    links = 0
    try:
        while True:
            name = todo.pop()
            if name == "..":
                if len(trail) == 1:
                    raise OutsideError("/".join(parts))
                os.close(trail.pop())
                name = "."
            elif (todo or last) and _is_link(name, trail[-1]):
                links += 1
                target = os.readlink(name, dir_fd=trail[-1])
                if links > _MAX_LINKS or target.startswith("/"):
                    raise OutsideError("/".join(parts))
                todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
                name = "."
            if not todo:
                yield trail[-1], name
                return
            if name != ".":
                trail.append(os.open(name, _DIRECTORY, dir_fd=trail[-1]))
    finally:
        for descriptor in trail:
            os.close(descriptor)


def _is_link(name: str, descriptor: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode)


def _entry(name: str, found: os.stat_result) -> Entry:
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise OutsideError(name)
    return Entry(
        name,
        stat.S_ISDIR(found.st_mode),
        found.st_size,
        datetime.fromtimestamp(found.st_mtime, UTC),
        found.st_mode,
    )
