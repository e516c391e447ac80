"""A process that is surely the one that was meant, though its number may be given away again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Process:
    """A process by number and birth: two that share a ``pid`` differ in ``born``."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has the number ``pid`` now."""
        born = _born(pid)
        return cls(pid, born) if born else None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The process that ``str(process)`` in a file names; ``None`` if there is none in it."""
        try:
            pid, _, born = path.read_text().partition(" ")
            return cls(int(pid), born) if born else None
        except (OSError, ValueError):
            return None

    def __str__(self) -> str:
        return f"{self.pid} {self.born}"

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this process and to no other; false if it is gone.

        Raises:
            PermissionError: the process belongs to another user.
        """
        try:
            # A descriptor fixes the process before its birth is looked at, so the number cannot
            # pass to another one in between.
            descriptor = _open(self.pid)
            try:
                if _born(self.pid) != self.born:
                    return False
                if descriptor is None:
                    os.kill(self.pid, number)
                else:
                    signal.pidfd_send_signal(descriptor, number)
            finally:
                if descriptor is not None:
                    os.close(descriptor)
        except ProcessLookupError:
            return False
        return True


def _open(pid: int) -> int | None:
    """A descriptor of the process where the system has such; else the number must do."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # before Linux 5.3, and in some sandboxes
            return None
        raise


def _born(pid: int) -> str | None:
    """When a process was started, in a form that only serves to be compared; ``None`` if gone."""
    if sys.platform == "linux":
        try:
            # proc(5): the name, field 2, may hold blanks and brackets; starttime is field 22.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in {"Z", "X"} else fields[19]
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None
