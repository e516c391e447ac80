"""Play random sequences of edits and commands and compare the results with a model.

    python -m tools.sequence_sweep [--examples 100] [--steps 15] [--seed S]

Each example is one spec on a shared embedded service: edits, apply, Ctrl-C, retry, destroy and lost
data in any order (``tests/fault_injection/machine.py``). After each command the results on disk,
the tasks that ran and the next plan are compared with the model. The output is the number of
examples and steps; a failure prints its story, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from batchspec import local
from tests.fault_injection.machine import machine_of
from tests.fault_injection.rounds import Bench


def main() -> int:
    """Read the options and play; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--examples", type=int, default=100, help="how many specs")
    parser.add_argument("--steps", type=int, default=15, help="edits and commands of each, at most")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="batchspec-sequences-"))
    print(f"seed {options.seed}, in {folder}", flush=True)
    played: Counter[str] = Counter()
    machine = machine_of(Bench.of(folder, local.start(folder / "home")), folder, "sequence", played)
    try:
        run_state_machine_as_test(
            seed(options.seed)(machine),
            settings=settings(
                max_examples=options.examples,
                stateful_step_count=options.steps,
                deadline=None,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    except AssertionError as error:
        print(error)
        print(f"failed after {played['examples']} examples, {played['steps']} steps; see {folder}")
        return 1
    finally:
        local.stop(folder / "home")
    print(f"{played['examples']} examples, {played['steps']} steps, none failed")
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
