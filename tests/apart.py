"""Measuring in a process of its own: where much ran before, tables of Python may grow meanwhile."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def number_from(program: str) -> int:
    """The number that a Python program prints, run apart from the tests."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(done.stdout)
