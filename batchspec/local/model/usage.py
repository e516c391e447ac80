"""What the processes of a task have used.

What lives here: the noun that the agent measures, the store sums, and the API shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Usage:
    """What runs have used: of one run, or summed over several.

    ``running`` is time that passed, ``user`` and ``kernel`` are of processors, over all processes
    and nodes; ``read`` and ``written`` are bytes that came from and went to disks (what came from
    memory, as the system keeps files there, is not counted).
    """

    running: timedelta = timedelta()
    user: timedelta = timedelta()
    kernel: timedelta = timedelta()
    read: int = 0
    written: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.running + other.running,
            self.user + other.user,
            self.kernel + other.kernel,
            self.read + other.read,
            self.written + other.written,
        )


NOTHING = Usage()
