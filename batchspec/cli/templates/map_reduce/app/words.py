"""Count words: ``words.py map FILE`` counts one file, ``words.py reduce N`` adds all counts."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path


def count(path: Path) -> None:
    """Write the counts of a file next to it."""
    words = Counter(re.findall(r"\w+", path.read_text(encoding="utf-8").lower()))
    Path(f"{path.name}.part.json").write_text(json.dumps(words), encoding="utf-8")


def add_up(top: int) -> None:
    """Add the counts, and write the most frequent words."""
    total: Counter[str] = Counter()
    for part in sorted(Path().rglob("*.part.json")):
        total.update(json.loads(part.read_text(encoding="utf-8")))
    lines = [f"{word}\t{number}" for word, number in total.most_common(top)]
    Path("words.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "map":
        count(Path(sys.argv[2]))
    else:
        add_up(int(sys.argv[2]))
