"""Measure a text file: ``measure.py FILE ENCODING`` writes ``FILE.measured.txt`` next to the
file."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Count lines, words and characters."""
    path = Path(sys.argv[1])
    text = path.read_text(encoding=sys.argv[2])
    measured = (
        f"{len(text.splitlines())} lines\n{len(text.split())} words\n{len(text)} characters\n"
    )
    Path(f"{path.name}.measured.txt").write_text(measured, encoding="utf-8")
    print(f"{path.name}: done")


if __name__ == "__main__":
    main()
