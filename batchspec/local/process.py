"""The identity of a process, which a process id alone is not: ids are used again."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_EXITING = 0x4
"""``PF_EXITING`` among a process's flags, of Linux's ``sched.h``."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process id and the start time ``born``, by which two processes with the same id differ."""

    pid: int
    born: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """The process that has the id ``pid`` now; ``None`` if there is none."""
        born = _born(pid)
        return cls(pid, born) if born else None

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The process that the first line of a file names; ``None`` if it names none."""
        try:
            pid, _, born = path.read_text().partition("\n")[0].partition(" ")
            return cls(int(pid), born) if born else None
        except (OSError, ValueError):
            return None

    def __str__(self) -> str:
        return f"{self.pid} {self.born}"

    @property
    def ending(self) -> bool:
        """Whether the process is exiting or has exited; its files are closed while it exits.

        Only Linux shows that a process is exiting; on other systems it is true once the process is
        gone.
        """
        if sys.platform != "linux":
            return _born(self.pid) != self.born
        fields = _stat(self.pid)
        return fields is None or fields[19] != self.born or bool(int(fields[6]) & _EXITING)

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal to this process and to no other; false if it is gone.

        Raises:
            PermissionError: the process belongs to another user.
        """
        try:
            # The descriptor is opened before the start time is compared, so that the id cannot
            # pass to another process in between.
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
    """A descriptor of the process; ``None`` where the system has no such descriptors."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # before Linux 5.3, and in some sandboxes
            return None
        raise


def _born(pid: int) -> str | None:
    """The start time of a process in a form that can only be compared; ``None`` if it is gone."""
    if sys.platform == "linux":
        fields = _stat(pid)
        return fields[19] if fields else None
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or None


def _stat(pid: int) -> list[str] | None:
    """The fields of ``/proc/PID/stat`` (proc(5)) from field 3, the state; ``None`` if it is
    gone.
    """
    try:
        # The name, field 2, may contain spaces and parentheses.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in {"Z", "X"} else fields
