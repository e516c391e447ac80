"""Cancellation of a run, and a fixed number of workers over a stream of items.

A step checks for cancellation between two items and while it waits: requests in progress are
completed, and no new ones are started. A cancelled step is not done and can be repeated. Unlike the
cancellation of an asyncio task, this one interrupts no request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
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
        """Whether cancellation was requested."""
        return self._requested.is_set()

    def request(self) -> None:
        """Request that the run stop."""
        self._requested.set()

    def check(self) -> None:
        """Raise :class:`RunCancelled` if cancellation was requested."""
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


async def for_each(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Awaitable[None]],
    *,
    workers: int,
    cancellation: Cancellation,
) -> None:
    """Call ``work`` for every item, in the order of the stream, ``workers`` at a time.

    The stream is read as workers become free. The first failure cancels all workers and is raised
    unchanged.

    Raises:
        RunCancelled: cancellation was requested. Started items are finished, except those whose
            ``work`` raised this exception.
    """
    source = _stream(items)
    lock = asyncio.Lock()
    exhausted = cancelled = False

    async def worker() -> None:
        nonlocal exhausted, cancelled
        while not cancellation.requested:
            async with lock:
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    exhausted = True
                    return
            try:
                await work(item)
            except RunCancelled:
                # If it were raised here, it would cancel the requests of the other workers.
                cancelled = True
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    if cancelled or not exhausted:
        raise RunCancelled


async def _stream(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of a group; the others have the same cause or follow from it."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
