"""A text like prose of any size: ``text.py FILE MIB``.

A separate program, so that the process that measures stays small.
"""

from __future__ import annotations

import itertools
import random
import sys
from pathlib import Path

_WORDS = 43_000
_UNIT = 16 << 20


def prose(size: int, seed: int = 1) -> bytes:
    """A text with words of natural frequency, apostrophes, and letters outside ASCII."""
    source = random.Random(seed)
    vocabulary = sorted(_vocabulary(source), key=lambda word: len(word) + source.random() * 3)
    weights = list(itertools.accumulate(1 / (rank + 2.7) for rank in range(len(vocabulary))))
    parts: list[str] = []
    written = 0
    while written < size:
        words = source.choices(vocabulary, cum_weights=weights, k=source.randint(6, 25))
        words[0] = words[0].capitalize()
        for index in range(len(words)):
            chance = source.random()
            if chance < 0.02:
                words[index] += source.choice(["'s", "\u2019s"])
            elif chance < 0.03:
                words[index] = f"\u201c{words[index]}\u201d"
            elif chance < 0.11:
                words[index] += ","
        sentence = " ".join(words) + source.choice([". ", ". ", "? ", "!\n"])
        parts.append(sentence)
        written += len(sentence.encode())
    return "".join(parts).encode()


def _vocabulary(source: random.Random) -> set[str]:
    words: set[str] = set()
    while len(words) < _WORDS:
        syllables = source.choice([1, 2, 2, 3, 3, 4])
        word = "".join(
            source.choice("bcdfghjklmnprstvw")
            + source.choice("aeiou")
            + (source.choice("lmnrst") if source.random() < 0.5 else "")
            for _ in range(syllables)
        )
        words.add(word + "é" if source.random() < 0.02 else word)
    return words


def main(path: Path, size: int) -> None:
    """Write a text of this size in MiB; after 16 MiB it repeats."""
    unit = prose(_UNIT)
    with path.open("wb") as file:
        for _ in range((size << 20) // _UNIT):
            file.write(unit)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
