"""The receipt of a download while it is written: it takes its place only when it is whole."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Self

from filelock import AsyncFileLock

from batchspec.plan.receipt import DownloadedFile, receipt_head, receipt_line

_POLL = 0.05


@asynccontextmanager
async def alone(receipt: Path) -> AsyncIterator[None]:
    """Have the results of this folder for oneself: a second terminal in it waits here.

    Whoever dies lets go of it.
    """
    receipt.parent.mkdir(parents=True, exist_ok=True)
    async with AsyncFileLock(receipt.with_suffix(".lock"), poll_interval=_POLL):
        yield


class ReceiptDraft:
    """A context manager: entries are noted as they arrive; without :meth:`keep` nothing stays."""

    def __init__(self, path: Path, job: str) -> None:
        self._path = path
        self._draft = path.with_name(path.name + ".part")
        self._job = job
        # 8 bytes for a path: what a million results take is some 80 MB.
        self._noted: set[bytes] = set()

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._draft.open("w", encoding="utf-8")
        self._file.write(receipt_head(self._job) + "\n")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._file.close()
        self._draft.unlink(missing_ok=True)

    def note(self, entry: DownloadedFile) -> None:
        """Write a file down that is in its place."""
        self._noted.add(_key(entry.path))
        self._file.write(receipt_line(entry, self._path.parent) + "\n")

    def is_noted(self, entry: DownloadedFile) -> bool:
        """Whether a file at this place is written down already."""
        return _key(entry.path) in self._noted

    def keep(self) -> None:
        """Make this the receipt."""
        self._file.close()
        self._draft.replace(self._path)


def _key(path: Path) -> bytes:
    return blake2b(os.fsencode(path), digest_size=8).digest()
