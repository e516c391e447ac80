"""Processes that an earlier life of the service left: found by a mark, and killed.

Normally there are none: the host kills all when the service goes. They exist only when the host
itself was killed together with the service. The mark is an environment variable that each process
of a task inherits, named after the data folder, so that services of other folders are left alone.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "BATCHSPEC_LOCAL_NODE"
"""The environment variable that marks the processes of tasks."""


def mark(data: Path) -> str:
    """The value of :data:`VARIABLE` for all processes of the data folder ``data``."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:32]


def reap_leftovers(data: Path) -> int:
    """Kill every process that carries the mark of ``data``; return how many there were.

    Call it before anything is started, and only while holding the folder's lock. It needs
    ``/proc``; elsewhere it does nothing, and a process that outlived its service stays.
    """
    found: set[int] = set()
    while left := set(_marked(mark(data))) - {os.getpid()}:
        if left <= found:  # each was killed before: dying, or not ours to kill
            break
        found |= left
    return len(found)


def _marked(value: str) -> Iterator[int]:
    """Kill the processes with the mark, and tell their ids."""
    if sys.platform != "linux":
        return
    wanted = f"{VARIABLE}={value}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        pid = int(entry.name)
        try:
            # A descriptor names this very process, also if its id is given to another meanwhile.
            descriptor = os.pidfd_open(pid)
        except (ProcessLookupError, OSError):
            continue
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0"):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                yield pid
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it is gone, or another user's and so not of a task
        finally:
            os.close(descriptor)
