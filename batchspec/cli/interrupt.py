"""Ctrl-C while a plan is carried out: once to stop when it is safe, twice to stop at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from batchspec.apply.halt import Halt


@dataclass(slots=True)
class Interrupts:
    """How often Ctrl-C was pressed; ``at_once`` says that it was often enough to give up."""

    halt: Halt = field(default_factory=Halt)
    at_once: bool = False


@contextmanager
def interruptible(interrupts: Interrupts, say: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C ask the run of this task to halt, and the second cancel it.

    ``say`` is called at the first, so that whoever waits knows what for.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def pressed() -> None:
        if interrupts.halt.asked:
            interrupts.at_once = True
            task.cancel()
            return
        interrupts.halt.ask()
        say()

    def handle(_number: int, _frame: FrameType | None) -> None:
        # From the main thread between any two of its steps: the loop does the rest.
        loop.call_soon_threadsafe(pressed)

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
