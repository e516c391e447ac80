"""Rows: the task program of the tutorial on a large text, compared with a pipeline of commands."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from measuring import Contender, Row, Setting
from peers import FLOORS

TOPN = Path(__file__).parents[1] / "task_app" / "topn.py"
_TEXT = Path(__file__).with_name("text.py")
_PIPELINE = """\
export LC_ALL=C
tr -cs "A-Za-z0-9'" '\\n' <{file} | tr A-Z a-z | sort | uniq -c | sort -rn | head -3"""
_MAWK = """\
export LC_ALL=C
tr -cs "A-Za-z0-9'" '\\n' <{file} | tr A-Z a-z |
mawk '{{n[$1]++}} END {{for (w in n) print n[w], w}}' | sort -rn | head -3"""


def _row(processors: int, target: float, size: int) -> Row:
    @contextmanager
    def contenders(setting: Setting) -> Iterator[Sequence[Contender]]:
        setting.run([sys.executable, _TEXT, "text.txt", str(size)])
        pinned = ["taskset", "-c", ",".join(map(str, range(processors)))]
        yield (
            Contender("topn.py", [*pinned, sys.executable, TOPN, "text.txt", "3"]),
            Contender(
                "tr, sort, uniq, sort",
                [*pinned, "sh", "-c", _PIPELINE.format(file="text.txt")],
                target,
            ),
            Contender("Counter of ASCII words", [*pinned, *FLOORS, "words", "text.txt"]),
            Contender("tr, mawk, sort", [*pinned, "sh", "-c", _MAWK.format(file="text.txt")]),
        )

    return Row(
        f"topn-{processors}",
        f"task program on a text, {processors} {'core' if processors == 1 else 'cores'}",
        f"{size:,} MiB of prose with apostrophes and UTF-8",
        contenders,
        rounds=2,
        memory=64,
    )


def rows(*, quick: bool) -> tuple[Row, ...]:
    """The rows of this module; quick: smaller ones."""
    size = 64 if quick else 1024
    return (_row(1, 1 / 2.5, size), _row(2, 1 / 4, size))
