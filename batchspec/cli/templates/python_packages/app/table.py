"""Format a file of comma-separated values: ``table.py FILE STYLE OUTPUT`` writes it as a table."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

from tabulate import tabulate


def main() -> None:
    """Read the rows, the first of which contains the names of the columns, and format them."""
    source, style, target = sys.argv[1:4]
    with Path(source).open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    Path(target).write_text(tabulate(rows[1:], rows[0], style) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
