"""The clock of the service: the time it shows, and waiting for a time to come.

Everything in the service that has to do with time asks this, so that a service can live faster
than the wall: with ``speed`` 60 an hour passes in a minute. Processes of tasks are not sped up.

A service that has lived faster is ahead of the wall and stays so: its time never goes back. How far
it is ahead is kept in a file (:class:`ClockOffset`), since the next life of the service starts from
there.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

_MAX_TIMER = 86400.0 * 30
"""Seconds; the event loop does not take arbitrarily long timers, and nobody waits for those."""
_LEASE, _RENEWAL = 2.0, 0.5
"""Seconds of the wall that the clock may go on without a word in the file, and between two."""

_log = logging.getLogger(__name__)


class Clock:
    """Time that passes ``speed`` times as fast as the wall's, starting ``offset`` of it.

    ``monotonic`` counts seconds of the wall.
    """

    def __init__(
        self,
        speed: float = 1.0,
        offset: timedelta = timedelta(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        if speed < 1:
            raise ValueError("time does not pass more slowly than the wall's")
        self.speed = speed
        self._offset = offset
        self._monotonic = monotonic
        self._origin = monotonic()
        # At the wall's speed the system's time is followed, through corrections of it too.
        self._start = None if speed == 1 else datetime.now(UTC) + offset
        self._until = math.inf

    def now(self) -> datetime:
        """The time, aware and in UTC."""
        if self._start is None:
            return datetime.now(UTC) + self._offset
        return self._start + timedelta(seconds=self.elapsed() * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds of this clock."""
        await asyncio.sleep(seconds / self.speed)

    def call_later(self, delay: timedelta, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Have ``call`` called after ``delay`` of this clock, in the running loop."""
        seconds = min(max(0.0, delay.total_seconds() / self.speed), _MAX_TIMER)
        return asyncio.get_running_loop().call_later(seconds, call)

    def offset(self, elapsed: float | None = None) -> timedelta:
        """How far ahead of the wall it is, or is when so many seconds have :meth:`passed`."""
        gained = (self.elapsed() if elapsed is None else elapsed) * (self.speed - 1)
        return self._offset + timedelta(seconds=gained)

    def stop_at(self, elapsed: float) -> None:
        """Stand still when so many seconds have :meth:`passed`, unless told otherwise by then."""
        self._until = elapsed

    def elapsed(self) -> float:
        """Seconds of the wall since the start that count."""
        return min(self._monotonic() - self._origin, self._until)


class ClockOffset:
    """The file that says how far ahead of the wall the service's time is."""

    def __init__(self, data: Path) -> None:
        """``data`` is the folder of the service's state."""
        self._path = data / "clock.json"

    def read(self) -> timedelta:
        """How far; not at all when the service never lived faster."""
        try:
            seconds = json.loads(self._path.read_text())["ahead"]
        except FileNotFoundError:
            return timedelta()
        return timedelta(seconds=float(seconds))

    def write(self, offset: timedelta) -> None:
        """Keep it, whole or not at all."""
        beside = self._path.with_suffix(".new")
        beside.write_text(json.dumps({"ahead": offset.total_seconds()}) + "\n")
        beside.replace(self._path)

    @contextlib.asynccontextmanager
    async def persist(self, clock: Clock) -> AsyncIterator[None]:
        """Keep how far ``clock`` is ahead while the context lasts; nobody asks it afterwards.

        It is written before it comes true, and the clock does not go beyond what is written: after
        a SIGKILL the time goes on from there, at most :data:`_LEASE` seconds of the wall too far.
        """
        if clock.speed == 1:
            yield
            return
        self._write_ahead(clock)
        renewing = asyncio.create_task(self._renew(clock), name="batch-clock")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            # The folder may be gone: that can be why the service ends.
            with contextlib.suppress(FileNotFoundError):
                self.write(clock.offset())

    async def _renew(self, clock: Clock) -> None:
        while True:
            await asyncio.sleep(_RENEWAL)
            try:
                self._write_ahead(clock)
            except OSError as error:
                # Time stands still until it can be written again.
                _log.warning("the time cannot be kept: %s", error.strerror)

    def _write_ahead(self, clock: Clock) -> None:
        # Writing takes time, too: the clock stops where the file says, not so much later.
        end = clock.elapsed() + _LEASE
        self.write(clock.offset(end))
        clock.stop_at(end)
