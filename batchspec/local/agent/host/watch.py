"""What the processes of a run use, against what they may.

Looked at now and then: what is too much is noticed within :data:`PAUSE`, not prevented. Limits of
the system would be of one process (``RLIMIT_AS``) or of all that a user runs (``RLIMIT_NPROC``);
those that are of a task (control groups) are rarely a user's to set.
"""

from __future__ import annotations

import time
from typing import Any

from .system import LINUX, below, own_memory

PAUSE = 0.1
"""Seconds between two looks."""


class Watch:
    """The limits of one run: bytes of memory, number of processes; ``None`` is no limit."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.memory: int | None = order.get("memory")
        self.processes: int | None = order.get("processes")
        watches = LINUX and (self.memory is not None or self.processes is not None)
        self.pause = PAUSE if watches else None
        self.next = 0.0

    def over(self) -> str | None:
        """Which limit is exceeded: ``memory`` or ``processes``."""
        if self.pause is None or time.monotonic() < self.next:
            return None
        self.next = time.monotonic() + self.pause
        pids = below()
        if self.processes is not None and len(pids) > self.processes:
            return "processes"
        if self.memory is not None and sum(map(own_memory, pids)) > self.memory:
            return "memory"
        return None
