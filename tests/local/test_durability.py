"""SIGKILL under load, with ``tools/kill_service.py`` and a seed; CI runs more rounds of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROUNDS = 8


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process may leave its group")
def test_acknowledged_changes_survive_sigkill_under_load() -> None:
    line = ["--bare", "--rounds", f"{ROUNDS}", "--longest", "0.4", "--seed", "11"]
    ran = subprocess.run(
        [sys.executable, "tools/kill_service.py", *line],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # There was load: the last round prints the number of acknowledged writes. How many there are in
    # so few rounds depends on the machine.
    found = re.search(rf"^ *{ROUNDS} +(\d+) writes, +(\d+) tasks  ok$", ran.stdout, re.MULTILINE)
    assert found
    assert int(found[1]) > 0
    assert int(found[2]) > 0
