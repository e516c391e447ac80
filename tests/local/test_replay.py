"""Recordings of the real service, replayed: the embedded service gives the same replies.

The tool reports which recordings do not apply, and a reason for each reply that differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "recordings" / "real-service.jsonl"


@pytest.mark.skipif(not RECORDINGS.exists(), reason="no recordings next to the project")
def test_recorded_requests_get_the_recorded_replies(tmp_path: Path) -> None:
    """A failure prints the table of differences."""
    counts, known = tmp_path / "counts.json", ROOT / "tools" / "replay" / "counts.json"
    done = subprocess.run(
        [sys.executable, "tools/replay_recordings.py", "--keep", counts],
        cwd=ROOT,
        # Recorded requests are sent even if they are invalid.
        env={**os.environ, "EXCHANGES_OF_TESTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 differ without a reason" in done.stdout
    assert counts.read_text(encoding="utf-8") == known.read_text(encoding="utf-8")
