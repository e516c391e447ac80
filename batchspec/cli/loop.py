"""The event loop of a command that waits for the world; help and ``validate`` do without one."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def complete(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end, in a loop of its own."""
    import asyncio

    return asyncio.run(work)
