"""Rows: the task program of the tutorial on a large text, compared with a pipeline of commands."""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring import Contender, Row, Setting

TOPN = Path(__file__).parents[1] / "task_app" / "topn.py"
_WORDS = 43_000
_UNIT = 16 << 20
_MIB = 256
_PIPELINE = """\
export LC_ALL=C
tr -cs "A-Za-z0-9'" '\\n' <{file} | tr A-Z a-z | sort | uniq -c | sort -rn | head -3"""
_MAWK = """\
export LC_ALL=C
tr -cs "A-Za-z0-9'" '\\n' <{file} | tr A-Z a-z |
mawk '{{n[$1]++}} END {{for (w in n) print n[w], w}}' | sort -rn | head -3"""


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


def _row(processors: int, target: float) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        unit = prose(_UNIT)
        with (setting.folder / "text.txt").open("wb") as file:
            for _ in range((_MIB << 20) // _UNIT):
                file.write(unit)
        pinned = ["taskset", "-c", ",".join(map(str, range(processors)))]
        yield (
            Contender("topn.py", [*pinned, sys.executable, TOPN, "text.txt", "3"]),
            Contender(
                "tr, sort, uniq, sort",
                [*pinned, "sh", "-c", _PIPELINE.format(file="text.txt")],
                target,
            ),
            Contender("tr, mawk, sort", [*pinned, "sh", "-c", _MAWK.format(file="text.txt")]),
        )

    return Row(
        f"topn-{processors}",
        f"task program on a text, {processors} {'core' if processors == 1 else 'cores'}",
        f"{_MIB} MiB",
        contenders,
        rounds=2,
    )


ROWS = (_row(1, 1 / 2.5), _row(2, 1 / 4))
