"""Access to files below a directory only.

Paths are opened component by component with directory descriptors. Neither ``..`` nor a symbolic
link leads out of the directory, even if a task replaces a component at the same time.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path

from batchspec.frozen import frozen

MAX_DEPTH = 100
"""Maximum depth of a recursive listing, which keeps one descriptor open for each level."""

_MAX_LINKS = 40
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe created by a task would wait for a writer.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutsideError(Exception):
    """The path leads out of the directory, or is neither a file nor a directory."""


@frozen
class Entry:
    """A file or directory; ``name`` is its path relative to the root, with ``/``."""

    name: str
    is_directory: bool
    size: int
    modified: datetime
    mode: int


@frozen
class Owner:
    """The owner of new files and directories: ids of user and group, ``mode`` of directories."""

    uid: int
    gid: int
    mode: int

    def take(self, directory: int) -> None:
        """Make this the owner of an open directory."""
        os.fchown(directory, self.uid, self.gid)
        os.fchmod(directory, self.mode)

    def take_file(self, file: int) -> None:
        """Make this the owner of an open file."""
        os.fchown(file, self.uid, self.gid)


def split(path: str) -> tuple[str, ...]:
    """The components of a relative path.

    Raises:
        OutsideError: the path is empty or absolute, or has a ``..`` component or a NUL.
    """
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise OutsideError(path)
    return parts


@frozen
class Root:
    """The directory with the components ``below`` in ``base``. Tasks cannot change ``base``.

    A task can replace its directory or its node's directory by a link; the link is not followed.
    """

    base: Path
    below: tuple[str, ...]

    def open(self) -> int:
        """Open the directory and return its descriptor.

        Raises:
            FileNotFoundError: it does not exist or cannot be opened.
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
    """Open the file or directory ``path`` below ``root``: its descriptor and its entry.

    Links are followed if they stay below ``root``.

    Raises:
        FileNotFoundError: it does not exist.
        OutsideError: it is outside ``root``, or a pipe, socket or device.
    """
    parts = split(path)
    with _resolved(root, parts) as (parent, name):
        descriptor = os.open(name, _FILE, dir_fd=parent)
    try:
        yield descriptor, _entry("/".join(parts), os.fstat(descriptor))
    finally:
        os.close(descriptor)


@contextmanager
def open_directory(
    root: Path, parts: Sequence[str], *, own: bool = False, owner: Owner | None = None
) -> Iterator[int]:
    """A descriptor of the directory ``parts`` below ``root``; missing components are created.

    With ``own``, ``root`` is a directory in which only the service creates files, and may be a
    link. With an ``owner``, components of root's group, such as new components, get that owner.

    Raises:
        OSError: a component is a file or a link, or cannot be created.
    """
    descriptor = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW if own else _DIRECTORY)
    try:
        for part in parts:
            below = _open_or_create(part, descriptor)
            os.close(descriptor)
            descriptor = below
            if owner is not None and os.fstat(descriptor).st_gid == 0:
                owner.take(descriptor)
        yield descriptor
    finally:
        os.close(descriptor)


def _open_or_create(name: str, above: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=above)
        return os.open(name, _DIRECTORY, dir_fd=above)


@contextmanager
def create_file(directory: int, name: str, mode: int, owner: Owner | None = None) -> Iterator[int]:
    """A descriptor of a new file, which gets its ``name`` once it is complete.

    Raises:
        OSError: the file cannot be created, or ``name`` is a directory.
    """
    hidden = f".{os.urandom(6).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, 0o600, dir_fd=directory)
    try:
        try:
            yield descriptor
            if owner is not None:
                owner.take_file(descriptor)
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=directory)
        raise


def read_chunks(file: FileIO, start: int, length: int, size: int) -> Iterator[bytes]:
    """Yield ``length`` bytes of a file from offset ``start`` in chunks of ``size``, then close it.

    If the file becomes shorter during the read, fewer bytes are yielded.
    """
    with file:
        while length > 0 and (chunk := os.pread(file.fileno(), min(size, length), start)):
            yield chunk
            start += len(chunk)
            length -= len(chunk)


def walk(root: Root, *, recursive: bool, after: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The entries below ``root`` after the path ``after``, sorted by name.

    A directory precedes its contents. A link to a file below ``root`` is listed as that file; other
    links are omitted.

    Raises:
        FileNotFoundError: ``root`` does not exist.
    """
    descriptor = root.open()
    try:
        yield from _walk(root, descriptor, (), after, recursive=recursive)
    finally:
        os.close(descriptor)


def remove(root: Root, path: str, *, recursive: bool) -> None:
    """Remove a file, an empty directory, or with ``recursive`` a directory and its contents.

    Raises:
        FileNotFoundError: it does not exist.
        OutsideError: it is outside ``root``.
        OSError: the directory is not empty.
    """
    parts = split(path)
    with _resolved(root, parts, last=False) as (parent, name):
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
            entry = _listed_entry(root, descriptor, path)
            if entry is None:
                continue
            yield entry
        if not recursive or len(path) >= MAX_DEPTH:
            continue
        try:
            below = os.open(name, _DIRECTORY, dir_fd=descriptor)
        except OSError:  # a file, a link, not readable, or removed since the listing
            continue
        try:
            rest = after[1:] if name == first else ()
            yield from _walk(root, below, path, rest, recursive=True)
        finally:
            os.close(below)


def _listed_entry(root: Root, descriptor: int, path: tuple[str, ...]) -> Entry | None:
    """The entry of one name of a listing; ``None`` if it is omitted or was removed."""
    name = "/".join(path)
    with suppress(FileNotFoundError, OutsideError, PermissionError):
        found = os.stat(path[-1], dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISLNK(found.st_mode):
            return _entry(name, found)
        with opened(root, name) as (_, entry):
            return None if entry.is_directory else entry
    return None


@contextmanager
def _resolved(
    root: Root, parts: tuple[str, ...], *, last: bool = True
) -> Iterator[tuple[int, str]]:
    """The directory that contains the last of ``parts``, and the name there, with links resolved.

    With ``last``, a link at the end is resolved as well.
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
