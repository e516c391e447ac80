"""Operating system functions of the host: child processes, their ends, lines of JSON."""
# pathlib would double the size of this process:
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import sys
from typing import Any

LINUX = sys.platform == "linux"
_PR_SET_CHILD_SUBREAPER = 36


class UnkillableError(Exception):
    """The remaining processes belong to another user and cannot be killed."""


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def send_report(**message: Any) -> None:
    send_line(line(**message))


def send_line(text: bytes) -> None:
    """Write a line to the service, which may be gone; that must not keep the host from killing."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, text)


def become_subreaper() -> None:
    if LINUX and ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError("this kernel has no child subreapers")


def wakeup() -> int:
    """A descriptor that becomes readable when a child has ended."""
    woken, wake = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    return woken


def _parent(pid: str) -> int:
    gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
    with gone, open(f"/proc/{pid}/stat", "rb") as stat:
        return int(stat.read().rpartition(b")")[2].split()[1])
    return 0


def children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/{me}/task/{me}/children", "rb") as children:
            return [int(pid) for pid in children.read().split()]
    except FileNotFoundError:  # a kernel built without it
        return [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _parent(pid) == me]


def descendants() -> list[int]:
    """All descendants of this process."""
    found: list[int] = []
    left = children()
    while left:
        found += left
        left = [child for pid in left for child in _children_of(pid)]
    return found


def _children_of(pid: int) -> list[int]:
    found = []
    gone = contextlib.suppress(FileNotFoundError, ProcessLookupError)
    with gone:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with gone, open(f"/proc/{pid}/task/{thread}/children", "rb") as children_:
                found += [int(child) for child in children_.read().split()]
    return found


def own_memory(pid: int) -> int:
    """The bytes of unshared resident memory of a process; 0 once it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        with open(f"/proc/{pid}/statm", "rb") as pages:
            _, resident, shared = pages.read().split()[:3]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def reap() -> tuple[int, int, Any]:
    """A child that has ended, its status and resource usage; zeros when there is none."""
    with contextlib.suppress(ChildProcessError):
        return os.wait4(-1, os.WNOHANG)
    return 0, 0, None


def kill(pid: int) -> bool:
    """Kill one process; false if that is not permitted. A process that is gone counts as killed."""
    try:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    except PermissionError:
        return False
    return True


class Lines:
    """Reads lines from a descriptor that is known to be readable."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.rest: list[bytes] = []
        self.closed = False

    def read(self) -> list[bytes]:
        data = os.read(self.descriptor, 1 << 18)
        self.closed = not data
        if b"\n" not in data:
            self.rest.append(data)
            return []
        *lines, last = (b"".join(self.rest) + data).split(b"\n")
        self.rest = [last]
        return lines
