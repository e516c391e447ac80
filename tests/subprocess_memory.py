"""Measurements in a subprocess, whose allocations do not depend on the tests that ran before."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def printed_number(program: str) -> int:
    """The number that a Python program prints in a subprocess."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)
