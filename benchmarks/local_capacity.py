"""Speed of the embedded service with 1,000 and with 100,000 tasks, in one run.

    python benchmarks/local_capacity.py [--tasks N] [--nodes N] [--rounds N] [--json]

Two services run side by side with the same number of idle nodes: the job of one has a thousand
tasks, the job of the other has all of them. Both receive the same requests alternately, so that
other work of the machine affects both. Compare the ratios between machines. The replies are timed
at the socket with a persistent connection, so that the times are those of the service.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from socket_client import VERSION, Service, pool

FEW = 1000
QUESTIONS = {
    "a page of 1,000 tasks": "/jobs/j/tasks",
    "a page of 1,000, id and state": "/jobs/j/tasks?$select=id,state",
    "one task": "/jobs/j/tasks/t0000500",
    "task counts": "/jobs/j/taskcounts",
    "filter: id eq": "/jobs/j/tasks?$filter=id eq 't0000500'",
    "filter: startswith(id, ...)": "/jobs/j/tasks?$filter=startswith(id,'t00005')",
    "filter: state eq 'running' (none)": "/jobs/j/tasks?$filter=state eq 'running'",
    "filter: result eq 'failure' (none)": "/jobs/j/tasks?$filter=executionInfo/result eq 'failure'",
    "a page of 1,000 nodes": "/pools/idle/nodes",
    "node counts": "/nodecounts",
}


def fill(service: Service, tasks: int, nodes: int) -> None:
    """Create a pool of idle nodes, and a job with tasks for another pool without nodes."""
    service.ask("POST", "/pools", pool("none", 0))
    service.ask("POST", "/pools", pool("idle", nodes))
    idle = "/pools/idle/nodes?$filter=state eq 'idle'"
    while len(service.ask("GET", idle)["value"]) < min(nodes, 1000):
        time.sleep(0.05)
    service.ask("POST", "/jobs", {"id": "j", "poolInfo": {"poolId": "none"}})
    for first in range(0, tasks, 100):
        service.ask("POST", "/jobs/j/addtaskcollection", hundred(first))


def hundred(first: int) -> dict[str, Any]:
    """The request for a hundred tasks."""
    numbers = range(first, first + 100)
    command = "/bin/sh -c 'work'"
    return {"value": [{"id": f"t{n:07}", "commandLine": command} for n in numbers]}


def times(services: Sequence[Service], rounds: int) -> dict[str, list[float]]:
    """The median time in ms of each request to each of the services."""
    taken: dict[str, list[list[float]]] = {
        name: [[] for _ in services] for name in ("a hundred tasks more", *QUESTIONS)
    }
    for number in range(rounds + 1):
        for name, path in {"a hundred tasks more": "", **QUESTIONS}.items():
            for service, list_ in zip(services, taken[name], strict=True):
                start = time.perf_counter()
                if path:
                    service.ask("GET", path)
                else:
                    more = hundred(10**6 + 100 * number)
                    service.ask("POST", "/jobs/j/addtaskcollection", more)
                if number:  # the first is a warm-up
                    list_.append((time.perf_counter() - start) * 1000)
    return {name: [statistics.median(one) for one in both] for name, both in taken.items()}


def walk(service: Service) -> int:
    """Read all tasks page by page; return their number."""
    count, path = 0, "/jobs/j/tasks?$select=id,state"
    while path:
        page = service.ask("GET", path)
        count += len(page["value"])
        link = page.get("odata.nextLink", "")
        path = "/jobs/j/tasks?" + unquote(link.partition("?")[2]) if link else ""
        path = path.replace(f"{VERSION}&", "")
    return count


def measure(folder: Path, tasks: int, nodes: int, rounds: int) -> dict[str, Any]:
    """All measurements as one JSON value."""
    with Service(folder / "few") as few, Service(folder / "many") as many:
        fill(few, FEW, nodes)
        start = time.perf_counter()
        fill(many, tasks, nodes)
        filled = time.perf_counter() - start
        found = times((few, many), rounds)
        start = time.perf_counter()
        count = walk(many)
        walked = time.perf_counter() - start
        walk(few)
        return {
            "tasks": tasks,
            "nodes": nodes,
            "fill_s": round(filled, 1),
            "tasks_added_per_s": round(tasks / filled),
            "tasks_read_per_s": round(count / walked),
            "memory_mib": [round(service.memory(), 1) for service in (few, many)],
            "ms": {name: [round(one, 2) for one in both] for name, both in found.items()},
        }


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.tasks, options.nodes, options.rounds)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{found['tasks_added_per_s']} tasks a second were added, beside {found['nodes']} nodes;")
    print(f"{found['tasks_read_per_s']} a second were read, page by page")
    print(f"{'':<36}{f'{FEW:,} tasks':>14}{options.tasks:>14,}{'ratio':>8}")
    rows = {"resident memory": (*found["memory_mib"], "MiB")}
    rows |= {name: (*both, "ms") for name, both in found["ms"].items()}
    for name, (few, many, unit) in rows.items():
        print(f"{name:<36}{few:>10} {unit:<3}{many:>10} {unit:<3}{many / few:>8.2f}")


if __name__ == "__main__":
    main()
