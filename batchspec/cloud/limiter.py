"""How hard a service may be pressed: one limiter for all workers that talk to it.

When the service says that it is too much (429, 503), everybody pauses, not just the worker that was
told; afterwards the requests go out one at a time with a gap that shrinks while all goes well.
Pure bookkeeping over a clock, a sleep and a source of randomness that are handed in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How long to wait for what, in seconds.

    ``first_contact`` bounds the search for a service that was never reached, so that a wrong
    address is known at once; ``patience`` bounds one that was reached before and went silent, or
    that keeps saying it is busy; ``faults`` bounds one that keeps answering with server errors.
    ``settle`` bounds a state that has to pass by itself (a container being deleted, a pool being
    resized). ``connect`` and ``read`` are time-outs of one request: until there is a connection,
    and between two pieces of an answer.
    """

    connect: float = 5.0
    read: float = 60.0
    first_contact: float = 6.0
    patience: float = 300.0
    faults: float = 90.0
    settle: float = 1200.0
    first_delay: float = 0.2
    longest_delay: float = 20.0
    longest_pause: float = 120.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Time and chance, handed in: seconds that go forward, a sleep, a number in [0, 1)."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]


_FIRST_GAP = 0.02
_LONGEST_GAP = 1.0
_SHRINK = 0.8
_NO_GAP = 0.005


class Limiter:
    """The shared state: a pause that holds for everybody, and the gap between requests after it."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._limits = limits
        self._timing = timing
        self._resume = 0.0
        self._told = float("-inf")
        self._level = 0
        self._gap = 0.0
        self._slot = 0.0
        self.reached = False
        """Whether the service has ever answered, with whatever."""

    async def enter(self) -> float:
        """Wait for one's turn; the time at which the request goes out."""
        while True:
            now = self._timing.monotonic()
            turn = max(now, self._resume)
            if self._gap:
                turn = max(turn, self._slot)
                self._slot = turn + self._gap
            if turn <= now:
                return now
            await self._timing.sleep(turn - now)
            if self._timing.monotonic() >= self._resume:
                return self._timing.monotonic()

    def throttled(self, sent: float, retry_after: float | None) -> float:
        """A request that went out at ``sent`` was answered "too many"; how long all pause now.

        Answers to requests that were under way when the pause began are the same news and do not
        lengthen it, unless they ask for more.
        """
        self.reached = True
        now = self._timing.monotonic()
        if sent > self._told:
            self._told = now
            self._level += 1
            self._gap = min(max(self._gap * 2, _FIRST_GAP), _LONGEST_GAP)
            pause = self.delay(self._level)
        else:
            pause = 0.0
        if retry_after is not None:
            # A little more than asked for, so that not all clients come back in the same instant.
            pause = min(retry_after, self._limits.longest_pause)
            pause *= 1 + self._timing.random() / 4
        self._resume = max(self._resume, now + pause)
        return max(0.0, self._resume - now)

    def answered(self, sent: float) -> None:
        """A request that went out at ``sent`` was answered, with anything but "too many"."""
        self.reached = True
        if sent > self._told:
            self._level = 0
            self._gap = self._gap * _SHRINK if self._gap * _SHRINK > _NO_GAP else 0.0

    def delay(self, failures: int) -> float:
        """How long to wait after so many failures in a row: doubling, bounded, jittered."""
        limits = self._limits
        full = min(limits.first_delay * 2.0 ** min(failures - 1, 30), limits.longest_delay)
        return full * (0.5 + self._timing.random() / 2)
