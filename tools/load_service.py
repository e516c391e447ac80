"""Many clients of one job: tasks are added while others list, filter, expand and delete.

    python tools/load_service.py [--tasks 2000] [--nodes 4]

One client adds the tasks in collections of 100, another one the same ids in another order; nodes
run them. Meanwhile one client each lists all tasks, lists by a filter, lists with statistics, reads
counts and the job, and deletes every seventh task. Pages are short, so that lists change while they
are read. It checks that

- no reply has a status of 500 or more;
- each id is added exactly once, and the other client gets ``TaskExists``;
- no list has an id twice, or one that no client added;
- no list lacks a task that existed before it was begun and was not deleted until its end;
- at the end the job has exactly the tasks that were added and not deleted.

The output has the number of requests and lists and the slowest reply of each kind. The exit code is
1 after a failure.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.local.engines import job, pool, running_with_engine, task
from tests.local.running import Service

COLLECTION = 100
PAGE = 97
LISTS = 3
"""The minimum number of whole lists that each client reads."""
DELETED = 7
"""Every task whose number is a multiple of it is deleted."""


@dataclass
class Load:
    """One job under load: requests, replies and failures."""

    service: Service
    tasks: int
    submitted: frozenset[str]
    added: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    deleting: set[str] = field(default_factory=set)
    requests: Counter[str] = field(default_factory=Counter)
    lists: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def request(self, kind: str, method: str, path: str, body: Any = None, query: str = "") -> Any:
        """Send a request; returns the JSON of the reply, ``None`` if it has none."""
        begin = time.monotonic()
        reply = self.service.request(method, path, body, query=query)
        self.requests[kind] += 1
        self.slowest[kind] = max(self.slowest.get(kind, 0.0), time.monotonic() - begin)
        if reply.status >= 400:
            self.failures.append(f"{kind}: {method} {path}?{query}: {reply.status} {reply.code}")
        return reply.json if reply.body else None

    def add(self, kind: str, numbers: list[int]) -> None:
        """Add the tasks with these numbers."""
        for start in range(0, len(numbers), COLLECTION):
            chunk = [task(name_of(number), "true") for number in numbers[start:][:COLLECTION]]
            reply = self.request(kind, "POST", "/jobs/j/addtaskcollection", {"value": chunk})
            for result in (reply or {}).get("value", ()):
                self.record(result)

    def record(self, result: dict[str, Any]) -> None:
        """Record the result of one task of a collection."""
        name = result["taskId"]
        if result["status"] == "Success":
            if name in self.added:
                self.failures.append(f"{name} was added twice")
            self.added.add(name)
        elif result["error"]["code"] != "TaskExists" or name in self.refused:
            self.failures.append(f"{name}: {result['error']['code']}")
        else:
            self.refused.add(name)

    def pages(self, kind: str, query: str) -> Iterator[dict[str, Any]]:
        """All tasks of a list, page by page."""
        while True:
            reply = self.request(kind, "GET", "/jobs/j/tasks", query=query) or {}
            yield from reply.get("value", ())
            if "odata.nextLink" not in reply:
                return
            parts = urlsplit(reply["odata.nextLink"]).query.split("&")
            query = "&".join(part for part in parts if not part.startswith("api-version="))

    def list(self, kind: str, query: str, *, complete: bool) -> None:
        """Read a list and check it; ``complete`` if it has all tasks."""
        before = set(self.added)
        found = [one["id"] for one in self.pages(kind, f"maxresults={PAGE}&{query}".rstrip("&"))]
        self.lists[kind] += 1
        twice = [name for name, count in Counter(found).items() if count > 1]
        unknown = set(found) - self.submitted
        missing = before - self.deleting - set(found) if complete else ()
        for what, names in (("twice", twice), ("unknown", unknown), ("missing", missing)):
            if names:
                self.failures.append(f"{kind}: {len(names)} {what}, such as {min(names)}")

    def delete(self) -> None:
        """Delete each task to delete once it was added."""
        wanted = {name_of(number) for number in range(0, self.tasks, DELETED)}
        while wanted:
            ready = sorted(wanted & self.added)
            for name in ready:
                self.deleting.add(name)
                self.request("delete", "DELETE", f"/jobs/j/tasks/{name}")
            wanted -= set(ready)
            if self.over.is_set() and not wanted & self.added:
                return
            self.over.wait(0.01)


def name_of(number: int) -> str:
    """The id of a task."""
    return f"task-{number:05}"


def run_load(service: Service, tasks: int, nodes: int) -> Load:
    """Put a job under load and check every reply."""
    load = Load(service, tasks, frozenset(map(name_of, range(tasks))))
    load.request("pool", "POST", "/pools", pool(nodes=nodes, taskSlotsPerNode=4))
    load.request("job", "POST", "/jobs", job())
    whole, active = "", "$filter=" + quote("state ne 'completed'")
    readers: list[Callable[[], Any]] = [
        lambda: load.list("list", whole, complete=True),
        lambda: load.list("filter", active, complete=False),
        lambda: load.list("statistics", "$expand=stats", complete=True),
        lambda: load.request("counts", "GET", "/jobs/j/taskcounts"),
        lambda: load.request("job", "GET", "/jobs/j", query="$expand=stats"),
    ]

    def repeat(read: Callable[[], Any]) -> None:
        done = 0
        while done < LISTS or not load.over.is_set():
            read()
            done += 1

    # The same collections in another order: some of them arrive first from the second client.
    numbers = list(range(tasks))
    other = sorted(numbers, key=lambda number: (number // COLLECTION * 7919 % 101, number))
    with ThreadPoolExecutor(max_workers=len(readers) + 3) as threads:
        adding = [
            threads.submit(load.add, "add", numbers),
            threads.submit(load.add, "rival", other),
        ]
        working = [threads.submit(repeat, reader) for reader in readers]
        working.append(threads.submit(load.delete))
        try:
            for one in adding:
                one.result()
        finally:
            load.over.set()
        for one in working:
            one.result()
    check_end(load)
    return load


def check_end(load: Load) -> None:
    """Compare the tasks of the job with those that were added and not deleted."""
    if load.added != load.submitted or load.refused != load.submitted:
        load.failures.append(f"{len(load.submitted - load.added)} of the tasks were not added once")
    found = sorted(one["id"] for one in load.pages("list", f"maxresults={PAGE}"))
    if found != sorted(load.submitted - load.deleting):
        load.failures.append(f"the job has {len(found)} tasks at the end")


def main() -> int:
    """Run the load and print its figures."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--tasks", type=int, default=2000)
    options.add_argument("--nodes", type=int, default=4)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder, running_with_engine(Path(folder, "b")) as service:
        begin = time.monotonic()
        load = run_load(service, given.tasks, given.nodes)
        seconds = time.monotonic() - begin
        load.failures += service.violations
    print(f"{len(load.added)} tasks added, {len(load.deleting)} deleted, {seconds:.1f} s")
    for kind, count in sorted(load.requests.items()):
        lists = f", {load.lists[kind]} whole lists" if kind in load.lists else ""
        print(f"{kind:>10}: {count} requests{lists}, the slowest {load.slowest[kind]:.2f} s")
    print(*load.failures[:50], f"{len(load.failures)} failures", sep="\n")
    return 1 if load.failures else 0


if __name__ == "__main__":
    sys.exit(main())
