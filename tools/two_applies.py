"""Run two applies of one spec at the same time, many times, and check that they end as one run.

    python -m tools.two_applies [--rounds 20] [--seed S]

In turn, both run in one folder, like two terminals, and in two copies, like two users. The second
starts up to ``LATEST`` seconds after the first. The account is then checked with requests that do
not use batchspec (``tests/fault_injection/rounds.py``: ``meet``). The output is one line for each
round. The exit code is 1 if a round failed; its folder is kept.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from batchspec import local
from tests.fault_injection.rounds import LATEST, Bench, meet


async def run(options: argparse.Namespace, folder: Path) -> int:
    """Run all rounds; return the number of failed rounds."""
    bench = Bench.of(folder, await asyncio.to_thread(local.start, folder / "home"))
    chance, bad = random.Random(options.seed), 0
    for number in range(options.rounds):
        delay = 0.0 if number % 4 < 2 else chance.uniform(0, LATEST)
        separate = bool(number % 2)
        met = await meet(bench, f"pair-{number}", delay, separate=separate)
        bad += bool(met.wrong)
        where = "two folders" if separate else "one folder"
        result = "; ".join(met.wrong) or "ok"
        print(
            f"{number:>3}  {delay:.2f} s  {where:<11}  {met.codes}  {met.seconds:4.1f} s  {result}"
        )
    print(f"{options.rounds} rounds, {bad} failed")
    return bad


def main() -> int:
    """Read the options and run; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-two-"))
    print(f"seed {options.seed}, in {folder}", flush=True)
    try:
        bad = asyncio.run(run(options, folder))
    finally:
        local.stop(folder / "home")
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
