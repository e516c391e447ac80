"""The real clock, for the runner."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from batchspec.apply.halt import Halt


class SystemClock:
    """Time as the machine tells it; whoever waits is let go when the run is to stop."""

    def __init__(self, halt: Halt | None = None) -> None:
        self._halt = halt or Halt()

    def now(self) -> datetime:
        """The time of day (UTC)."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Halted: the run is to stop.
        """
        await self._halt.race(asyncio.sleep(seconds))
