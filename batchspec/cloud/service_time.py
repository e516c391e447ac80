"""The time at a service, measured from its answers: the wall clock of this machine decides nothing.

Every answer has a ``Date`` (RFC 9110, 6.6.1), in whole seconds. Together with the moments at which
the request was sent and answered, it bounds how far the service's time is ahead of the monotonic
clock of this machine; many answers bound it closely.
"""

from __future__ import annotations

import email.utils
from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class ServiceTime:
    """The time at one service. Before its first answer this is the wall clock's.

    ``monotonic`` is in seconds, ``wall`` in UTC.
    """

    def __init__(self, monotonic: Callable[[], float], wall: Callable[[], datetime]) -> None:
        self._monotonic = monotonic
        self._wall = wall
        self._ahead: tuple[float, float] | None = None

    def now(self) -> datetime:
        """The time at the service (UTC)."""
        if self._ahead is None:
            return self._wall()
        low, high = self._ahead
        return datetime.fromtimestamp(self._monotonic() + (low + high) / 2, UTC)

    def answered(self, date: str | None, sent: float) -> None:
        """Take an answer into account that just came.

        ``date`` is its ``Date`` header, ``sent`` the monotonic time at which the request was sent.
        """
        moment = http_date(date)
        if moment is None:
            return
        second = moment.timestamp()
        low, high = second - self._monotonic(), second + 1 - sent
        if self._ahead is not None:
            closer = max(low, self._ahead[0]), min(high, self._ahead[1])
            # An answer that contradicts the earlier ones: a clock was set, or runs faster.
            low, high = closer if closer[0] <= closer[1] else (low, high)
        self._ahead = low, high


def http_date(text: str | None) -> datetime | None:
    """A date of HTTP; ``None`` if there is none or it cannot be read."""
    if not text:
        return None
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def until(text: str, date: str | None) -> timedelta | None:
    """How long it is from an answer's ``Date`` to the date ``text``, which the answer has too."""
    end, begin = http_date(text), http_date(date)
    return None if end is None or begin is None else end - begin
