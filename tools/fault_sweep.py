"""Harm each request of the reference run in each way, and see the same command get there.

    python -m tools.fault_sweep [--sample K] [--seed S] [--kinds cut,lost] [--side-by-side 2]

The reference run has three stages, 250 tasks and 40 files (``tests/proof/reference.py``). First it
runs undisturbed, to count its requests; then once for each point, a request's number and a kind of
fault (``tests/proof/proxy.py``), each time under another name on one embedded service. A point has
converged when the run got there: the first apply itself where the client lives on, the second where
it was killed. What that means is asked of the account by other means than batchspec's
(``Reference.wrong``), and of ``batchspec plan``, which must have nothing to do.

It prints how many points there were and how many converged, and each failure with its folder, which
is kept; and ends with 1 if there was one. How many requests a run makes depends on how fast it is:
a number that a run does not come to is tried again, and then counted as no point.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from batchspec import local
from tests.proof.proxy import Kind
from tests.proof.rounds import Bench, play
from tests.proof.sweep import points, sweep

_WARM = 2


async def reference(bench: Bench) -> int:
    """How many requests the run makes when nothing is in its way; the most of a few."""
    most = 0
    for number in range(_WARM):
        verdict = await play(bench, f"whole-{number}", None)
        print(f"{verdict.words}  {verdict.requests} requests", flush=True)
        if verdict.wrong:
            raise SystemExit("undisturbed, and yet: " + "; ".join(verdict.wrong))
        most = max(most, verdict.requests)
    return most


async def run(options: argparse.Namespace, folder: Path) -> int:
    """The whole sweep; how many points failed."""
    bench = Bench.of(folder, await asyncio.to_thread(local.start, folder / "home"))
    requests = await reference(bench)
    faults = points(requests, options.kinds)
    # In no order, so that whatever goes wrong shows early.
    random.Random(options.seed).shuffle(faults)
    faults = faults[: options.sample or None]
    print(f"{requests} requests, {len(faults)} points", flush=True)
    reached, failed, began = Counter[Kind](), Counter[Kind](), time.monotonic()
    hits: Counter[str] = Counter()
    async for verdict in sweep(bench, faults, options.side_by_side):
        assert verdict.fault is not None
        reached[verdict.fault.kind] += bool(verdict.hit)
        hits[verdict.hit.partition(" ")[0]] += bool(verdict.hit)
        if verdict.wrong:
            failed[verdict.fault.kind] += 1
            name = f"{verdict.words}\n    " + "\n    ".join(verdict.wrong)
            print(f"FAILED  {name}", flush=True)
        elif options.verbose:
            print(f"right   {verdict.words}", flush=True)
        if not (total := reached.total()) % 100 and total and verdict.hit:
            print(f"{total} points in {time.monotonic() - began:.0f} s", flush=True)
    for kind in options.kinds:
        print(f"{kind:<10} {reached[kind]:>5} points  {failed[kind]:>3} failed")
    missed = len(faults) - reached.total()
    print(f"by method: {dict(hits)}; {missed} numbers were not come to")
    bad = failed.total()
    print(f"{reached.total()} points, {reached.total() - bad} converged, {bad} failed")
    return bad


def main() -> int:
    """Read the options and sweep; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sample", type=int, default=0, help="so many points at random, not all")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument(
        "--kinds", type=lambda text: [Kind(kind) for kind in text.split(",")], default=list(Kind)
    )
    parser.add_argument("--side-by-side", type=int, default=2, help="rounds at a time")
    parser.add_argument("--verbose", action="store_true", help="tell of each point")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-faults-"))
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
