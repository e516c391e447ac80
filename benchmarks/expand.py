"""Time and memory of creating tasks from rows: ``python benchmarks/expand.py``.

    python benchmarks/expand.py [ROWS] [--checked]

A stage over a CSV file of ROWS rows (default: 1,000,000) with three columns, a command that inserts
two of them and a URL, logs, and a resource. ``--checked`` also runs the checks of a plan (repeated
ids, sizes). Memory is the peak of the process, including Python.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from batchspec.plan.observed import AccountNames, ContainerFacts, Observed
from batchspec.plan.rules.tasks import check_tasks
from batchspec.plan.tasks import expand
from batchspec.spec import Rows, read_rows, read_spec

SPEC = """\
version: 1
name: bench
containers: {output: {}}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 1h}
tasks:
  score:
    for_each: {rows: rows.csv}
    command: score --sample {{ sample }} --seed {{ seed }} {{ containers.output.write_url }}
"""


def main() -> None:
    """Write the rows, create the tasks, and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("rows", nargs="?", type=int, default=1_000_000)
    parser.add_argument("--checked", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sample", "seed", "note"])
            writer.writerows(
                (f"sample {n:07}", n * 7919 % 104729, "x" * 20) for n in range(given.rows)
            )
        (folder / "bench.yaml").write_text(SPEC, encoding="utf-8")
        spec = read_spec(folder / "bench.yaml")
        stage = spec.stages[0]
        assert isinstance(stage.for_each, Rows)
        rows = read_rows(stage.for_each.path)
        facts = {key: ContainerFacts({}) for key in spec.containers}
        account = AccountNames("local", "bench", "bench")
        observed = Observed(account, datetime.now(UTC), facts, rows={stage.name: rows})
        before = peak()
        report("rows alone", lambda: sum(1 for _ in rows))
        tasks = expand(spec, stage, observed, windows=False)
        report("tasks", lambda: sum(1 for _ in tasks))
        if given.checked:
            report(
                "checks", lambda: len(check_tasks(spec, stage, observed, windows=False)), given.rows
            )
        print(f"{'peak':12}{peak():10.1f} MB, {before:.1f} MB before")


def report(what: str, work: Callable[[], int], number: int | None = None) -> None:
    """Run it and print how long it took."""
    started = time.perf_counter()
    count = work()
    took = time.perf_counter() - started
    count = count if number is None else number
    print(f"{what:12}{count:10,} in {took:6.1f} s: {count / took:10,.0f} a second")


def peak() -> float:
    """The peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
