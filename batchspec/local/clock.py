"""The clock of the service: its time, and timers on it.

All code of the service that depends on time uses this clock, so that a service can run faster than
real time: with a ``speed`` of 60 an hour passes in a minute. Processes of tasks run in real time.

A service that has run faster is ahead of real time and stays ahead: its time never goes back. A
file keeps the offset (:class:`ClockOffset`); the next run of the service continues from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

_MAX_TIMER = 86400.0 * 30
"""Seconds; the event loop limits the length of timers."""
_LEASE, _RENEWAL = 2.0, 0.5
"""Real seconds by which the offset in the file is ahead of the clock, and between two writes."""

_CORRECTION = timedelta(seconds=1)
"""The smallest change of the system's time that counts; smaller ones keep it synchronized."""

_MAX_OFFSET = timedelta(days=365_000)
"""The largest valid offset, a thousand years; later times would exceed the range of datetime."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Reading:
    """The system's time at ``monotonic`` real seconds, and how far it has been set back so far."""

    wall: datetime
    monotonic: float
    set_back: timedelta

    def next(self, wall: datetime, monotonic: float) -> _Reading:
        """The next reading; setting the time forward cancels setting it back."""
        change = wall - self.wall - timedelta(seconds=monotonic - self.monotonic)
        set_back = self.set_back
        if abs(change) > _CORRECTION:
            set_back = max(timedelta(), set_back - change)
        return _Reading(wall, monotonic, set_back)


class Clock:
    """Time that passes ``speed`` times as fast as real time and starts ``offset`` ahead of it.

    It never goes back: if the system's time is set back, this clock continues, and follows the
    system's time again when that is set forward. ``monotonic`` returns real seconds, and ``wall``
    the system's time.
    """

    def __init__(
        self,
        speed: float = 1.0,
        offset: timedelta = timedelta(),
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if speed < 1:
            raise ValueError("the speed is less than 1")
        self.speed = speed
        self._offset = offset
        self._monotonic = monotonic
        self._origin = monotonic()
        # At speed 1 the clock follows the system's time, including its corrections to later times.
        self._wall = wall
        self._read = _Reading(wall(), self._origin, timedelta())
        self._latest = self._read.wall + offset
        self._start = None if speed == 1 else self._latest
        self._until = math.inf

    def now(self) -> datetime:
        """The time, timezone-aware in UTC."""
        if self._start is None:
            # Threads that do this at the same time compute the same reading.
            self._read = read = self._read.next(self._wall(), self._monotonic())
            self._latest = max(self._latest, read.wall + read.set_back + self._offset)
            return self._latest
        return self._start + timedelta(seconds=self.elapsed() * self.speed)

    async def sleep(self, seconds: float) -> None:
        """Wait for ``seconds`` of this clock."""
        await asyncio.sleep(seconds / self.speed)

    def call_later(self, delay: timedelta, call: Callable[[], None]) -> asyncio.TimerHandle:
        """Call ``call`` after ``delay`` of this clock, in the running event loop."""
        seconds = min(max(0.0, delay.total_seconds() / self.speed), _MAX_TIMER)
        return asyncio.get_running_loop().call_later(seconds, call)

    def offset(self, elapsed: float | None = None) -> timedelta:
        """The lead over real time, now or when ``elapsed`` real seconds have passed."""
        gained = (self.elapsed() if elapsed is None else elapsed) * (self.speed - 1)
        return self._offset + timedelta(seconds=gained)

    def stop_at(self, elapsed: float) -> None:
        """Stop when ``elapsed`` real seconds have passed; a later call sets a later stop."""
        self._until = elapsed

    def elapsed(self) -> float:
        """The real seconds since the start, up to the stop."""
        return min(self._monotonic() - self._origin, self._until)


class DamagedClockError(Exception):
    """The file with the offset is damaged; ``path`` names it."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path} has no valid offset")
        self.path = path


class ClockOffset:
    """The file with the offset of the service's time from real time."""

    def __init__(self, data: Path) -> None:
        """``data`` is the folder of the service's state."""
        self._path = data / "clock.json"

    def read(self) -> timedelta:
        """The offset; zero if the service never ran faster than real time.

        Raises:
            DamagedClockError: the file has no valid offset.
        """
        try:
            offset = timedelta(seconds=float(json.loads(self._path.read_text())["ahead"]))
        except FileNotFoundError:
            return timedelta()
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            raise DamagedClockError(self._path) from error
        if not timedelta() <= offset <= _MAX_OFFSET:
            raise DamagedClockError(self._path)
        return offset

    def write(self, offset: timedelta) -> None:
        """Write the offset atomically."""
        temporary = self._path.with_suffix(".new")
        temporary.write_text(json.dumps({"ahead": offset.total_seconds()}) + "\n")
        temporary.replace(self._path)

    @contextlib.asynccontextmanager
    async def persist(self, clock: Clock) -> AsyncIterator[None]:
        """Keep the file up to date for ``clock`` in this context; then the clock must not be used.

        The offset is written in advance, and the clock stops at the written time. After a SIGKILL
        the next run continues from that time, at most :data:`_LEASE` real seconds too far.
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
            # The folder may be gone; a deleted folder can be the reason why the service ends.
            with contextlib.suppress(FileNotFoundError):
                self.write(clock.offset())

    async def _renew(self, clock: Clock) -> None:
        while True:
            await asyncio.sleep(_RENEWAL)
            try:
                self._write_ahead(clock)
            except OSError as error:
                # The clock stops until the file can be written again.
                _log.warning("the offset of the clock cannot be written: %s", error.strerror)

    def _write_ahead(self, clock: Clock) -> None:
        # Writing takes time: the clock must stop at the value in the file, not later.
        end = clock.elapsed() + _LEASE
        self.write(clock.offset(end))
        clock.stop_at(end)
