"""Files of ``.batchspec`` that only their owner can read: receipts, records, logs of requests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, TextIO

STATE_FOLDER = ".batchspec"
"""The folder next to a spec that contains all private files of batchspec."""


def private_folder(folder: Path) -> None:
    """Create a folder and its missing parents, which only their owner can read.

    An existing ``.batchspec`` above the folder becomes private, too.

    Raises:
        OSError: a folder cannot be created.
    """
    missing = []
    for each in (folder, *folder.parents):
        if os.path.isdir(each):  # noqa: PTH112 - `Path.is_dir` raises for long names
            break
        missing.append(each)
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    for each in (folder, *folder.parents):
        if each.name == STATE_FOLDER:
            _restrict(each, 0o700)
            return


def open_private(path: Path) -> TextIO:
    """Open a text file for writing that only its owner can read.

    Raises:
        OSError: the file cannot be written.
    """
    return os.fdopen(_open_private(path), "w", encoding="utf-8")


def open_private_bytes(path: Path) -> BinaryIO:
    """Open a binary file for writing that only its owner can read.

    Raises:
        OSError: the file cannot be written.
    """
    return os.fdopen(_open_private(path), "wb")


def _open_private(path: Path) -> int:
    # Do not follow a link: its target could belong to another user.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o600)
    _restrict(path, 0o600)
    return descriptor


def _restrict(path: Path, mode: int) -> None:
    """Restrict a file or folder of this user that an earlier version created."""
    facts = path.stat()
    if hasattr(os, "getuid") and facts.st_uid == os.getuid() and facts.st_mode & 0o077:
        path.chmod(mode)
