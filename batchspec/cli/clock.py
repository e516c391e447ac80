"""The system clock as the ``Clock`` that ``apply`` requires."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from batchspec.apply.halt import Halt


class SystemClock:
    """The time of this machine. A halt of the run interrupts every wait."""

    def __init__(self, halt: Halt | None = None) -> None:
        self._halt = halt or Halt()

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never decreases."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            Halted: the run is to stop.
        """
        await self._halt.race(asyncio.sleep(seconds))
