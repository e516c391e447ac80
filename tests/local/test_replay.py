"""What was recorded with the real service, replayed: the embedded one answers the same.

The tool tells what does not apply, and gives a reason for each answer that differs.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORDINGS = ROOT.parent / "shared" / "recordings" / "real-service.jsonl"


@pytest.mark.skipif(not RECORDINGS.exists(), reason="the recordings do not lie beside the project")
def test_what_was_recorded_is_answered_the_same(tmp_path: Path) -> None:
    """Fails with the table that shows what differs."""
    counts, known = tmp_path / "counts.json", ROOT / "tools" / "replay" / "counts.json"
    done = subprocess.run(
        [sys.executable, "tools/replay_recordings.py", "--keep", counts],
        cwd=ROOT,
        # It sends what was sent, right or not.
        env={**os.environ, "EXCHANGES_OF_TESTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "; 0 differ without a reason" in done.stdout
    assert counts.read_text(encoding="utf-8") == known.read_text(encoding="utf-8")
