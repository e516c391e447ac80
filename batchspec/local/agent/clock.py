"""The clock of the service: the time it shows, and waiting for a time to come.

Everything in the service that has to do with time asks this, so that a service can live faster
than the wall: with ``speed`` 60 an hour passes in a minute. Processes of tasks are not sped up.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

_LONGEST = 86400.0 * 30
"""Seconds; the event loop does not take arbitrarily long timers, and nobody waits for those."""


class Clock:
    """Time that passes ``speed`` times as fast as the wall's, from ``start`` on."""

    def __init__(self, speed: float = 1.0, start: datetime | None = None) -> None:
        """``start`` is the time shown now; the system's own by default."""
        if speed <= 0:
            raise ValueError("speed must be positive")
        self.speed = speed
        self._origin = time.monotonic()
        # At the wall's speed the system's time is followed, through corrections of it too.
        self._start = start if start is not None or speed == 1.0 else datetime.now(UTC)

    def now(self) -> datetime:
        """The time, aware and in UTC."""
        if self._start is None:
            return datetime.now(UTC)
        return self._start + timedelta(seconds=(time.monotonic() - self._origin) * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        await asyncio.sleep(seconds / self.speed)

    def call_later(self, delay: timedelta, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Have ``call`` called after ``delay`` of this clock, in the running loop."""
        seconds = min(max(0.0, delay.total_seconds() / self.speed), _LONGEST)
        return asyncio.get_running_loop().call_later(seconds, call)
