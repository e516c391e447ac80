"""How busy the processors of this machine are: what ``$CPUPercent`` is of every node.

What lives here: reading ``/proc/stat``, which only Linux has. What may not: when, or for what.
"""

from __future__ import annotations

from pathlib import Path

_STAT = Path("/proc/stat")
_IDLE = (3, 4)  # idle, and waiting for disks


class Processor:
    """Looks at the counters of the system, and remembers where each asker saw them last."""

    def __init__(self, stat: Path = _STAT) -> None:
        self._stat = stat
        self._seen: dict[str, tuple[int, int]] = {}

    def busy(self, asker: str) -> float | None:
        """The part of all processors, 0 to 1, that worked since the same asker last asked.

        At first it is since the machine was started; ``None`` where it is not known.
        """
        now, before = self._look(), self._seen.get(asker, (0, 0))
        if now is None:
            return None
        self._seen[asker] = now
        worked, passed = now[0] - before[0], now[1] - before[1]
        return min(1.0, max(0.0, worked / passed)) if passed > 0 else None

    def _look(self) -> tuple[int, int] | None:
        """Ticks that all processors together have worked, and all ticks."""
        try:
            first = self._stat.read_text(encoding="ascii").partition("\n")[0]
        except OSError:
            return None
        ticks = [int(number) for number in first.split()[1:9]]
        return sum(ticks) - sum(ticks[place] for place in _IDLE), sum(ticks)
