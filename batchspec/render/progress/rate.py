"""How fast something goes, and how often to speak of it. Time comes with the events."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

_WINDOW = timedelta(seconds=30)
_GRAIN = timedelta(seconds=0.5)
_SILENCE = timedelta(seconds=10)


@dataclass(slots=True)
class Rate:
    """A rate over the last half minute, from (time, value) samples; few are kept."""

    _samples: deque[tuple[datetime, float]] = field(default_factory=deque)

    def see(self, at: datetime, value: float) -> None:
        """The value at a time. A value that went back begins anew."""
        samples = self._samples
        if samples and value < samples[-1][1]:
            samples.clear()
        if len(samples) > 1 and at - samples[-2][0] < _GRAIN:
            samples[-1] = (at, value)
        else:
            samples.append((at, value))
        while len(samples) > 2 and at - samples[1][0] >= _WINDOW:
            samples.popleft()

    def rate(self, now: datetime) -> float | None:
        """How much a second; ``None`` before a second has passed or while nothing has moved."""
        if not self._samples:
            return None
        (begin, first), (at, last) = self._samples[0], self._samples[-1]
        span, silent = at - begin, now - at
        # Between two looks nothing is known; a silence that lasts is a standstill, and counts.
        seconds = (span + silent if silent > max(span, _SILENCE) else span).total_seconds()
        if seconds < 1 or last <= first:
            return None
        return (last - first) / seconds

    def left(self, now: datetime, whole: float) -> float | None:
        """Seconds until ``whole`` is reached at this rate; ``None`` if nobody can tell."""
        rate = self.rate(now)
        if rate is None:
            return None
        at, last = self._samples[-1]
        return max((whole - last) / rate - (now - at).total_seconds(), 0)


@dataclass(slots=True)
class _Spoken:
    at: datetime
    share: float


@dataclass(slots=True)
class Throttle:
    """Whether to speak of a subject again: after a while, or when a tenth more is done.

    The while is five seconds at first and grows to a minute, so that the log of a run of hours can
    still be read. Nothing is said twice within a second.
    """

    began: datetime
    _spoken: dict[str, _Spoken] = field(default_factory=dict)

    def due(self, subject: str, at: datetime, share: float) -> bool:
        """Whether it is time; ``share`` is how much is done, from 0 to 1. A yes is remembered."""
        last = self._spoken.get(subject)
        if last is not None:
            passed = (at - last.at).total_seconds()
            pause = min(max((at - self.began).total_seconds() / 20, 5), 60)
            if passed < 1 or (passed < pause and share - last.share < 0.1):
                return False
        self._spoken[subject] = _Spoken(at, share)
        return True


@dataclass(slots=True)
class FailureLimit:
    """Shows the first of many failures one by one; a run may have a million of them."""

    most: int = 20
    _shown: Counter[str] = field(default_factory=Counter)

    def __call__(self, kind: str, texts: Iterable[str]) -> Iterable[str]:
        """The lines of this one, or a word that no more are shown, or nothing."""
        self._shown[kind] += 1
        if self._shown[kind] <= self.most:
            return texts
        if self._shown[kind] == self.most + 1:
            return [f"more {kind}s failed; they are counted, and not shown one by one"]
        return ()
