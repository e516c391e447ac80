"""Many at a time, never all at once: a bounded number of workers over a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

from batchspec.apply.halt import Halt, Halted

T = TypeVar("T")


async def each(
    items: Iterable[T] | AsyncIterable[T],
    work: Callable[[T], Awaitable[None]],
    *,
    workers: int,
    halt: Halt,
) -> None:
    """Do ``work`` for every item, in the order of the stream, ``workers`` of them at a time.

    The stream is read as workers become free; the first failure ends all, and is raised as it is.

    Raises:
        Halted: the run is to stop; items that were begun have been finished, but for those whose
            ``work`` has stopped by it between two parts.
    """
    source = _stream(items)
    lock = asyncio.Lock()
    exhausted = halted = False

    async def worker() -> None:
        nonlocal exhausted, halted
        while not halt.asked:
            async with lock:
                try:
                    item = await anext(source)
                except StopAsyncIteration:
                    exhausted = True
                    return
            try:
                await work(item)
            except Halted:
                # Raised on, it would cancel the other workers in the middle of their requests.
                halted = True
                return

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(worker())
    except BaseExceptionGroup as failures:
        raise _first(failures) from None
    if halted or not exhausted:
        raise Halted


async def _stream(items: Iterable[T] | AsyncIterable[T]) -> AsyncIterator[T]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first failure of a group: the others are its consequence or its like."""
    first = failures.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
