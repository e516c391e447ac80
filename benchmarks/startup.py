"""Start time of commands, compared with ``python -c pass``, in one run.

    python benchmarks/startup.py [--rounds N] [--json]

Every round runs each command once, so that other work of the machine affects all. The result is
the median; the ratio to the bare interpreter of the same run is comparable between machines.
Modules are compiled once, in the warm-up round, into a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYTHON = sys.executable
BATCHSPEC = [PYTHON, "-c", "import sys; from batchspec.cli.main import main; sys.exit(main())"]

COMMANDS = {
    "python -c pass": [PYTHON, "-c", "pass"],
    "batchspec --help": [*BATCHSPEC, "--help"],
    "batchspec validate specs/topn.yaml": [*BATCHSPEC, "validate", "specs/topn.yaml"],
    "batchspec config specs/topn.yaml": [*BATCHSPEC, "config", "specs/topn.yaml"],
}


def measure(rounds: int) -> dict[str, list[float]]:
    """Seconds of each command, one value for each round, after a warm-up round."""
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as compiled:
        given = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        env = {**given, "PYTHONPYCACHEPREFIX": compiled}
        for number in range(rounds + 1):
            for name, line in COMMANDS.items():
                start = time.perf_counter()
                subprocess.run(line, cwd=ROOT, check=True, capture_output=True, env=env)
                if number:
                    taken[name].append(time.perf_counter() - start)
    return taken


def main() -> None:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    taken = measure(max(1, options.rounds))
    bare = statistics.median(next(iter(taken.values())))
    rows = {
        name: {
            "median_ms": round(statistics.median(times) * 1000, 1),
            "best_ms": round(min(times) * 1000, 1),
            "ratio": round(statistics.median(times) / bare, 1),
        }
        for name, times in taken.items()
    }
    if options.json:
        print(json.dumps({"python": platform.python_version(), "commands": rows}, indent=2))
        return
    print(f"Python {platform.python_version()}, {options.rounds} rounds")
    print(f"{'':<36}{'median':>10}{'best':>10}{'ratio':>8}")
    for name, row in rows.items():
        print(f"{name:<36}{row['median_ms']:>7} ms{row['best_ms']:>7} ms{row['ratio']:>8}")


if __name__ == "__main__":
    main()
