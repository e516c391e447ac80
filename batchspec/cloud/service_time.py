"""The time at a service, measured from the ``Date`` of its answers and not from the local clock."""

from __future__ import annotations

import email.utils
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class ServiceTime:
    """The time at one service; before its first answer, the time of the local wall clock.

    ``Date`` (RFC 9110, 6.6.1) is in whole seconds. Together with the monotonic times at which the
    request was sent and answered, it bounds the offset between the time at the service and the
    monotonic clock; each further answer narrows the bounds.

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
        """Take an answer into account that has just arrived.

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


def http_date(text: str | None) -> datetime | None:
    """A date of HTTP; ``None`` if it is missing or invalid."""
    if not text:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def until(text: str, date: str | None) -> timedelta | None:
    """The time from the ``Date`` of an answer to another date ``text`` in the same answer."""
    end, begin = http_date(text), http_date(date)
    return None if end is None or begin is None else end - begin
