"""What was recorded with the real service, replayed: the embedded one answers the same.

The tool tells what does not apply, and gives a reason for each answer that differs.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "recordings" / "real-service.jsonl"


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings do not lie beside the project")
def test_what_was_recorded_is_answered_the_same() -> None:
    """Fails with the table that shows what differs."""
    done = subprocess.run(
        [sys.executable, "tools/replay_recordings.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 differ without a reason" in done.stdout
