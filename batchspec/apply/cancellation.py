"""A request to stop a run: requests in progress are completed, and nothing new is started.

It is checked between two items of a step and while a step waits. A cancelled step is not done and
can be repeated; unlike the cancellation of an asyncio task, no request is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class RunCancelled(Exception):  # noqa: N818 - not an error: the user requested it
    """A step stopped before its end because cancellation was requested."""


class Cancellation:
    """Whether the user has requested that the run stop."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()

    @property
    def requested(self) -> bool:
        """Whether the run is to stop."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request that the run stop."""
        self._requested.set()

    def check(self) -> None:
        """Raise :class:`RunCancelled` if the run is to stop."""
        if self.requested:
            raise RunCancelled

    async def race(self, work: Awaitable[T]) -> T:
        """The result of ``work``.

        Raises:
            RunCancelled: cancellation was requested before ``work`` was done; ``work`` is
                cancelled.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._requested.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise RunCancelled
            return task.result()
        finally:
            stop.cancel()
            task.cancel()
