"""An operating-system lock on a file: the truth about who runs.

A lock ends with the processes that hold it, however they end, so nothing here can go stale; a pid
in a file can. What may not live here: what is locked, and what to do about its holder.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

if sys.platform != "win32":
    import fcntl

_POLL = 0.01


class Lock:
    """An exclusive lock; held by this process and by each child that inherits :attr:`fileno`.

    The file stays when the lock is released: removing it would let two processes lock two files
    of one name.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.fileno = descriptor

    @classmethod
    def take(cls, path: Path, *, wait: float = 0.5) -> Self | None:
        """The lock on ``path``, or ``None`` if another process keeps it for ``wait`` seconds.

        Those who only look at it (:func:`held`) do not keep it, however long it takes them.

        Raises:
            OSError: the file cannot be opened or created.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        until = time.monotonic() + wait
        try:
            while not _try(descriptor, fcntl.LOCK_EX):
                if time.monotonic() >= until and not _is_looked_at(descriptor):
                    os.close(descriptor)
                    return None
                time.sleep(_POLL)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def is_in_place(self) -> bool:
        """Whether the file that is locked is still the one that others find under its name."""
        try:
            return os.path.samestat(os.fstat(self.fileno), self.path.stat())
        except FileNotFoundError:
            return False

    def note(self, text: str) -> None:
        """Write who holds the lock into the first line of its file."""
        line = f"{text}\n".encode()
        # In this order, so that whoever reads it meanwhile finds the one before or this one.
        os.pwrite(self.fileno, line, 0)
        os.ftruncate(self.fileno, len(line))

    def release(self) -> None:
        """Give the lock up; children that inherited it go on holding it."""
        os.close(self.fileno)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def held(path: Path) -> bool:
    """Whether any process holds the lock on ``path`` at this moment.

    Raises:
        OSError: the file is there and cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # A shared lock: two looks at once do not take each other for the holder.
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def wait_free(path: Path, seconds: float) -> bool:
    """Wait until nobody holds the lock on ``path``; false if that takes more than ``seconds``."""
    until = time.monotonic() + seconds
    while held(path):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)
    return True


def _is_looked_at(descriptor: int) -> bool:
    """Whether what keeps a lock from being taken was the look of somebody, or is so no more."""
    if not _try(descriptor, fcntl.LOCK_SH):
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
