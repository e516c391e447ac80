"""Ctrl-C while a plan is carried out: once to stop when it is safe, twice to stop at once.

SIGTERM and SIGHUP are the same wish in other ways.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from batchspec.apply.halt import Halt

_ALSO = ("SIGTERM", "SIGHUP")
"""A CI that cancels its job, a terminal that is closed: they ask to stop as Ctrl-C does."""


@dataclass(slots=True)
class Interrupts:
    """Whether somebody asked to stop; ``at_once`` says that it was often enough to give up."""

    halt: Halt = field(default_factory=Halt)
    at_once: bool = False


@contextmanager
def interruptible(interrupts: Interrupts, say: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C ask the run of this task to halt, and the second cancel it.

    ``say`` is called at the first, so that whoever waits knows what for.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    over = False

    def pressed() -> None:
        # The loop comes to it after the signal, and the run may have ended by itself meanwhile.
        if over:
            return
        if interrupts.halt.asked:
            interrupts.at_once = True
            task.cancel()
            return
        interrupts.halt.ask()
        say()

    def handle(_number: int, _frame: FrameType | None) -> None:
        # From the main thread between any two of its steps: the loop does the rest.
        loop.call_soon_threadsafe(pressed)

    before = {number: signal.signal(number, handle) for number in _asking()}
    try:
        yield
    finally:
        over = True
        for number, handler in before.items():
            signal.signal(number, handler)


def _asking() -> Iterator[signal.Signals]:
    """The signals that ask to stop; what `nohup` has turned off, or the system lacks, does not."""
    yield signal.SIGINT
    for name in _ALSO:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            yield number
