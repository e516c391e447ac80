"""Folders of the user that cannot be used: each command works without them or names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Workplace

SPEC = """\
version: 1
name: quick
containers:
  in: {id: quick-in, upload: [topn.yaml]}
  out: {id: quick-out}
pool: {vm_size: standard_d2s_v5, nodes: 1, image: ubuntu-24.04}
job: {max_wall_clock_time: 10m}
tasks:
  make:
    command: echo made > made.txt
    outputs: [{files: made.txt, container: out}]
results: [{container: out, to: results}]
"""
KEPT = "the list of downloaded results cannot be written to "


@pytest.mark.parametrize("what", ["file", "directory in place of the list", "unreadable"])
def test_commands_with_an_unusable_folder(place: Workplace, what: str) -> None:
    place.spec.write_text(SPEC, encoding="utf-8")
    state = place.spec.parent / ".batchspec"
    if what == "file":
        state.touch()
    elif what == "unreadable":
        # As a folder that belongs to another user; root can read all of them.
        state.symlink_to(state.name)
    else:
        (state / "quick" / "results.jsonl").mkdir(parents=True)
    plan = place.run("plan", place.spec)
    assert plan.code == 2, plan.err
    assert KEPT in plan.err
    assert "results-unwritable" in plan.err
    codes = {
        words: place.run(*words[:1], place.spec, *words[1:]).code
        for words in (
            ("validate",),
            ("status",),
            ("failures",),
            ("logs",),
            ("report",),
            ("destroy", "-y"),
        )
    }
    assert 1 not in codes.values(), codes
    assert codes["validate",] == codes["destroy", "-y"] == 0
    if what == "file":
        log = place.run("--debug", "status", place.spec)
        assert log.code == 4
        assert "the log of requests cannot be written: " in log.err


@pytest.mark.parametrize("words", [("init",), ("init", "x"), ("plan", "SPEC"), ("apply", "SPEC")])
def test_a_current_folder_that_was_deleted_is_an_error_and_not_a_bug(
    place: Workplace, tmp_path: Path, words: tuple[str, ...]
) -> None:
    place.spec.write_text(SPEC, encoding="utf-8")
    gone = tmp_path / "gone"
    gone.mkdir()
    words = tuple(os.fspath(place.spec) if word == "SPEC" else word for word in words)
    done = subprocess.run(
        [sys.executable, "-m", "batchspec", *words],
        cwd=gone,
        preexec_fn=gone.rmdir,
        env=place.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "the current folder does not exist" in done.stderr
    assert "[bug]" not in done.stderr
