"""Chance that can be repeated: a number between 0 and 1 made of a seed and of what it is about.

The same seed and the same words give the same number, on any machine and in any order of asking.
So a run under chaos is repeated as far as it does the same things again; what several requests do
at the same time comes in the order in which they arrive.
"""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

from batchspec.local.chaos.dose import Chaos, Dose, Kind


def chance(seed: int, *words: str | int) -> float:
    """A number in [0, 1), evenly spread over seeds and words."""
    text = "\0".join(map(str, (seed, *words)))
    return int.from_bytes(sha256(text.encode("utf-8", "surrogateescape")).digest()[:8]) / 2**64


class Dice:
    """Throws for one life of the service; counts how often each thing has come up."""

    def __init__(self, chaos: Chaos) -> None:
        self._chaos = chaos
        self._counts: Counter[tuple[str, ...]] = Counter()

    def strikes(self, dose: Dose, *words: str | int) -> bool:
        """Whether ``dose`` is for what ``words`` name."""
        return chance(self._chaos.seed, dose.kind, *words) * 100 < dose.percent

    def share(self, kind: Kind, *words: str | int) -> float:
        """How much of its length of time ``kind`` takes: a number in [0, 1)."""
        return chance(self._chaos.seed, kind, "share", *words)

    def next(self, *words: str) -> int:
        """How often this was asked of ``words`` before: their next number, from 0."""
        number = self._counts[words]
        self._counts[words] += 1
        return number
