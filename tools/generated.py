"""Writes generated files, or checks that they are up to date."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def main(texts: Mapping[Path, str]) -> int:
    """Write the files, or with ``--check`` report those out of date. Returns the exit code.

    ``texts`` are the contents of the files by path.
    """
    if "--check" not in sys.argv[1:]:
        for path, text in texts.items():
            path.write_text(text, "utf-8")
        return 0
    stale = [p for p, text in texts.items() if not p.exists() or p.read_text("utf-8") != text]
    for path in stale:
        print(f"{path} is out of date; run: python {sys.argv[0]}", file=sys.stderr)
    return 1 if stale else 0
