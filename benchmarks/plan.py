"""Time and memory of a plan over many tasks: ``python benchmarks/plan.py [TASKS]``.

Two stages of TASKS tasks each (default: 100,000), the second of which needs the first, on an empty
account: all of ``build``, then one pass over all tasks, as apply makes to submit them. The lower
bound is a pass over the rows alone. Memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import csv
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from batchspec.plan import build_plan
from batchspec.plan.actions import SubmitTasks
from batchspec.plan.observed import AccountNames, ContainerFacts, Observed, SupportedImage
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
    command: score --sample {{ sample }} {{ containers.output.write_url }}
    logs: false
  grade:
    needs: [score]
    for_each: {rows: rows.csv}
    command: grade --sample {{ sample }}
    logs: false
"""
IMAGE = SupportedImage(
    "canonical", "ubuntu-24_04-lts", "server", "batch.node.ubuntu 24.04", False, True
)


def main() -> None:
    """Plan, read all tasks, and print time and memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    parser.add_argument("tasks", nargs="?", type=int, default=100_000)
    number = parser.parse_args().tasks
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (folder / "rows.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["sample"])
            writer.writerows((f"sample {n:07}",) for n in range(number))
        (folder / "bench.yaml").write_text(SPEC, encoding="utf-8")
        spec = read_spec(folder / "bench.yaml")
        rows = {}
        for stage in spec.stages:
            assert isinstance(stage.for_each, Rows)
            rows[stage.name] = read_rows(stage.for_each.path)
        facts = {key: ContainerFacts(None) for key in spec.containers}
        observed = Observed(
            AccountNames("local", "b", "s"), datetime.now(UTC), facts, images=(IMAGE,), rows=rows
        )
        before, started = peak(), time.perf_counter()
        floor = sum(1 for stage in rows.values() for _ in stage)
        floor_took = time.perf_counter() - started
        started = time.perf_counter()
        plan = build_plan(spec, observed)
        took = time.perf_counter() - started
        started = time.perf_counter()
        streams = [s.action.tasks for s in plan.steps if isinstance(s.action, SubmitTasks)]
        submitted = sum(1 for stream in streams for _ in stream)
        pass_took = time.perf_counter() - started
    print(f"{floor:,} rows in {floor_took:.2f} s")
    print(f"{len(plan.steps)} steps planned in {took:.1f} s: {took / floor_took:.0f} times that")
    print(f"{submitted:,} tasks made in {pass_took:.1f} s, joins among them")
    print(f"peak {peak():.0f} MB, {before:.0f} MB of it before")


def peak() -> float:
    """The peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
