"""An operating-system lock on a file, which shows whether a process is running.

The operating system releases a lock when its last holder ends, however it ends, so that a lock
cannot be stale as a file with a process id can. This is not ``filelock``: here child processes
inherit the lock, and other processes can test it without taking it
(docs/adr/0012-own-parts-of-the-embedded-service.md). What is locked, and what to do about its
holder, is decided elsewhere.
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
    """An exclusive lock, held by this process and by each child that inherits :attr:`fileno`.

    The file stays when the lock is released: if it were removed, two processes could lock two files
    of the same name.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.fileno = descriptor

    @classmethod
    def take(cls, path: Path, *, wait: float = 0.5) -> Self | None:
        """The lock on ``path``, or ``None`` if another process holds it for ``wait`` seconds.

        Processes that only test the lock (:func:`held`) do not count as holders.

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
        """Whether the locked file is still the one that other processes find at the path."""
        try:
            return os.path.samestat(os.fstat(self.fileno), self.path.stat())
        except FileNotFoundError:
            return False

    def note(self, text: str) -> None:
        """Write the identity of the holder into the first line of the file."""
        line = f"{text}\n".encode()
        # In this order, so that a concurrent reader finds either the old line or the new one.
        os.pwrite(self.fileno, line, 0)
        os.ftruncate(self.fileno, len(line))

    def release(self) -> None:
        """Release the lock; children that inherited it still hold it."""
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
    """Whether any process holds the lock on ``path`` now.

    Raises:
        OSError: the file exists and cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        # A shared lock, so that two concurrent tests do not take each other for the holder.
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def wait_free(path: Path, seconds: float) -> bool:
    """Wait until no process holds the lock on ``path``; false after ``seconds``."""
    until = time.monotonic() + seconds
    while held(path):
        if time.monotonic() >= until:
            return False
        time.sleep(_POLL)
    return True


def _is_looked_at(descriptor: int) -> bool:
    """Whether only a test of the lock (:func:`held`) kept it from being taken, or it is free
    now.
    """
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
