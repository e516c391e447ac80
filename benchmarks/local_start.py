"""Start time of the embedded service, compared with ``node -e 0``, in one run.

    python benchmarks/local_start.py [--rounds N] [--install] [--json]

The lower bound is a Node.js that does nothing, because Azurite runs on Node.js; then Azurite alone;
then all of batchspec. Every round runs each of them once, so that other work of the machine affects
all. ``--install`` also measures one installation into an empty folder, which needs the npm
registry.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from batchspec import local
from batchspec.local.azurite import (
    AzuriteServer,
    LaunchOptions,
    expected_installation,
    find_nodejs,
    install,
)
from batchspec.local.settings import Settings

FLOOR = "node -e 0"


class Watch:
    """Seconds by name, one value for each round."""

    def __init__(self) -> None:
        self.taken: dict[str, list[float]] = {}

    @contextmanager
    def time(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.taken.setdefault(name, []).append(time.perf_counter() - start)


def one_round(watch: Watch, settings: Settings, folder: Path) -> None:
    """Run each once, in an empty ``folder``."""
    node = find_nodejs(settings)
    with watch.time(FLOOR):
        subprocess.run([node.executable, "-e", "0"], check=True)
    with watch.time("python -c pass"):
        subprocess.run([sys.executable, "-c", "pass"], check=True)

    launch = LaunchOptions(
        node=node,
        installed=expected_installation(settings.cache),
        account="bench",
        key="a2V5",
        log=folder / "azurite.log",
        location=folder / "blobs",
    )
    with watch.time("Azurite alone"):
        server = AzuriteServer.spawn(launch, port=0)
        server.wait_ready()
    server.stop()

    data = folder / "data"
    steps: dict[str, Callable[[], object]] = {
        "first start (makes the account)": lambda: local.start(data),
        "start, while it runs": lambda: local.start(data),
        "stop": lambda: local.stop(data),
        "start again": lambda: local.start(data),
    }
    try:
        for name, step in steps.items():
            with watch.time(name):
                step()
    finally:
        local.stop(data)


def measure_installation(watch: Watch, settings: Settings) -> None:
    """One installation without a cache."""
    with tempfile.TemporaryDirectory() as folder, watch.time("installation (npm ci)"):
        install(
            find_nodejs(settings),
            Path(folder),
            search_path=settings.path,
            environ=dict(os.environ),
            notify=lambda _: None,
        )


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--install", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    local.install()
    settings = Settings.read(os.environ)
    watch = Watch()
    for number in range(max(1, options.rounds) + 1):
        with tempfile.TemporaryDirectory() as folder:
            # The first round is a warm-up.
            one_round(watch if number else Watch(), settings, Path(folder))
    if options.install:
        measure_installation(watch, settings)

    floor = statistics.median(watch.taken[FLOOR])
    rows = {
        name: {
            "median_ms": round(statistics.median(times) * 1000, 1),
            "best_ms": round(min(times) * 1000, 1),
            "ratio": round(statistics.median(times) / floor, 1),
        }
        for name, times in watch.taken.items()
    }
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{options.rounds} rounds")
    print(f"{'':<36}{'median':>11}{'best':>11}{'ratio':>8}")
    for name, row in rows.items():
        print(f"{name:<36}{row['median_ms']:>8} ms{row['best_ms']:>8} ms{row['ratio']:>8}")


if __name__ == "__main__":
    main()
