"""Temporary storage of facts: they are read in order, and removed with the process."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from batchspec.observe import Spool
from batchspec.observe.spool import FileRow
from batchspec.plan.observed import LocalFile, TaskFacts

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


def row(blob: str, folder: str = "/data") -> FileRow:
    path = f"{folder}/{blob}"
    return blob, path, len(path), os.fsencode(path).rjust(16)[-16:], "text/plain"


@pytest.mark.parametrize("together", [1, 3, 500])
def test_files_are_read_in_order_of_their_names(
    monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr("batchspec.observe.spool._TOGETHER", together)
    chosen = random.Random(7)
    names = [f"{chosen.choice('aZé/.')}{number % 50}/\U0001f600{number}" for number in range(400)]
    rows = list(map(row, names))
    chosen.shuffle(rows)
    with Spool() as spool:
        rest = list(rows)
        while rest:
            size = chosen.randint(1, 60)
            assert not spool.add_files("input", rest[:size])
            del rest[:size]
        spool.add_files("other", [row("x")])
        expected = [LocalFile(*each) for each in sorted(rows)]
        assert list(spool.files("input")) == expected
        assert list(spool.files("input")) == expected, "a stream can be read again"
        assert len(spool.files("input")) == len(rows)
        assert not list(spool.files("none"))


@pytest.mark.parametrize("together", [1, 500])
def test_files_with_the_same_name_are_found(monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    monkeypatch.setattr("batchspec.observe.spool._TOGETHER", together)
    first, second = object(), object()
    with Spool() as spool:
        spool.add_files("input", [row("a"), row("c"), row("e")], first)
        spool.add_files("input", [row("b"), row("d")], first)
        assert not spool.add_files("input", [row("c")], second), "the same file is added once"
        same = spool.add_files("input", [row("x"), row("d", "/other"), row("a")], second)
        assert same == [(row("d", "/other"), LocalFile(*row("d")))]
        assert list(spool.files("input")) == [LocalFile(*row(name)) for name in "abcdex"]
        same = spool.add_files("input", [row("y"), row("y", "/other"), row("y"), row("a", "/z")])
        assert {(file[1], other.location) for file, other in same} == {
            ("/other/y", "/data/y"),
            ("/z/a", "/data/a"),
        }
        assert len(spool.files("input")) == 7


def test_a_path_that_is_not_unicode_is_stored() -> None:
    folder = os.fsdecode(b"/\xff")
    with Spool() as spool:
        spool.add_files("input", [row("a", folder)])
        (file,) = spool.files("input")
        assert os.fsencode(file.location) == b"/\xff/a"


def test_files_that_were_not_hashed_have_no_md5() -> None:
    with Spool() as spool:
        spool.add_files("input", [("a", "/a", 1, b"", None), ("b", "/b", 2, b"", None)])
        assert [file.md5 for file in spool.files("input")] == [b"", b""]
