"""Temporary storage of facts: they are read in order, and removed with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchspec.observe import Spool
from batchspec.plan.observed import TaskFacts

_FILLED = """\
import os, signal
from pathlib import Path
from batchspec.observe import Spool
from batchspec.plan.observed import LocalFile
spool = Spool()
for number in range(50_000):
    spool.add_files("input", [(f"{number:06}", "x" * 40, 1, bytes(16), None)])
print(len(spool.files("input")), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL on Windows")
def test_a_process_that_is_killed_leaves_no_file(tmp_path: Path) -> None:
    environ = {**os.environ, "TMPDIR": str(tmp_path), "SQLITE_TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", _FILLED], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "50000\n"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_for_a_task_in_several_jobs_the_newest_counts() -> None:
    with Spool() as spool:
        spool.add_task("j", 0, TaskFacts("B", "completed", succeeded=False))
        spool.add_task("j", 0, TaskFacts("a", "completed", succeeded=False))
        spool.add_task("j-r2", 1, TaskFacts("b", "completed", succeeded=True))
        spool.add_task("j-r2", 1, TaskFacts("c", "running"))
        tasks = spool.tasks()
        assert list(tasks.ends()) == [("a", "j", False), ("b", "j-r2", True), ("c", "j-r2", None)]
        assert len(tasks) == 3
        assert [job for job, _ in tasks.versions("B")] == ["j-r2", "j"]
