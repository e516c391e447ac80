"""Blocking work on large data in a thread, so that it does not block the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SMALL = 64 * 1024
"""In bytes. Work on no more than this takes less time than handing it to a thread."""


async def in_thread(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call ``work``, which reads, writes or hashes ``size`` bytes; in a thread if that is large.

    When it is cancelled, it waits for the thread first: a thread cannot be stopped, and the caller
    closes the file that the thread uses.
    """
    if size <= SMALL:
        return work(*args, **kwargs)
    running = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        # asyncio prints exceptions that are not retrieved.
        running.exception()
        raise
