"""What tasks and nodes have written, for the events about them."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace

from batchspec.apply.events import Emit, Noticed
from batchspec.diagnostics import ServiceError, Severity

TAIL = 2048
"""How many bytes of a stderr are fetched."""


async def readable(tail: Awaitable[str], emit: Emit) -> str:
    """What was written, or nothing and a warning: a node that is not well may not hand it over."""
    try:
        return await tail
    except ServiceError as error:
        for problem in error.problems:
            emit(Noticed(replace(problem, severity=Severity.WARNING)))
        return ""
