"""Signals during a run: the first Ctrl-C stops it at a safe point, the second immediately.

SIGTERM and SIGHUP have the same effect.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from batchspec.apply import Cancellation

_OPTIONAL_SIGNALS = ("SIGTERM", "SIGHUP")
"""Sent by a CI system that cancels its job, and by a terminal that closes."""


@dataclass(slots=True)
class Interrupts:
    """Whether the run is to stop, and whether it is to stop immediately (``immediate``)."""

    cancellation: Cancellation = field(default_factory=Cancellation)
    immediate: bool = False


@contextmanager
def interruptible(interrupts: Interrupts, on_first: Callable[[], None]) -> Iterator[None]:
    """Stop the run of the current task at the first signal, and cancel the task at the second.

    ``on_first`` is called at the first signal, to show what the command waits for.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    over = False

    def interrupt() -> None:
        # The loop runs this after the signal, and the run may have ended in the meantime.
        if over:
            return
        if interrupts.cancellation.requested:
            interrupts.immediate = True
            task.cancel()
            return
        interrupts.cancellation.request()
        on_first()

    def handle(_number: int, _frame: FrameType | None) -> None:
        # Runs in the main thread between any two instructions; the loop does the rest.
        loop.call_soon_threadsafe(interrupt)

    before = {number: signal.signal(number, handle) for number in _signals()}
    try:
        yield
    finally:
        over = True
        for number, handler in before.items():
            signal.signal(number, handler)


def _signals() -> Iterator[signal.Signals]:
    """The signals to handle, without those that ``nohup`` ignores or the system lacks."""
    yield signal.SIGINT
    for name in _OPTIONAL_SIGNALS:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            yield number
