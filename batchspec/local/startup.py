"""The reports of a start to the caller: its phases, and the error that ends it.

The caller decides how to show them.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Self


class StartupPhase(StrEnum):
    """A phase of ``install`` or ``start``."""

    WAITING = "waiting"
    """Another process is installing or starting the same service; this process waits for it."""
    INSTALLING_AZURITE = "installing-azurite"
    """Happens once for each version of Azurite; takes seconds and needs the npm registry."""
    STARTING = "starting"
    """The service and Azurite are starting; takes about a second."""


Notify = Callable[[StartupPhase], None]
"""Called at the start of each phase."""


class LocalError(Exception):
    """The embedded service cannot be installed, started or stopped.

    ``code`` is a stable kebab-case name (``no-node``, ``registry-unreachable`` ...), ``summary``
    one sentence, ``fix`` how to fix it, ``log`` the file with more details, and ``lines`` the last
    lines of that file if they show the cause. None of them contains a key.
    """

    def __init__(
        self,
        code: str,
        summary: str,
        *,
        fix: str = "",
        log: Path | None = None,
        lines: Iterable[str] = (),
    ) -> None:
        super().__init__(summary)
        self.code = code
        self.summary = summary
        self.fix = fix
        self.log = log
        self.lines = tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """The error as JSON data, to be passed to another process."""
        return {
            "code": self.code,
            "summary": self.summary,
            "hint": self.fix,
            "log": str(self.log) if self.log else None,
            "lines": list(self.lines),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The error from the data of :meth:`to_json`."""
        log = data["log"]
        return cls(
            data["code"],
            data["summary"],
            fix=data["hint"],
            log=Path(log) if log else None,
            lines=data["lines"],
        )


def last_lines(log: Path) -> tuple[str, ...]:
    """The last 12 non-empty lines of a log; none if the log cannot be read."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - 16_384))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple([line.rstrip() for line in text.splitlines() if line.strip()][-12:])


def check_writable(folder: Path) -> None:
    """Raise ``OSError`` if the folder, or its nearest existing parent, is not writable."""
    existing = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not existing.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    if not os.access(existing, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
