"""Run the full matrix of kinds of pools, faults and moments (``tests/fault_injection/matrix.py``).

    python -m tools.run_matrix [--only WORD] [--side-by-side 2]

Prints each failed cell with the differences, then the number of cells and the number that ended
within their bound with the right exit code and cause. The exit code is 1 if a cell failed.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from batchspec import local
from tests.fault_injection.matrix import Cell, Play, cells
from tests.fault_injection.rounds import Bench


def main() -> int:
    """Read the options and run; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="the cells with this word in their names")
    parser.add_argument("--side-by-side", type=int, default=2, help="cells at a time")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-matrix-"))
    bench = Bench.of(folder, local.start(folder / "home"))

    def play(cell: Cell) -> tuple[Cell, list[str]]:
        one = Play(bench, folder / cell.name, cell, cell.name)
        wrong = one.run()
        if not wrong:
            one.forget()
            shutil.rmtree(one.folder)
        return cell, wrong

    chosen = [cell for cell in cells() if options.only in cell.name]
    failed = 0
    try:
        with ThreadPoolExecutor(options.side_by_side) as pool:
            for cell, wrong in pool.map(play, chosen):
                if wrong:
                    failed += 1
                    print(f"FAILED  {cell.name}", *(f"    {line}" for line in wrong), sep="\n")
                sys.stdout.flush()
    finally:
        local.stop(folder / "home")
    print(f"{len(chosen)} cells, {len(chosen) - failed} as they must be, {failed} failed")
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
