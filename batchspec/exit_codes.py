"""The exit codes of every command. They are part of the published interface."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """How a command ended; ``docs/commands.md`` explains each code."""

    DONE = 0
    BUG = 1
    USAGE = 2
    TASKS_FAILED = 3
    SERVICE = 4
    STALE = 5
    CHANGES = 6
    TIME_LIMIT = 7
    INTERRUPTED = 130
