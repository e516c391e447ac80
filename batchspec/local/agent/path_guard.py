"""Paths that may not leave a directory, neither by ``..`` nor through a link.

What lives here: opening and making files below a root, one component at a time and never following
a link, so that nothing can be swapped in between. What may not: what the files are for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class OutsideError(ValueError):
    """The path is absolute, empty, has a NUL in it, or climbs out with ``..``."""


def path_parts(path: str) -> list[str]:
    """The components of a relative path of ``/``; single dots and double slashes are dropped.

    Raises:
        OutsideError: see there. A ``..`` is refused even where it would stay inside.
    """
    parts = [part for part in path.split("/") if part not in {"", "."}]
    if path.startswith("/") or "\0" in path or ".." in parts or not parts:
        raise OutsideError(path)
    return parts


@contextmanager
def open_directory(root: Path, parts: list[str], *, ours: bool = False) -> Iterator[int]:
    """A descriptor of the directory ``parts`` below ``root``; what is missing is made.

    A root that is ``ours``, where no task puts anything, may be a link itself.

    Raises:
        OSError: a component is a file or a link, or cannot be made.
    """
    descriptor = os.open(root, _DIRECTORY & ~os.O_NOFOLLOW if ours else _DIRECTORY)
    try:
        for part in parts:
            below = _open_or_make(part, descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _open_or_make(name: str, above: int) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=above)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=above)
        return os.open(name, _DIRECTORY, dir_fd=above)


@contextmanager
def create_file(directory: int, name: str, mode: int) -> Iterator[int]:
    """A descriptor to write a file to, which appears as ``name`` whole or not at all.

    Raises:
        OSError: it cannot be made, or ``name`` is a directory.
    """
    hidden = f".{os.urandom(6).hex()}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(hidden, flags, 0o600, dir_fd=directory)
    try:
        try:
            yield descriptor
            os.fchmod(descriptor, mode)
        finally:
            os.close(descriptor)
        os.rename(hidden, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(hidden, dir_fd=directory)
        raise
