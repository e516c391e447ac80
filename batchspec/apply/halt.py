"""A wish to stop, made once: what is in flight is finished, nothing more is begun.

It is looked at between two items of a step and while a step waits. A step that stops by it is not
done, and can be done again; nobody's work is thrown away, as cancelling would.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Halted(Exception):  # noqa: N818 - not an error: it was asked for
    """A step stopped before its end, because it was asked to."""


class Halt:
    """Whether the run is to stop."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    @property
    def asked(self) -> bool:
        """Whether somebody wants the run to stop."""
        return self._asked.is_set()

    def ask(self) -> None:
        """Want the run to stop."""
        self._asked.set()

    def check(self) -> None:
        """Raise :class:`Halted` if the run is to stop."""
        if self.asked:
            raise Halted

    async def race(self, work: Awaitable[T]) -> T:
        """What ``work`` comes to.

        Raises:
            Halted: the run is to stop, and ``work`` was not done by then; it is given up.
        """
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._asked.wait())
        try:
            await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise Halted
            return task.result()
        finally:
            stop.cancel()
            task.cancel()
