"""Work on bytes beside the event loop, when there are enough of them to be worth a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

SMALL = 64 * 1024
"""Up to this many bytes, handing the work to a thread costs more than doing it at once."""


async def aside(size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do ``work``, which reads, writes or hashes ``size`` bytes, without holding up the others.

    Cancelled, it still waits for the work to end: a thread cannot be stopped, and the file that it
    reads or writes must not be closed under it.
    """
    if size <= SMALL:
        return work(*args, **kwargs)
    working = asyncio.ensure_future(asyncio.to_thread(work, *args, **kwargs))
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        # Nobody asks any more how it ended; what nobody has asked for, asyncio would print.
        working.exception()
        raise
