"""The overhead of a task over its process: no-op tasks, ``xargs`` and GNU parallel.

    python benchmarks/noop_tasks.py [--tasks N] [--slots K] [--rounds N] [--users] [--json]

Each round runs ``true`` N times, K at a time: as tasks of one job on one node of the embedded
service, from the moment the job is enabled until all are completed; with ``xargs -P``; and with GNU
``parallel`` if it is installed. A task has a directory with its output in files, a separate
environment, a record in a database that survives a SIGKILL, and a supervisor that ends all its
processes; the ratio is their cost. Processor time is measured beside elapsed time, because other
work of the machine affects it less. ``TMPDIR`` selects the disk. With ``--users``, as root, each
round also runs the tasks on a second service, as separate users.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from socket_client import Service, pool

XARGS, PARALLEL = "xargs -P", "GNU parallel"
TASKS, ADDING = "tasks of the service", "(adding them)"
USERS = "tasks as separate users"


@dataclass(frozen=True)
class Took:
    """Elapsed seconds and processor seconds."""

    time: float
    processor: float


def by_service(service: Service, job: str, tasks: int) -> tuple[Took, Took]:
    """The time to add the tasks and to run them."""
    service.ask("POST", "/jobs", {"id": job, "poolInfo": {"poolId": "p"}})
    service.ask("POST", f"/jobs/{job}/disable", {"disableTasks": "wait"})
    start, used = time.perf_counter(), service.processor()
    for first in range(0, tasks, 100):
        numbers = range(first, min(first + 100, tasks))
        some = [{"id": f"t{n}", "commandLine": "true"} for n in numbers]
        service.ask("POST", f"/jobs/{job}/addtaskcollection", {"value": some})
    added, used_to_add = time.perf_counter(), service.processor()
    service.ask("POST", f"/jobs/{job}/enable")
    while (counts := service.ask("GET", f"/jobs/{job}/taskcounts")["taskCounts"])[
        "completed"
    ] < tasks:
        time.sleep(0.02)
    ended, used_to_run = time.perf_counter(), service.processor()
    if counts["failed"]:
        raise SystemExit(f"{counts['failed']} tasks failed")
    service.ask("DELETE", f"/jobs/{job}")
    return (
        Took(added - start, used_to_add - used),
        Took(ended - added, used_to_run - used_to_add),
    )


def by_command(command: list[str], tasks: int) -> Took:
    """The time of a command for this number of lines."""
    lines = "".join(f"{n}\n" for n in range(tasks))
    start, used = time.perf_counter(), _of_children()
    subprocess.run(command, input=lines, text=True, check=True, stdout=subprocess.DEVNULL)
    return Took(time.perf_counter() - start, _of_children() - used)


def _of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(
    folder: Path, tasks: int, slots: int, rounds: int, *, users: bool
) -> dict[str, list[Took]]:
    """The times by name, one for each round, after a warm-up round."""
    commands = {XARGS: ["xargs", "-n", "1", "-P", str(slots), "true"]}
    if shutil.which("parallel"):
        commands[PARALLEL] = ["parallel", "--will-cite", "-j", str(slots), "true"]
    rows = (*commands, TASKS, ADDING, *([USERS] if users else []))
    taken: dict[str, list[Took]] = {name: [] for name in rows}
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(Service(folder / "one"))
        _start_node(service, slots)
        separate = stack.enter_context(Service(folder / "two", "users")) if users else None
        if separate is not None:
            _start_node(separate, slots)
        for number in range(rounds + 1):
            once = {name: by_command(line, tasks) for name, line in commands.items()}
            once[ADDING], once[TASKS] = by_service(service, f"j{number}", tasks)
            if separate is not None:
                _, once[USERS] = by_service(separate, f"j{number}", tasks)
            if number:
                for name, took in once.items():
                    taken[name].append(took)
    return taken


def _start_node(service: Service, slots: int) -> None:
    service.ask("POST", "/pools", {**pool("p", 1), "taskSlotsPerNode": slots})
    while not service.ask("GET", "/pools/p/nodes?$filter=state eq 'idle'")["value"]:
        time.sleep(0.02)


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--users", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        taken = measure(
            Path(folder),
            options.tasks,
            options.slots,
            max(1, options.rounds),
            users=options.users,
        )
    floor = taken[XARGS]
    rows = {
        name: {
            "each_ms": _each([one.time for one in took], options.tasks),
            # Pairs of one round: other work of the machine affects both.
            "ratio": _ratio([(one.time, low.time) for one, low in zip(took, floor, strict=True)]),
            "processor_ms": _each([one.processor for one in took], options.tasks),
            "processor_ratio": _ratio(
                [(one.processor, low.processor) for one, low in zip(took, floor, strict=True)]
            ),
        }
        for name, took in taken.items()
    }
    if options.json:
        print(json.dumps({"tasks": options.tasks, "slots": options.slots, "rows": rows}, indent=2))
        return
    print(f"{options.tasks} times true, {options.slots} in parallel, {options.rounds} rounds")
    print(f"{'':<24}{'each':>10}{'ratio':>8}{'processor':>14}{'ratio':>8}")
    for name, row in rows.items():
        print(
            f"{name:<24}{row['each_ms']:>7} ms{row['ratio']:>8}"
            f"{row['processor_ms']:>11} ms{row['processor_ratio']:>8}"
        )


def _each(seconds: list[float], tasks: int) -> float:
    return round(statistics.median(seconds) / tasks * 1000, 2)


def _ratio(pairs: list[tuple[float, float]]) -> float:
    return round(statistics.median(one / floor for one, floor in pairs), 2)


if __name__ == "__main__":
    main()
