"""Inject each kind of fault into each request of the reference run; check that it converges.

    python -m tools.fault_sweep [--scenarios fresh,changed] [--kinds cut,lost] [--sample K]
                                [--seed S] [--side-by-side 2] [--size whole] [--verbose]
                                [--points kill:13,429-after:7]

The reference run has three stages, 250 tasks and 40 files (``tests/fault_injection/reference.py``);
with ``--size small`` it has the same stages with 21 tasks and 8 files, and the same requests with
fewer repetitions. In the scenario ``changed`` it has ended, and an input and the pool have changed
since. Each scenario runs once without faults to count its requests, then once for each point: a
request number and a kind of fault (``tests/fault_injection/proxy.py``). Every run has a separate
name on one embedded service. A point has converged when the run is complete: after the first apply
if the client survives the fault, after the second if the client was killed. Completeness is checked
with requests that do not use batchspec (``Reference.wrong``) and with ``batchspec plan``, which
must report that there is nothing to do.

The output is the number of points, the number that converged, and each failure with its folder,
which is kept. The exit code is 1 if a point failed. The number of requests depends on the speed of
a run: a point that the run does not reach is tried again, and then not counted.
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
from dataclasses import dataclass, field
from pathlib import Path

from batchspec import local
from tests.fault_injection.proxy import Fault, Kind
from tests.fault_injection.reference import SMALL, WHOLE, Size
from tests.fault_injection.rounds import Bench, Scenario, Verdict, play
from tests.fault_injection.sweep import points, sweep

_WARM = 2
_EVERY = 100
"""Points between two progress lines."""


@dataclass(slots=True)
class Tally:
    """The verdicts of a sweep, counted and printed."""

    verbose: bool
    reached: Counter[Kind] = field(default_factory=Counter)
    failed: Counter[Kind] = field(default_factory=Counter)
    methods: Counter[str] = field(default_factory=Counter)
    missed: int = 0
    began: float = field(default_factory=time.monotonic)

    def add(self, verdict: Verdict) -> None:
        """Count a verdict and print it if it failed or with ``--verbose``."""
        assert verdict.fault is not None
        kind = verdict.fault.kind
        if verdict.wrong:
            self.failed[kind] += 1
            show(f"FAILED  {verdict.text}", *(f"    {line}" for line in verdict.wrong))
        elif self.verbose:
            show(f"ok      {verdict.text}")
        if not verdict.hit:
            self.missed += 1
            return
        self.reached[kind] += 1
        self.methods[verdict.hit.partition(" ")[0]] += 1
        if not self.reached.total() % _EVERY:
            show(f"{self.reached.total()} points in {time.monotonic() - self.began:.0f} s")

    def print_totals(self) -> None:
        """Print the totals."""
        for kind in Kind:
            show(f"{kind:<10} {self.reached[kind]:>5} points  {self.failed[kind]:>3} failed")
        methods = ", ".join(f"{count} {name}" for name, count in self.methods.most_common())
        show(f"requests with a fault: {methods}; {self.missed} points not reached")
        all_, bad = self.reached.total(), self.failed.total()
        show(f"{all_} points, {all_ - bad} converged, {bad} failed")


def show(*lines: str) -> None:
    """Print lines and flush."""
    print(*lines, sep="\n", flush=True)


async def requests_of(bench: Bench, scenario: Scenario, size: Size) -> int:
    """The number of requests of a run without faults; the maximum of several runs."""
    most = 0
    for number in range(_WARM):
        verdict = await play(bench, f"no-fault-{scenario}-{number}", None, scenario, size)
        if verdict.wrong:
            raise SystemExit("the run without a fault failed: " + "; ".join(verdict.wrong))
        most = max(most, verdict.requests)
    return most


async def run(options: argparse.Namespace, folder: Path) -> int:
    """Run the sweep; return the number of failed points."""
    bench = Bench.of(folder, await asyncio.to_thread(local.start, folder / "home"))
    tally = Tally(options.verbose)
    size = {"whole": WHOLE, "small": SMALL}[options.size]
    for scenario in options.scenarios:
        requests = await requests_of(bench, scenario, size)
        faults = options.points or points(requests, options.kinds)
        # In random order, so that failures show early.
        random.Random(options.seed).shuffle(faults)
        faults = faults[: options.sample or None]
        show(f"{scenario}: {requests} requests, {len(faults)} points")
        async for verdict in sweep(bench, scenario, faults, options.side_by_side, size):
            tally.add(verdict)
    tally.print_totals()
    return tally.failed.total()


def _faults(text: str) -> list[Fault]:
    named = [point.rpartition(":") for point in text.split(",")]
    return [Fault(Kind(kind), int(number)) for kind, _, number in named]


def main() -> int:
    """Read the options and run the sweep; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--scenarios",
        type=lambda text: [Scenario(name) for name in text.split(",")],
        default=list(Scenario),
    )
    parser.add_argument(
        "--kinds", type=lambda text: [Kind(kind) for kind in text.split(",")], default=list(Kind)
    )
    parser.add_argument(
        "--points", type=_faults, default=[], help="only these points, as KIND:NUMBER"
    )
    parser.add_argument("--sample", type=int, default=0, help="a random sample of this size")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--side-by-side", type=int, default=2, help="number of concurrent rounds")
    parser.add_argument("--size", choices=("whole", "small"), default="whole")
    parser.add_argument("--verbose", action="store_true", help="print each point")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-faults-"))
    show(f"seed {options.seed}, in {folder}")
    try:
        bad = asyncio.run(run(options, folder))
    finally:
        local.stop(folder / "home")
    if not bad:
        shutil.rmtree(folder)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
