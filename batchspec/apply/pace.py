"""How often to look at something that changes by itself."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

_SLOWEST = 15.0


@dataclass(slots=True)
class Pace:
    """How long to wait between two looks: short while things change, up to 15 s when they do not.

    ``shortest`` is in seconds.
    """

    shortest: float
    _wait: float = field(default=0.0, init=False)
    _last: Hashable = field(default=None, init=False)

    def next(self, seen: Hashable) -> float:
        """The seconds to wait after having seen this."""
        longer = self._wait * 1.5 if seen == self._last else 0.0
        self._wait = min(max(longer, self.shortest), max(_SLOWEST, self.shortest))
        self._last = seen
        return self._wait
