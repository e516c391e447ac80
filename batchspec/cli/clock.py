"""The system clock as the ``Clock`` that ``apply`` requires."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from batchspec.apply import Cancellation


class SystemClock:
    """The time of this machine. A cancellation of the run interrupts every wait."""

    def __init__(self, cancellation: Cancellation | None = None) -> None:
        self._cancellation = cancellation or Cancellation()

    def now(self) -> datetime:
        """The current time in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never decreases."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait.

        Raises:
            RunCancelled: the run is to stop.
        """
        await self._cancellation.race(asyncio.sleep(seconds))
