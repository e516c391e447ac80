"""Random requests, and damaged records and files: the embedded service answers and serves.

    python tools/fuzz_service.py requests [--count 2000] [--seed 1]
    python tools/fuzz_service.py records [--count 300] [--seed 1]
    python tools/fuzz_service.py files [--count 300] [--seed 1]

``requests``: each of the requests, of any size and encoding and nearly half of them for an existing
operation with random settings, gets a reply other than 500. Afterwards a new task runs.

``records``: one value of one record of a stopped service is changed. The service starts, answers
every list and object without 500, and runs a new task.

``files``: a file of the data folder is overwritten, cut or emptied. The same is checked, unless the
service refuses the file by name, at its start or when it first reads the damaged part.

The output has the number of each result and the slowest case. The exit code is 1 after a failure.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1]))

from batchspec.local.api import Route
from batchspec.local.store import DamagedStateError
from tests.local.damage import (
    SCHEDULE,
    check_service,
    copy_data,
    damage_file,
    damage_record,
    make_data,
    run_new_task,
)
from tests.local.engines import job, pool, running_with_engine, task
from tests.local.generated_requests import BODIES, HEADERS, METHODS, operations, targets
from tests.local.raw_http import VERSION, exchange, signed
from tests.local.running import Service


@dataclass
class Tally:
    """The results of all cases, and the failures among them."""

    results: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    slowest: tuple[float, str] = (0.0, "")

    def add(self, result: str, case: str, seconds: float) -> None:
        """Count a case."""
        self.results[result] += 1
        self.slowest = max(self.slowest, (seconds, case[:100]))

    def show(self) -> None:
        """Print everything."""
        print(*(f"{count:>6} {result}" for result, count in self.results.most_common()), sep="\n")
        print(f"slowest: {self.slowest[0]:.2f} s, {self.slowest[1]}")
        print(*self.failures[:50], f"{len(self.failures)} failures", sep="\n")


def fuzz_requests(tally: Tally, count: int, number: int) -> None:
    """Send random requests to a service with an engine."""
    any_request = st.tuples(METHODS, targets(), st.lists(HEADERS, max_size=3), BODIES)

    def send(service: Service, method: str, target: bytes, headers: Any, body: bytes) -> None:
        sized = [*headers, ("content-length", str(len(body)))]
        begin = time.monotonic()
        status = exchange(service, signed(method, target, sized), body).status
        case = f"{method} {target.decode('latin-1')}"
        tally.add(f"replies {status}", case, time.monotonic() - begin)
        if status == 500:
            tally.failures.append(f"{case} {body[:300]!r}")

    with tempfile.TemporaryDirectory() as folder, running_with_engine(Path(folder, "b")) as service:
        for path, body in (
            ("/pools", pool(taskSlotsPerNode=8)),
            ("/jobs", job()),
            ("/jobs/j/tasks", task("t", "true")),
            ("/jobschedules", SCHEDULE),
        ):
            service.request("POST", path, body)

        @seed(number)
        @settings(
            max_examples=count // 2,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(random_=any_request, known=operations())
        def send_two(random_: Any, known: tuple[Route, bytes, dict[str, Any] | None]) -> None:
            send(service, *random_)
            route, path, body = known
            content = b"" if body is None else json.dumps(body).encode()
            send(service, route.method, path + b"?" + VERSION, [], content)

        send_two()
        run_new_task(service)
        service.violations.clear()


def fuzz_data(
    tally: Tally, count: int, number: int, damage: Callable[[Path, random.Random], str]
) -> None:
    """Damage the folder of a stopped service, and start a service on it."""
    with tempfile.TemporaryDirectory() as folder:
        stopped = Path(folder, "stopped")
        make_data(stopped)
        for case in range(count):
            data = copy_data(stopped, Path(folder, str(case)))
            what = damage(data, random.Random(f"{number} {case}"))
            begin = time.monotonic()
            try:
                wrong = check_service(data)
                result = "serves"
            except DamagedStateError:
                wrong, result = [], "refuses at the start"
            except ConnectionError as error:
                wrong = [] if damage is damage_file else [repr(error)]
                result = "ends when it reads the damage"
            except Exception as error:  # noqa: BLE001  every other end is a failure
                wrong, result = [repr(error)[:300]], "fails"
            tally.add(result, what, time.monotonic() - begin)
            tally.failures += [f"{what[:300]}: {one}" for one in wrong]


def main() -> int:
    """Run one kind of cases; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("kind", choices=("requests", "records", "files"))
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable()
    tally = Tally()
    if options.kind == "requests":
        fuzz_requests(tally, options.count or 2000, options.seed)
    else:
        damage = damage_record if options.kind == "records" else damage_file
        fuzz_data(tally, options.count or 300, options.seed, damage)
    tally.show()
    return 1 if tally.failures else 0


if __name__ == "__main__":
    sys.exit(main())
