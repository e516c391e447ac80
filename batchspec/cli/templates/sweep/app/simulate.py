"""Simulate a population: ``simulate.py GROWTH START YEARS FILE`` writes its size at the end.

GROWTH is the growth rate per year, START the initial size in percent of the capacity.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Iterate the logistic map, and write one line of JSON."""
    growth, start, years = map(int, sys.argv[1:4])
    size = start / 100
    for _ in range(years):
        size = growth * size * (1 - size)
    result = {"growth": growth, "start": start, "years": years, "size": round(size, 6)}
    Path(sys.argv[4]).write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
