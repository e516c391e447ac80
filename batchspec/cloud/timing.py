"""Time in requests: limits of waiting, the rate limiter of a service, and the time at a service.

When the service answers "too many requests" (429, 503), all requests pause, not only the request
that was refused; afterwards they are sent one at a time, with a gap that shrinks with every
success. The time at a service is measured from the ``Date`` of its responses and not from the local
clock. The local clocks, the sleep and the source of randomness are arguments.
"""

from __future__ import annotations

import email.utils
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from batchspec.frozen import frozen


@frozen
class Limits:
    """Upper bounds of waiting, in seconds. Every wait in this package has one of these limits.

    ``connect`` and ``read`` are timeouts of one request: until there is a connection, and between
    two parts of a response. The others bound retries:

    - ``first_contact``: no response from a service that has not answered before, so that a wrong
      address is reported quickly.
    - ``busy``: a service that answers 429 or 503, or stopped answering; a sign-in that fails after
      the service has answered.
    - ``server_errors``: a service that answers with other server errors.
    - ``transition``: an object that refuses a request until its state changes: a container, pool
      or job that is being deleted, a pool that is being resized, a node that is starting.

    The delay between retries doubles from ``first_delay`` to ``longest_delay``; a pause that the
    service asks for is cut to ``longest_pause``.
    """

    connect: float = 5.0
    read: float = 60.0
    first_contact: float = 6.0
    busy: float = 300.0
    server_errors: float = 90.0
    transition: float = 1200.0
    first_delay: float = 0.2
    longest_delay: float = 20.0
    longest_pause: float = 120.0


@frozen
class Timing:
    """Monotonic seconds, a sleep, and a random number in [0, 1)."""

    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    random: Callable[[], float]


_LONGEST_STEP = 15.0


class Transition:
    """A bounded wait for an object whose state refuses a request for now (``Limits.transition``).

    The time starts at the creation of the instance. The pauses double, from 2 to 15 seconds: Azure
    keeps the name of a deleted container for at least 30 seconds, and a pool for minutes.
    """

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._timing = timing
        self._limit = limits.transition
        self._started = timing.monotonic()
        self._pauses = 0

    @property
    def waited(self) -> float:
        """The time waited so far, in seconds."""
        return self._timing.monotonic() - self._started

    async def pause(self) -> bool:
        """Wait before the next attempt; ``False``, without waiting, once the limit is reached."""
        left = self._limit - self.waited
        if left <= 0:
            return False
        self._pauses += 1
        await self._timing.sleep(min(2.0**self._pauses, _LONGEST_STEP, left))
        return True


_FIRST_GAP = 0.02
_LONGEST_GAP = 1.0
_SHRINK = 0.8
_NO_GAP = 0.005


class RateLimiter:
    """The state that all requests to a service share: a pause, and a gap between requests."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        self._limits = limits
        self._timing = timing
        self._resume = 0.0
        self._throttled_at = float("-inf")
        self._level = 0
        self._gap = 0.0
        self._slot = 0.0
        self.reached = False
        """Whether the service has answered any request."""

    async def acquire(self, latest: float) -> float:
        """Wait until a request may be sent, but not longer than until the time ``latest``.

        Without ``latest``, a request could wait forever: the refusals of other requests extend the
        pause.

        Returns:
            The time at which the request is sent.
        """
        while True:
            now = self._timing.monotonic()
            turn = max(now, self._resume)
            if self._gap:
                turn = max(turn, self._slot)
                self._slot = turn + self._gap
            turn = min(turn, latest)
            if turn <= now:
                return now
            await self._timing.sleep(turn - now)
            if self._timing.monotonic() >= min(self._resume, latest):
                return self._timing.monotonic()

    def throttled(self, sent: float, retry_after: float | None) -> float:
        """Record "too many requests"; returns how long all requests pause now, in seconds.

        Responses to requests that were sent before the pause began do not lengthen it, unless
        ``retry_after`` is longer.

        Args:
            sent: when the request was sent.
            retry_after: the wait that the response requests, in seconds.
        """
        self.reached = True
        now = self._timing.monotonic()
        if sent > self._throttled_at:
            self._throttled_at = now
            self._level += 1
            self._gap = min(max(self._gap * 2, _FIRST_GAP), _LONGEST_GAP)
            pause = self.backoff(self._level)
        else:
            pause = 0.0
        if retry_after is not None:
            # With jitter, so that not all clients return at the same moment.
            pause = min(retry_after, self._limits.longest_pause)
            pause *= 1 + self._timing.random() / 4
        self._resume = max(self._resume, now + pause)
        return max(0.0, self._resume - now)

    def answered(self, sent: float) -> None:
        """Record any other response, to a request that was sent at ``sent``."""
        self.reached = True
        if sent > self._throttled_at:
            self._level = 0
            self._gap = self._gap * _SHRINK if self._gap * _SHRINK > _NO_GAP else 0.0

    def backoff(self, failures: int) -> float:
        """The delay after this number of consecutive failures: doubling, bounded, with jitter."""
        limits = self._limits
        full = min(limits.first_delay * 2.0 ** min(failures - 1, 30), limits.longest_delay)
        return full * (0.5 + self._timing.random() / 2)


class ServiceTime:
    """The time at one service; before its first response, the time of the local wall clock.

    ``Date`` (RFC 9110, 6.6.1) is in whole seconds. Together with the monotonic times at which the
    request was sent and answered, it bounds the offset between the time at the service and the
    monotonic clock; each further response narrows the bounds.

    ``monotonic`` is in seconds, ``wall`` in UTC.
    """

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], datetime]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._offset: tuple[float, float] | None = None

    def now(self) -> datetime:
        """The time at the service (UTC)."""
        if self._offset is None:
            return self._wall()
        low, high = self._offset
        return datetime.fromtimestamp(self._monotonic() + (low + high) / 2, UTC)

    def answered(self, date: str | None, sent: float) -> None:
        """Record a response that has just arrived.

        ``date`` is its ``Date`` header, ``sent`` the monotonic time at which the request was sent.
        """
        moment = http_date(date)
        if moment is None:
            return
        second = moment.timestamp()
        low, high = second - self._monotonic(), second + 1 - sent
        if self._offset is not None:
            both = max(low, self._offset[0]), min(high, self._offset[1])
            # The bounds are inconsistent if a clock was set or runs faster: use the latest.
            low, high = both if both[0] <= both[1] else (low, high)
        self._offset = low, high


@lru_cache(64)
def http_date(text: str | None) -> datetime | None:
    """An HTTP date; ``None`` if it is missing or invalid.

    The responses of one second have the same date.
    """
    if not text:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def until(text: str, date: str | None) -> timedelta | None:
    """The time from the ``Date`` of a response to another date ``text`` in the same response."""
    end, begin = http_date(text), http_date(date)
    return None if end is None or begin is None else end - begin
